"""The ResNet-50 and its training: layers, losses, input pipeline, loop, EMA, checkpoints and initial weights.

It may import `schema` and `shards`. Only what can change a weight lies here, so an edit elsewhere never trains again.
Start with `variant.py`, which trains one variant from its shards.
"""
