"""The demo: landmarks that exist nowhere, drawn by code, with photos of them and distractors.

It may import `photos`. Start with `album.py`, which draws the whole data set; each file below it draws one kind of
thing.
"""
