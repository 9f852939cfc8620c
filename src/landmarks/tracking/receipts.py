"""Receipts: everything that was logged about a run, as a file. This module needs no MLflow.

The receipts are the source of truth, and the tracking store is a view of them. `landmarks sync` restores a store that
was deleted, or fills another one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files.parsing import parse_integer, read_rows
from landmarks.files.seals import FILES, compute_digests, open_sealed, write_sealed

RECEIPT_FILE = "run.json"
HISTORY_FILE = "history.csv"
EPOCH = "epoch"
_LONGEST_PARAM = 6000  # characters, the limit of MLflow


@dataclass(frozen=True)
class DatasetInfo:
    """The data set of a run: its name, and the fingerprint of the shards."""

    name: str
    fingerprint: str
    photos: int
    labels: int


@dataclass(frozen=True)
class Receipt:
    """One run of one variant; `history.csv` beside it has the metrics of each epoch.

    Attributes:
        run_id: of the run in the store where it was logged first; in other stores `sync` gives it another id.
        experiment: MLflow experiment, which groups runs that are compared.
        variant: `plain` or `augmented`; also the name of the run.
        params: as texts, by flat names such as `train.epochs`.
        tags: about the origin: git commit, DVC experiment.
        dataset: the training data.
        metrics: of the whole training, such as `best_epoch`.
        started_ms: milliseconds since 1970.
        ended_ms: milliseconds since 1970.
    """

    run_id: str
    experiment: str
    variant: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    dataset: DatasetInfo
    metrics: Mapping[str, float]
    started_ms: int
    ended_ms: int


def describe_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Convert parameters to texts, as in YAML.

    >>> describe_params({"a": 5e-4, "b": None, "c": True, "d": "sgd", "e": (1, 2)})
    {'a': '0.0005', 'b': 'null', 'c': 'true', 'd': 'sgd', 'e': '[1, 2]'}
    """
    return {
        name: (value if isinstance(value, str) else json.dumps(value))[:_LONGEST_PARAM]
        for name, value in params.items()
    }


def write_receipt(path: Path, receipt: Receipt) -> Path:
    """Write a receipt with the digests of the files beside it, atomically, and return its path."""
    write_sealed(path, {**asdict(receipt), FILES: compute_digests(path.parent, (path.name,))})
    return path


def read_receipt(path: Path) -> Receipt:
    """Read a receipt, and compare the files beside it with their digests.

    Raises:
        ArtifactError: a file is missing or was altered, or a key is missing or unknown.
    """
    facts = open_sealed(path)
    try:
        return Receipt(**facts | {"dataset": DatasetInfo(**facts["dataset"])})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not the receipt of a run ({error}). Run `dvc repro` again.") from error


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the metrics of each epoch: one row per epoch, its number under `epoch`; empty cells are left out.

    Raises:
        ArtifactError: the file is missing, has no column `epoch`, or a cell is not a number.
    """
    try:
        return [
            {EPOCH: parse_integer(row[EPOCH])}
            | {name: _parse_number(text) for name, text in row.items() if text and name != EPOCH}
            for row in read_rows(path, (EPOCH,))
        ]
    except ValueError as error:
        raise ArtifactError(f"{path} is not a table of metrics per epoch ({error}). Run `dvc repro` again.") from error


def _parse_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, received {text!r:.60}")
    return number
