"""What the service answers, beside the `Recognition` and `Neighbour` of `landmarks.recognition`."""

from dataclasses import dataclass

from landmarks.recognition import Neighbour, Recognition


@dataclass(frozen=True)
class Problem:
    """Why a request, or one photo of it, was not answered."""

    error: str


@dataclass(frozen=True)
class BatchAnswer:
    """One result per photo, in the order they came in."""

    results: tuple[Recognition | Problem, ...]


@dataclass(frozen=True)
class SearchAnswer:
    """The most similar photos of the gallery, closest first."""

    neighbours: tuple[Neighbour, ...]
