"""Evaluation: one pass over the test split, with all metrics and tables, the model card, and the gate to the registry.

It may import `schema`, `photos`, `shards`, `network`, `recognizer` and `export`. Metrics are plain functions on arrays,
with definition and reference. Start with `measurement.py`.
"""
