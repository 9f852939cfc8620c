"""The BentoML service: requests, batching, limits, the request log, and packaging a recognizer as a Bento.

It may import `schema`, `photos` and `recognizer`. No other package uses BentoML. Start with `service.py` and `app.py`.
"""
