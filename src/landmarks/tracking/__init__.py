"""MLflow: runs, the registry of models, and the receipts from which a store is filled again.

It may import `schema`, `recognizer` and `evaluation`. MLflow is used here alone. Start with `store.py` for runs and
with `registration.py` for models; `sync.py` makes a store agree with the receipts.
"""
