"""The ResNet-50 and its training: network, losses, input pipeline, loop, EMA, checkpoints and initial weights.

It may import `schema` and `shards`. Everything that determines the weights is here, so that a change in another folder
does not train again. Start with `variant.py`, which trains one variant from its shards.
"""

from landmarks.schema.library_settings import load_keras

load_keras()  # before any module of this folder imports it
