"""One photo at a time: where its bytes are, what its header says, its pixels, and its perceptual hash.

It may import `schema`. The service and every stage that decodes use the same code from here. Start with `decoding.py`,
which turns the bytes of a photo into the square that the network sees.
"""
