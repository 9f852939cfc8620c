"""Campaigns that try to break the promises of docs/reliability.md; see `python -m chaos --help`."""

import sys
from pathlib import Path

# they attack the tiny artefacts of the tests, also in processes of their own
sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("tests", "tests/serving", "tests/albums")]
