"""Order of the answers on the page: as uploaded, or by landmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.client import Answer
from app.names import read_name

NO_LANDMARK, UNREADABLE = "No landmark", "Not readable"

Photo = TypeVar("Photo")
Results = Sequence[tuple[Photo, Answer | str]]


@dataclass(frozen=True)
class Group(Generic[Photo]):
    """Photos with the same answer; the title is empty where photos are not grouped."""

    title: str
    results: Results[Photo]


def group_results(results: Results[Photo], only_landmarks: bool, by_landmark: bool) -> list[Group[Photo]]:
    """Put photos and their answers, or errors, in order.

    Args:
        results: in the order of upload.
        only_landmarks: leave out photos without a landmark and those that cannot be read.
        by_landmark: one group per landmark, the one with the most photos first and its surest photo first; then those
            without a landmark, and last those that cannot be read. Otherwise one group, in the order given.
    """
    kept = [item for item in results if not only_landmarks or _find_title(item[1]) not in (NO_LANDMARK, UNREADABLE)]
    if not by_landmark:
        return [Group("", kept)] if kept else []
    titles: dict[str, list[tuple[Photo, Answer | str]]] = {}
    for item in kept:
        titles.setdefault(_find_title(item[1]), []).append(item)
    groups = [
        Group(title, sorted(items, key=lambda item: -_find_confidence(item[1]))) for title, items in titles.items()
    ]
    last = {NO_LANDMARK: 1, UNREADABLE: 2}
    return sorted(groups, key=lambda group: (last.get(group.title, 0), -len(group.results), group.title))


def _find_title(result: Answer | str) -> str:
    if isinstance(result, str):
        return UNREADABLE
    best = result.predictions[0]
    return read_name(best.name, best.landmark_id) if result.is_landmark else NO_LANDMARK


def _find_confidence(result: Answer | str) -> float:
    return 0.0 if isinstance(result, str) or result.confidence is None else result.confidence
