"""Drift detection: compare served photos with the test photos, for `landmarks drift`.

It may import `evaluation` and `plotting`. Start with `report.py`; `two_sample.py` has the statistical tests.
"""
