"""Read the request log: one JSON object per line and served photo."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydantic

from landmarks.errors import DataError

Floats = npt.NDArray[np.float32]
_log = logging.getLogger(__name__)


class LogEntry(pydantic.BaseModel):
    """The keys of a line that drift detection needs; others are ignored."""

    # A single NaN would spoil the statistics of the whole log.
    model_config = pydantic.ConfigDict(frozen=True, allow_inf_nan=False)

    time: datetime
    model_version: str
    score: float
    landmark_score: float | None = None
    embedding: tuple[float, ...] | None = None


@dataclass(frozen=True)
class LoggedPhotos:
    """The logged values of photos that one model version served.

    Attributes:
        scores: float32 (n,), of the top prediction.
        landmark_scores: float32 (m,), of the entries that have one.
        embeddings: float32 (k, d), a random sample of the entries that have one.
        first: time of the earliest entry.
        last: time of the latest entry.
        other_versions: number of skipped entries, by model version.
        damaged_lines: number of skipped lines that are no entries, such as one cut off by a kill.
    """

    scores: Floats
    landmark_scores: Floats
    embeddings: Floats
    first: datetime
    last: datetime
    other_versions: dict[str, int]
    damaged_lines: int


def read_request_log(path: Path, model_version: str | None, max_embeddings: int, seed: int) -> LoggedPhotos:
    """Read the log entries of one model version; lines that are no entries are skipped and counted.

    Args:
        path: the log.
        model_version: the version to read; None for all.
        max_embeddings: size of the random sample of embeddings.
        seed: of the random sample.

    Raises:
        DataError: the log cannot be read, is empty, has only damaged lines, embeddings of different lengths, or no
            entry of that version.
    """
    # Logs grow without limit and embeddings are most of their size, so keep a reservoir sample instead of all.
    scores: list[float] = []
    landmark_scores: list[float] = []
    times: list[datetime] = []
    others: Counter[str] = Counter()
    damaged, first_damaged = 0, ""
    kept = _Reservoir(max_embeddings, seed)
    for number, line in _iterate_lines(path):
        entry = _parse(line)
        if isinstance(entry, str):
            damaged, first_damaged = damaged + 1, first_damaged or f"line {number} ({entry})"
            continue
        if model_version is not None and entry.model_version != model_version:
            others[entry.model_version] += 1
            continue
        times.append(entry.time)
        scores.append(entry.score)
        if entry.landmark_score is not None:
            landmark_scores.append(entry.landmark_score)
        if entry.embedding is not None:
            kept.add(np.asarray(entry.embedding, np.float32), f"Line {number} of {path}")
    if not scores:
        raise DataError(_explain_empty(path, model_version, others, first_damaged))
    if damaged:
        _log.warning("%d damaged lines of %s were skipped, the first is %s.", damaged, path, first_damaged)
    return LoggedPhotos(
        np.asarray(scores, np.float32),
        np.asarray(landmark_scores, np.float32),
        kept.stack(),
        min(times),
        max(times),
        dict(sorted(others.items())),
        damaged,
    )


class _Reservoir:
    """A uniform random sample of a stream of vectors in constant memory.

    References:
        Vitter, "Random Sampling with a Reservoir", ACM TOMS 11, 1985, algorithm R.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._generator = np.random.default_rng(seed)
        self._seen = 0
        self._kept: list[Floats] = []

    def add(self, vector: Floats, where: str) -> None:
        if self._kept and len(self._kept[0]) != len(vector):
            raise DataError(
                f"{where} has an embedding of {len(vector)} numbers, the lines before it have {len(self._kept[0])}: "
                "the log mixes different models. Compare a log of one model."
            )
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(vector)
        elif (place := int(self._generator.integers(self._seen))) < self._size:
            self._kept[place] = vector

    def stack(self) -> Floats:
        return np.stack(self._kept) if self._kept else np.empty((0, 0), np.float32)


def _iterate_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"The log {path} cannot be read: {error.strerror}.") from None


def _parse(line: bytes) -> LogEntry | str:
    """Return the entry of a line, or what is wrong with it."""
    try:
        return LogEntry.model_validate_json(line)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"][:1]))
        return f"{f'{name!r}: ' if name else ''}{problem['msg']}"


def _explain_empty(path: Path, model_version: str | None, others: Counter[str], first_damaged: str) -> str:
    if others:
        known = ", ".join(sorted(others))
        return (
            f"The log {path} has no entries of version {model_version}, only of {known}. Use --reference to compare "
            "with the evaluation of the version that was served."
        )
    if first_damaged:
        return (
            f"The log {path} has damaged lines only, the first is {first_damaged}. Name the request log of a service."
        )
    return f"The log {path} is empty: no photo was served since it was started. Compare a log with entries."
