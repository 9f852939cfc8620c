"""How good a recognizer is: one pass over the test split, and every metric, table and text that comes from it.

It may import `schema`, `shards`, `network`, `recognizer` and `export`. Metrics are plain functions on arrays, with
definition and reference. Start with `measurement.py`.
"""
