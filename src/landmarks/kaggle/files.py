"""The files of Kaggle's landmark competitions: solutions and submissions of recognition and retrieval.

| file | header | second cell |
|---|---|---|
| recognition solution | `id,landmarks,Usage` | landmark ids, separated by spaces; empty for a distractor |
| recognition submission | `id,landmarks` | `<landmark id> <score>`, or empty |
| retrieval solution | `id,images,Usage` | image ids, separated by spaces, or `None` |
| retrieval submission | `id,images` | image ids, best first, or empty |

One space at the end of a cell is accepted, rows without content are skipped. `Usage` is Public, Private or Ignored.
"""

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from landmarks.errors import ScoringError
from landmarks.evaluation.gap import Guess
from landmarks.files.writing import replace_file

ALL = "all"
NO_IMAGES = "None"  # the cell of a retrieval solution without relevant images
_ID = "id"
_USAGE = "Usage"
_LANDMARK_ID = re.compile(r"-?[0-9]{1,18}")
_SCORE = re.compile(r"[^\s_]+")  # float() alone also accepts spaces and underscores
_MAX_CELL = 1 << 28  # the csv module's default of 131072 characters ends at about 7700 image ids

Truth = TypeVar("Truth", int, str)
Cell = TypeVar("Cell")


class Task(StrEnum):
    """What a submission predicts for each photo."""

    RECOGNITION = "recognition"
    RETRIEVAL = "retrieval"


class Usage(StrEnum):
    """The score that a row of a solution counts towards."""

    PUBLIC = "Public"
    PRIVATE = "Private"
    IGNORED = "Ignored"


_COLUMNS = {Task.RECOGNITION: "landmarks", Task.RETRIEVAL: "images"}


@dataclass(frozen=True)
class Solution(Generic[Truth]):
    """The ground truth of each photo: landmark ids, or ids of the relevant images; may be empty.

    Attributes:
        truth: by photo id, without ignored rows.
        usages: by photo id, for all rows.
    """

    truth: dict[str, frozenset[Truth]]
    usages: dict[str, Usage]

    def split_by_usage(self) -> dict[str, dict[str, frozenset[Truth]]]:
        """Return the ground truth under the keys `Public` and `Private`, unless empty, and `all`."""
        parts: dict[str, dict[str, frozenset[Truth]]] = {
            usage.value: {image_id: truth for image_id, truth in self.truth.items() if self.usages[image_id] == usage}
            for usage in (Usage.PUBLIC, Usage.PRIVATE)
        }
        return {name: part for name, part in parts.items() if part} | {ALL: self.truth}


@dataclass(frozen=True)
class Row:
    """The cells of a row, and its position in the file."""

    path: Path
    line: int
    cells: list[str]

    def refuse(self, problem: str) -> NoReturn:
        """Raise a ScoringError that names file and line."""
        raise ScoringError(f"{self.path}, line {self.line}: {problem}")


def read_task(path: Path) -> Task:
    """Detect the task of a solution from its header.

    Raises:
        ScoringError: the file is missing, is not text, or has another header.
    """
    headers = {tuple(_make_header(task, _USAGE)): task for task in Task}
    return headers[_check_header(path, next(_iterate_rows(path), None), *headers)]


def read_recognition_solution(path: Path) -> Solution[int]:
    """Read `id,landmarks,Usage`.

    Raises:
        ScoringError: the file is missing or malformed; the message names line and value.
    """

    def parse(row: Row) -> frozenset[int]:
        return frozenset(_parse_landmark_id(row, text) for text in _split(row))

    return _read_solution(path, Task.RECOGNITION, parse)


def read_retrieval_solution(path: Path) -> Solution[str]:
    """Read `id,images,Usage`.

    Raises:
        ScoringError: the file is missing or malformed; the message names line and value.
    """

    def parse(row: Row) -> frozenset[str]:
        return frozenset() if row.cells[1] == NO_IMAGES else frozenset(_split(row))

    return _read_solution(path, Task.RETRIEVAL, parse)


def read_recognition_submission(path: Path, solution: Solution[int]) -> dict[str, Guess | None]:
    """Read `id,landmarks`, without the rows that the solution ignores; an empty cell gives None.

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
    """Write `id,landmarks` atomically, row by row from an iterator, and return the number of rows.

    Scores are written with all digits, because GAP depends on their order.

    Raises:
        ScoringError: a score is NaN, or an id is empty or repeated.
    """
    return _write_submission(
        path, Task.RECOGNITION, ((image_id, _format_guess(image_id, guess)) for image_id, guess in rows)
    )


def write_retrieval_submission(path: Path, rows: Iterable[tuple[str, Sequence[str]]]) -> int:
    """Write `id,images` atomically, row by row from an iterator, and return the number of rows.

    Raises:
        ScoringError: an id is empty or repeated.
    """
    return _write_submission(path, Task.RETRIEVAL, ((image_id, " ".join(images)) for image_id, images in rows))


def _make_header(task: Task, *more: str) -> list[str]:
    return [_ID, _COLUMNS[task], *more]


def _read_solution(path: Path, task: Task, parse: Callable[[Row], frozenset[Truth]]) -> Solution[Truth]:
    truth: dict[str, frozenset[Truth]] = {}
    usages: dict[str, Usage] = {}
    for row in _iterate_records(path, _make_header(task, _USAGE)):
        image_id, _, tag = row.cells
        if tag not in list(Usage):
            row.refuse(f"{_USAGE} must be {', '.join(Usage)}, received {tag!r:.60}.")
        usages[image_id] = Usage(tag)
        if tag != Usage.IGNORED:  # ignored rows need not be well-formed
            truth[image_id] = parse(row)
    return Solution(truth, usages)


def _read_submission(
    path: Path, task: Task, solution: Solution[Truth], parse: Callable[[Row], Cell]
) -> dict[str, Cell]:
    answers: dict[str, Cell] = {}
    for row in _iterate_records(path, _make_header(task)):
        usage = solution.usages.get(row.cells[0])
        if usage is None:
            row.refuse(f"the solution has no photo {row.cells[0]!r:.60}. Remove the row.")
        if usage != Usage.IGNORED:
            answers[row.cells[0]] = parse(row)
    return answers


def _split(row: Row) -> list[str]:
    """Split the second cell at single spaces."""
    cell = row.cells[1]
    parts = cell.removesuffix(" ").split(" ") if cell else []
    if not all(parts):
        row.refuse(f"expected single spaces between the parts of the cell, received {cell!r:.60}.")
    return parts


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
    except OSError as error:
        raise ScoringError(f"{path} cannot be written: {error.strerror}.") from error


def _iterate_rows(path: Path) -> Iterator[Row]:
    """Yield all rows of a UTF-8 CSV file; an empty line gives a row without cells."""
    limit = csv.field_size_limit(_MAX_CELL)  # global to the csv module, so restored below
    line = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # accepts a byte order mark
            reader = csv.reader(stream, strict=True)  # without `strict`, an unclosed quote swallows the rest silently
            for cells in reader:
                line = reader.line_num
                yield Row(path, line, cells)
    except UnicodeDecodeError as error:
        raise ScoringError(f"{path} is not UTF-8 text after line {line}: {error.reason}.") from None
    except csv.Error as error:
        raise ScoringError(f"{path} is not CSV after line {line}: {error}.") from None
    except OSError as error:
        raise ScoringError(f"{path} cannot be read: {error.strerror}.") from None
    finally:
        csv.field_size_limit(limit)


def _iterate_records(path: Path, header: Sequence[str]) -> Iterator[Row]:
    """Yield the non-empty rows below the header; check their number of cells, and that ids are given and unique."""
    rows = _iterate_rows(path)
    _check_header(path, next(rows, None), header)
    first_lines: dict[str, int] = {}
    for row in rows:
        if not any(row.cells):
            continue
        if len(row.cells) != len(header):
            row.refuse(
                f"expected {len(header)} cells ({','.join(header)}), received {len(row.cells)}: {_show(row.cells)}."
            )
        image_id = row.cells[0]
        if not image_id:
            row.refuse(f"the id is empty: {_show(row.cells)}.")
        if image_id in first_lines:
            row.refuse(f"the id {image_id!r:.60} is already in line {first_lines[image_id]}.")
        first_lines[image_id] = row.line
        yield row


def _check_header(path: Path, row: Row | None, *headers: Sequence[str]) -> tuple[str, ...]:
    """Return the first row of a file, which must be one of the given headers."""
    found = tuple(row.cells) if row else ()
    if found not in map(tuple, headers):
        expected = " or ".join(",".join(header) for header in headers)
        raise ScoringError(f"{path}, line 1: expected the header {expected}, received {_show(found)}.")
    return found


def _show(cells: Sequence[str]) -> str:
    return f"{','.join(cells)!r:.80}" if cells else "nothing"
