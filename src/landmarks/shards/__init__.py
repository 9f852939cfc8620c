"""From selected photos to TFRecord shards: `plan`, `worker` and `build`, in this order, and the file formats.

It may import `schema`, `photos` and `tables`. Start with `format.py`, the data contract with training and
evaluation. Nothing here needs TensorFlow.
"""
