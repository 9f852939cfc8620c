"""The receipt of an evaluation, `evaluation.json`: what was measured and how, and the digests of the results."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files.seals import FILES, compute_digests, open_sealed, write_sealed

EVALUATION_FILE = "evaluation.json"
METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class EvaluationReceipt:
    """Content of `evaluation.json`, besides the digests.

    Attributes:
        recognizer: fingerprint of the recognizer directory that was measured.
        shards: fingerprint of the shards that it was measured on.
        params: of the evaluation, by flat names such as `evaluate.seed`.
    """

    recognizer: str
    shards: str
    params: Mapping[str, Any]


def write_evaluation_receipt(folder: Path, receipt: EvaluationReceipt) -> None:
    """Write `evaluation.json` for the results that are already in a folder."""
    write_sealed(folder / EVALUATION_FILE, {**asdict(receipt), FILES: compute_digests(folder, (EVALUATION_FILE,))})


def read_evaluation_receipt(folder: Path) -> EvaluationReceipt:
    """Read `evaluation.json`, and compare all results with their digests.

    Raises:
        ArtifactError: a file is missing or was altered.
    """
    path = folder / EVALUATION_FILE
    facts = open_sealed(path)
    try:
        return EvaluationReceipt(**facts)
    except TypeError as error:
        raise ArtifactError(f"{path} is not the receipt of an evaluation ({error}). Run `dvc repro`.") from error
