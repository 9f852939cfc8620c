"""Campaigns that try to break the promises of docs/reliability.md; see `python -m chaos --help`."""
