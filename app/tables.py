"""The answers for many photos as one table: on the page, and as a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from app.client import Answer
from app.names import read_name

COLUMNS = (
    "file",
    "answer",
    "is_landmark",
    "landmark_id",
    "name",
    "confidence",
    "landmark_score",
    "threshold",
    "error",
    "model",
)
NO_LANDMARK = "no landmark"
# first characters of what a spreadsheet takes for a formula
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def tabulate(results: Sequence[tuple[str, Answer | str]], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Build one row per photo: the answer with the most likely landmark and its confidence, or the error.

    Args:
        results: file name, and the answer or the error message.
        facts: the service's description of its model.
    """
    name, version = (facts.get(key, facts.get(f"model_{key}", "")) for key in ("name", "version"))
    model = f"{name} {version}".strip()
    return [_tabulate_one(file_name, result) | {"model": model} for file_name, result in results]


def write_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Write the table as CSV in UTF-8 with a byte order mark; without it, spreadsheets guess the encoding wrong."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _defuse(value) for key, value in row.items()} for row in rows)
    return stream.getvalue().encode("utf-8-sig")


def _tabulate_one(file_name: str, result: Answer | str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row["file"] = file_name
    if isinstance(result, str):
        return row | {"error": result}
    best = result.predictions[0]
    name = read_name(best.name, best.landmark_id)
    return row | {
        "answer": name if result.is_landmark else NO_LANDMARK,
        "is_landmark": result.is_landmark,
        "landmark_id": best.landmark_id,
        "name": name,
        "confidence": None if result.confidence is None else round(result.confidence, 4),
        "landmark_score": None if result.landmark_score is None else round(result.landmark_score, 4),
        "threshold": round(result.threshold, 4),
    }


def _defuse(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
