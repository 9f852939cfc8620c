"""The recognizer: photos in, named landmarks and similar photos out, without TensorFlow.

It may import `schema` and `photos`. The service and the command line use it unchanged. Start with `recognizer.py`;
`format.py` is the only reader and writer of the recognizer directory.
"""
