"""From selected photos to TFRecord shards, in the order of work: `plan`, `worker`, `build`; and the files themselves.

It may import `schema`, `photos` and `tables`. Start with `format.py`, the contract that training and evaluation read;
it needs no TensorFlow.
"""
