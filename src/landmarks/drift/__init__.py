"""Whether served photos still look like the test photos: `landmarks drift`.

It may import `evaluation` and `plotting`. Start with `report.py`; `two_sample.py` has the tests.
"""
