"""The files of Kaggle's landmark competitions: solutions and submissions, of recognition and of retrieval.

| file | header | second cell |
|---|---|---|
| recognition solution | `id,landmarks,Usage` | landmark ids, separated by spaces; empty for a photo of no landmark |
| recognition submission | `id,landmarks` | `<landmark id> <score>`, or empty |
| retrieval solution | `id,images,Usage` | image ids, separated by spaces, or `None` |
| retrieval submission | `id,images` | image ids, best first, or empty |

One space at the end of a cell is tolerated, rows without content are skipped. `Usage` is Public, Private or Ignored.
"""

import csv
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, TextIO, TypeVar

from landmarks.errors import ScoringError
from landmarks.evaluation.gap import Guess
from landmarks.files import replace_file
from landmarks.kaggle.rows import Row, check_header, iterate_records, iterate_rows

ALL = "all"
NOTHING = "None"  # what a retrieval solution says where no image is relevant
_ID = "id"
_USAGE = "Usage"
_LANDMARK_ID = re.compile(r"-?[0-9]{1,18}")
_SCORE = re.compile(r"[^\s_]+")  # Python's own float() takes spaces and underscores too

Truth = TypeVar("Truth", int, str)
Cell = TypeVar("Cell")


class Task(StrEnum):
    """What is to be found for each photo."""

    RECOGNITION = "recognition"
    RETRIEVAL = "retrieval"


class Usage(StrEnum):
    """Which score a row of a solution counts for."""

    PUBLIC = "Public"
    PRIVATE = "Private"
    IGNORED = "Ignored"


_COLUMNS = {Task.RECOGNITION: "landmarks", Task.RETRIEVAL: "images"}


@dataclass(frozen=True)
class Solution(Generic[Truth]):
    """The truth about each photo: landmark ids, or ids of the relevant images; perhaps none.

    Attributes:
        truth: by photo id, of the rows that count.
        usages: by photo id, of all rows.
    """

    truth: dict[str, frozenset[Truth]]
    usages: dict[str, Usage]

    def split_by_usage(self) -> dict[str, dict[str, frozenset[Truth]]]:
        """The truth of the rows under `Public`, `Private` (where there are such rows) and `all`."""
        parts: dict[str, dict[str, frozenset[Truth]]] = {
            usage.value: {image_id: truth for image_id, truth in self.truth.items() if self.usages[image_id] == usage}
            for usage in (Usage.PUBLIC, Usage.PRIVATE)
        }
        return {name: part for name, part in parts.items() if part} | {ALL: self.truth}


def read_task(path: Path) -> Task:
    """Tell from its header what a solution is about.

    Raises:
        ScoringError: the file is missing, no text, or has another header.
    """
    headers = {tuple(_make_header(task, _USAGE)): task for task in Task}
    return headers[check_header(path, next(iterate_rows(path), None), *headers)]


def read_recognition_solution(path: Path) -> Solution[int]:
    """Read `id,landmarks,Usage`.

    Raises:
        ScoringError: the file is missing or malformed; the message names line and value.
    """
    return _read_solution(path, Task.RECOGNITION, _parse_landmark_ids)


def read_retrieval_solution(path: Path) -> Solution[str]:
    """Read `id,images,Usage`.

    Raises:
        ScoringError: the file is missing or malformed; the message names line and value.
    """
    return _read_solution(path, Task.RETRIEVAL, _parse_relevant_images)


def read_recognition_submission(path: Path, solution: Solution[int]) -> dict[str, Guess | None]:
    """Read `id,landmarks`, without the rows that the solution ignores; None where the cell is empty.

    Raises:
        ScoringError: the file is missing or malformed, an id is repeated or not in the solution, or a cell is not
            `<landmark id> <score>`; the message names line and value.
    """
    return _read_submission(path, Task.RECOGNITION, solution, _parse_guess)


def read_retrieval_submission(path: Path, solution: Solution[str]) -> dict[str, tuple[str, ...]]:
    """Read `id,images`, best image first, without the rows that the solution ignores.

    Raises:
        ScoringError: the file is missing or malformed, or an id is repeated or not in the solution; the message names
            line and value.
    """
    return _read_submission(path, Task.RETRIEVAL, solution, lambda row: tuple(_split(row)))


def write_recognition_submission(path: Path, rows: Iterable[tuple[str, Guess | None]]) -> int:
    """Write `id,landmarks` atomically, row by row as they come, and return their number.

    Scores are written with all their digits, so that their order survives.

    Raises:
        ScoringError: a score is NaN, or an id is empty or repeated.
    """
    return _write_submission(
        path, Task.RECOGNITION, ((image_id, _format_guess(image_id, guess)) for image_id, guess in rows)
    )


def write_retrieval_submission(path: Path, rows: Iterable[tuple[str, Sequence[str]]]) -> int:
    """Write `id,images` atomically, row by row as they come, and return their number.

    Raises:
        ScoringError: an id is empty or repeated.
    """
    return _write_submission(path, Task.RETRIEVAL, ((image_id, " ".join(images)) for image_id, images in rows))


def _make_header(task: Task, *more: str) -> list[str]:
    return [_ID, _COLUMNS[task], *more]


def _read_solution(path: Path, task: Task, parse: Callable[[Row], frozenset[Truth]]) -> Solution[Truth]:
    truth: dict[str, frozenset[Truth]] = {}
    usages: dict[str, Usage] = {}
    for row in iterate_records(path, _make_header(task, _USAGE)):
        image_id, _, tag = row.cells
        if tag not in list(Usage):
            row.refuse(f"{_USAGE} must be {', '.join(Usage)}, received {tag!r:.60}.")
        usages[image_id] = Usage(tag)
        if tag != Usage.IGNORED:
            truth[image_id] = parse(row)
    return Solution(truth, usages)


def _read_submission(
    path: Path, task: Task, solution: Solution[Truth], parse: Callable[[Row], Cell]
) -> dict[str, Cell]:
    answers: dict[str, Cell] = {}
    for row in iterate_records(path, _make_header(task)):
        usage = solution.usages.get(row.cells[0])
        if usage is None:
            row.refuse(f"the solution has no photo {row.cells[0]!r:.60}. Leave the row out.")
        if usage != Usage.IGNORED:
            answers[row.cells[0]] = parse(row)
    return answers


def _split(row: Row) -> list[str]:
    """The parts of the second cell, which single spaces separate."""
    cell = row.cells[1]
    parts = cell.removesuffix(" ").split(" ") if cell else []
    if not all(parts):
        row.refuse(f"expected single spaces between the parts of the cell, received {cell!r:.60}.")
    return parts


def _parse_landmark_ids(row: Row) -> frozenset[int]:
    return frozenset(_parse_landmark_id(row, text) for text in _split(row))


def _parse_relevant_images(row: Row) -> frozenset[str]:
    return frozenset() if row.cells[1] == NOTHING else frozenset(_split(row))


def _parse_guess(row: Row) -> Guess | None:
    parts = _split(row)
    if not parts:
        return None
    if len(parts) != 2:
        row.refuse(f"expected '<landmark id> <score>' or nothing, received {row.cells[1]!r:.60}.")
    return Guess(_parse_landmark_id(row, parts[0]), _parse_score(row, parts[1]))


def _parse_landmark_id(row: Row, text: str) -> int:
    if not _LANDMARK_ID.fullmatch(text):
        row.refuse(f"a landmark id must be a whole number, received {text!r:.60}.")
    return int(text)


def _parse_score(row: Row, text: str) -> float:
    try:
        score = float(text) if _SCORE.fullmatch(text) else math.nan
    except ValueError:
        score = math.nan
    if math.isnan(score):
        row.refuse(f"a score must be a number, received {text!r:.60}.")
    return score


def _format_guess(image_id: str, guess: Guess | None) -> str:
    if guess is None:
        return ""
    if math.isnan(guess.score):
        raise ScoringError(f"The score of photo {image_id!r:.60} is not a number. Train the network again.")
    return f"{guess.landmark_id} {float(guess.score)!r}"


def _write_submission(path: Path, task: Task, rows: Iterable[tuple[str, str]]) -> int:
    try:
        with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            return _write_rows(stream, task, rows)
    except OSError as error:
        raise ScoringError(f"{path} cannot be written: {error.strerror}.") from error


def _write_rows(stream: TextIO, task: Task, rows: Iterable[tuple[str, str]]) -> int:
    written: set[str] = set()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_make_header(task))
    for image_id, cell in rows:
        if not image_id or image_id in written:
            raise ScoringError(
                f"A submission has one row for each photo; the id {image_id!r:.60} is empty or repeated."
            )
        written.add(image_id)
        writer.writerow((image_id, cell))
    return len(written)
