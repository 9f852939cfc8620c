"""The demo data set: synthetic landmarks, with rendered photos of them and of distractors.

It may import `photos`. Start with `album.py`, which renders the whole data set; every other file draws one kind of
object.
"""
