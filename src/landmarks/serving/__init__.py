"""The BentoML service: requests, batching, limits, the request log, and packaging a recognizer as a Bento.

It may import `schema`, `photos` and `recognizer`. No other package uses BentoML. Start with `service.py` and `app.py`.
"""

import os

from landmarks.schema.library_settings import limit_threads

limit_threads()  # before a module of this folder imports NumPy
# BentoML traces every request for OpenTelemetry, also where nobody collects the traces: 7 % of the processor time
os.environ.setdefault("OTEL_SDK_DISABLED", "true")
