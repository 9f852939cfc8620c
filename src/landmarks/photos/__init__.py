"""Which files are photos, and one photo at a time: location of its bytes, header, pixels, perceptual hash.

It may import `schema`. Training and serving decode with the same code, so preprocessing cannot differ between them.
Start with `decoding.py`, which turns the bytes of a photo into the network's input.
"""
