"""Reading a CSV file row by row, with errors that name file, line and value."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from landmarks.errors import ScoringError

_LONGEST_CELL = 1 << 28  # the csv module stops at 131072 characters, about 7700 image ids


@dataclass(frozen=True)
class Row:
    """The cells of a row, and where they stand."""

    path: Path
    line: int
    cells: list[str]

    def refuse(self, problem: str) -> NoReturn:
        """Raise a ScoringError that says where the problem is."""
        raise ScoringError(f"{self.path}, line {self.line}: {problem}")


def iterate_rows(path: Path) -> Iterator[Row]:
    """All rows of a UTF-8 file, as they are; an empty line has no cells.

    Raises:
        ScoringError: the file cannot be read, or is no CSV.
    """
    limit = csv.field_size_limit(_LONGEST_CELL)
    line = 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
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


def iterate_records(path: Path, header: Sequence[str]) -> Iterator[Row]:
    """The rows below a given header that hold anything, each with all its cells and an id of its own in the first.

    Raises:
        ScoringError: the file cannot be read or is no such table.
    """
    rows = iterate_rows(path)
    check_header(path, next(rows, None), header)
    first_lines: dict[str, int] = {}
    for row in rows:
        if not any(row.cells):
            continue
        _check_cells(row, header)
        image_id = row.cells[0]
        if image_id in first_lines:
            row.refuse(f"the id {image_id!r:.60} stands in line {first_lines[image_id]} already.")
        first_lines[image_id] = row.line
        yield row


def check_header(path: Path, row: Row | None, *headers: Sequence[str]) -> tuple[str, ...]:
    """The first row of a file, which must be one of some headers.

    Raises:
        ScoringError: it is another.
    """
    found = tuple(row.cells) if row else ()
    if found not in map(tuple, headers):
        expected = " or ".join(",".join(header) for header in headers)
        raise ScoringError(f"{path}, line 1: expected the header {expected}, received {_show(found)}.")
    return found


def _check_cells(row: Row, header: Sequence[str]) -> None:
    if len(row.cells) != len(header):
        row.refuse(f"expected {len(header)} cells ({','.join(header)}), received {len(row.cells)}: {_show(row.cells)}.")
    if not row.cells[0]:
        row.refuse(f"the id is empty: {_show(row.cells)}.")


def _show(cells: Sequence[str]) -> str:
    return f"{','.join(cells)!r:.80}" if cells else "nothing"
