"""The receipt of a run: all that the tracking store was told about a training, as a file. Needs no MLflow.

The store is only a view of receipts: deleted, or somewhere else, it is filled again from them (`landmarks sync`).
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files import read_json, write_json

RECEIPT_FILE = "run.json"
HISTORY_FILE = "history.csv"
METRICS_FILE = "metrics.json"
EVALUATION_PARAMS_FILE = "params.json"
EPOCH = "epoch"
_LONGEST_PARAM = 6000  # as many characters as MLflow keeps


@dataclass(frozen=True)
class DatasetInfo:
    """The photos a run was given: a name for people, and the fingerprint of the shards."""

    name: str
    fingerprint: str
    photos: int
    labels: int


@dataclass(frozen=True)
class Receipt:
    """One run of one variant. The figures of each epoch stand in `history.csv` beside it.

    Attributes:
        run_id: of the run in the store that was first told; `sync` may have made another in another store.
        experiment: groups the runs that are compared.
        variant: also the name of the run.
        params: as texts, by flat names such as `train.epochs`.
        tags: where it came from: git commit, DVC experiment.
        dataset: what it learned from.
        metrics: of the whole training, such as `best_epoch`.
        started_ms: milliseconds since 1970.
        ended_ms: the same.
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
    """Parameters as texts, the way YAML writes them.

    >>> describe_params({"a": 5e-4, "b": None, "c": True, "d": "sgd", "e": (1, 2)})
    {'a': '0.0005', 'b': 'null', 'c': 'true', 'd': 'sgd', 'e': '[1, 2]'}
    """
    return {
        name: (value if isinstance(value, str) else json.dumps(value))[:_LONGEST_PARAM]
        for name, value in params.items()
    }


def write_receipt(path: Path, receipt: Receipt) -> Path:
    """Write a receipt as JSON, atomically, and return its path."""
    return write_json(path, asdict(receipt))


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises:
        ArtifactError: the file is missing or is no receipt of a run.
    """
    facts = read_json(path)
    try:
        return Receipt(**facts | {"dataset": DatasetInfo(**facts["dataset"])})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not the receipt of a run ({error}). Run `dvc repro` again.") from error


def read_history(path: Path) -> list[dict[str, float]]:
    """Read the figures of each epoch: one row per epoch, its number under `epoch`; empty cells are left out.

    Raises:
        ArtifactError: the file is missing or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return list(_parse_rows(csv.DictReader(stream)))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is not a table of figures per epoch ({error}). Run `dvc repro` again.") from error


def _parse_rows(rows: Iterator[dict[str, str]]) -> Iterator[dict[str, float]]:
    for row in rows:
        yield {EPOCH: int(row[EPOCH])} | {name: float(text) for name, text in row.items() if text and name != EPOCH}
