"""Tables of photos before decoding: read them, validate them, select landmarks, split photos.

It may import `schema` and `photos`. Only this folder uses Great Expectations. Start with `photo_set.py`, the data
contract between the stages `acquire`, `validate`, `select` and `prepare`.
"""
