"""The recognizer: photos in, named landmarks and similar photos out, without TensorFlow.

It may import `schema` and `photos`; the service and the command line run it as it is. Start with `recognizer.py`;
`format.py` is the only reader and writer of the recognizer directory.
"""
