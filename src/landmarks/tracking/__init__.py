"""MLflow: runs, the model registry, and the receipts from which `landmarks sync` restores both.

It may import `schema`, `recognizer` and `evaluation`. MLflow is used only here. Start with `store.py` for runs and with
`registration.py` for models; `sync.py` reconciles a store with the receipts.
"""
