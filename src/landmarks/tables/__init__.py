"""Tables of photos before anything is decoded: reading them, checking them, selecting landmarks, splitting photos.

It may import `schema` and `photos`. Great Expectations is used here alone. Start with `photo_set.py`, the contract
between the stages `acquire`, `validate`, `select` and `prepare`.
"""
