"""The files of Kaggle's landmark competitions: `landmarks submit` writes them, `landmarks score` scores them.

It may import `schema`, `photos`, `recognizer` and `evaluation`. Start with `files.py`, which describes the formats.
"""
