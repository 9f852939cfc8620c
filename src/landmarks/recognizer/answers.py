"""Write the answers for many photos: as lines for people, as JSON lines, or as a CSV table; and sum them up."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from landmarks.errors import ImageError
from landmarks.recognizer.recognizer import Recognition

COLUMNS = ("path", "answer", "is_landmark", "landmark_id", "name", "confidence", "landmark_score", "threshold", "error")
NO_LANDMARK = "no landmark"
_MOST_COUNTED = 10

Answers = Iterable[tuple[Path, Recognition | ImageError]]


def write_lines(answers: Answers, k: int, verbose: bool) -> Iterator[str]:
    """Write a line per photo: its name, the landmark and its confidence; with k above 1, the next guesses below.

    Photos that cannot be read have no line; `verbose` adds the evidence.
    """
    for path, answer in answers:
        if isinstance(answer, ImageError):
            continue
        best = answer.predictions[0]
        named = f"{best.name} ({answer.confidence:.0%})" if answer.is_landmark else NO_LANDMARK
        yield f"{path}: {named}"
        others = answer.predictions[int(answer.is_landmark) : k]
        if k > 1:
            yield from (f"    or {other.name} ({other.landmark_id})" for other in others)
        if verbose:
            score, threshold = format_apart(answer.landmark_score, answer.threshold)
            place = "above" if answer.is_landmark else "below"
            yield f"    landmark score {score}, {place} the threshold of {threshold}"
            if nearest := answer.nearest:
                yield f"    nearest photo {nearest.image_id} of {nearest.name}, similarity {nearest.similarity:.2f}"


def write_json_lines(answers: Answers) -> Iterator[str]:
    """Write one JSON object per photo, with its `error` if it cannot be read."""
    for path, answer in answers:
        facts = {"error": str(answer)} if isinstance(answer, ImageError) else asdict(answer)
        yield json.dumps({"path": str(path), **facts}, ensure_ascii=isinstance(answer, ImageError))


def write_csv_lines(answers: Answers) -> Iterator[str]:
    """Write a CSV table with the first answer for each photo, or its error."""
    yield _format_row(COLUMNS)
    for path, answer in answers:
        cells = build_row(answer)
        yield _format_row(str(path) if name == "path" else cells[name] for name in COLUMNS)


def build_row(answer: Recognition | ImageError) -> dict[str, Any]:
    """Build the row of a table for an answer, by the names in `COLUMNS` without the path; None for an empty cell."""
    if isinstance(answer, ImageError):
        return dict.fromkeys(COLUMNS[1:]) | {"error": str(answer)}
    best = answer.predictions[0]
    return {
        "answer": best.name if answer.is_landmark else NO_LANDMARK,
        "is_landmark": answer.is_landmark,
        "landmark_id": best.landmark_id,
        "name": best.name,
        "confidence": round(answer.confidence, 4),
        "landmark_score": round(answer.landmark_score, 4),
        "threshold": round(answer.threshold, 4),
        "error": None,
    }


def _format_row(values: Iterable[object]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(values)
    return stream.getvalue()


class Summary:
    """Counts answers while they pass."""

    def __init__(self) -> None:
        self.unreadable = 0
        self._none = 0
        self._names = Counter[str]()

    def count(self, answers: Answers) -> Iterator[tuple[Path, Recognition | ImageError]]:
        """Pass answers on."""
        for path, answer in answers:
            if isinstance(answer, ImageError):
                self.unreadable += 1
            elif answer.is_landmark:
                self._names[answer.predictions[0].name] += 1
            else:
                self._none += 1
            yield path, answer

    def describe(self) -> str:
        """Say how many photos were named, by landmark, and how many were not."""
        named = self._names.total()
        photos = named + self._none + self.unreadable
        first = (
            f"{photos:,} photos: {named:,} of {len(self._names):,} landmarks, {self._none:,} of no landmark, "
            f"{self.unreadable:,} unreadable"
        )
        lines = [f"  {count:>6,}  {name}" for name, count in self._names.most_common(_MOST_COUNTED)]
        more = len(self._names) - len(lines)
        return "\n".join([first, *lines, *([f"          and {more:,} more landmarks"] if more else [])])


def format_apart(score: float, threshold: float) -> tuple[str, str]:
    """Format two numbers with at least two decimals, and with as many as it takes to tell them apart."""
    for decimals in range(2, 9):
        written = f"{score:.{decimals}f}", f"{threshold:.{decimals}f}"
        if written[0] != written[1]:
            break
    return written
