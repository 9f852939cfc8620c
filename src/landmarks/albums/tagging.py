"""Tag the photos of folders: answer those that are new or have changed, and write what is found into sidecars."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from landmarks.albums.keywords import build_keywords
from landmarks.albums.models import Model
from landmarks.albums.names import Names
from landmarks.albums.sidecars import (
    Style,
    apply_change,
    compute_digest,
    find_sidecar,
    plan_change,
    write_file_name,
)
from landmarks.albums.state import Answer, PhotoState, State
from landmarks.albums.xmp import Place, Record, SidecarError
from landmarks.errors import ImageError
from landmarks.files.faults import FULL
from landmarks.photos.walk import read_photo
from landmarks.recognizer.batches import answer_items
from landmarks.schema.network_format import Pixels

BLOCK = 64  # photos whose sidecars are written, and whose state is stored, at once
Outcome = Literal["tagged", "untagged", "unchanged", "failed"]


@dataclass(frozen=True)
class Settings:
    """What is to be written.

    Attributes:
        style: of the names of new sidecars.
        min_confidence: below it a photo gets no tag.
        top: the most landmarks of a photo.
        places: where landmarks stand, by id; photos without a place get it. None to write none.
        sidecars: whether sidecars are written.
        force: answer and write every photo again.
        dry_run: write no sidecar, and say what would be.
    """

    style: Style = "full"
    min_confidence: float = 0.5
    top: int = 1
    places: Mapping[int, Place] | None = None
    sidecars: bool = True
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Tagged:
    """What was done with a photo.

    Attributes:
        path: of the photo.
        answer: of the model.
        landmarks: (landmark_id, name, confidence) that it is tagged with.
        outcome: `tagged` and `untagged`: its sidecar was changed; `unchanged`: it was not; `failed`: see `error`.
        answered: whether the model answered it now, and not in an earlier run.
        error: why it could not be read or its sidecar not be written.
    """

    path: Path
    answer: Answer
    landmarks: tuple[tuple[int, str, float], ...] = ()
    outcome: Outcome = "unchanged"
    answered: bool = False
    error: str = ""


@dataclass
class _Photo:
    """A photo on its way; `digest` is of its content once that is read."""

    path: Path
    name: bytes  # absolute
    size: int
    time: int
    known: PhotoState | None
    digest: bytes = b""


class Tagger:
    """Tags photos with a model."""

    def __init__(self, model: Model, names: Names, state: State, settings: Settings) -> None:
        self._model = model
        self._names = names
        self._state = state
        self._settings = settings
        self.of_other_models = 0  # photos that another model answered before

    def tag(self, paths: Iterable[Path]) -> Iterator[Tagged]:
        """Tag photos, and yield what was done with each, in their order.

        Raises:
            OSError: the disk is full.
            LandmarksError: the service does not answer any more.
        """
        answered = answer_items(map(self._look, paths), self._load, self._answer, self._model.threads)
        while block := [*islice(answered, BLOCK)]:
            yield from self._write(block)

    def _look(self, path: Path) -> _Photo:
        name = os.fsencode(os.path.abspath(path))  # noqa: PTH100 - a Path would cost most of the time of a second run
        try:
            status = os.stat(path)  # noqa: PTH116 - as above
        except OSError:
            return _Photo(path, name, -1, -1, None)  # reading it will say why
        known = self._state.find_photo(name)
        if known and known.model != self._model.identity.fingerprint:
            self.of_other_models += 1
        return _Photo(path, name, status.st_size, status.st_mtime_ns, known)

    def _load(self, photo: _Photo) -> "Pixels | _Found":
        """Return the decoded photo, or its answer if that is known."""
        known, fingerprint = photo.known, self._model.identity.fingerprint
        must_answer = self._settings.force
        is_answered = known is not None and known.model == fingerprint and not known.answer.error
        if known and is_answered and not must_answer and (known.size, known.time) == (photo.size, photo.time):
            photo.digest = known.digest
            return _Found(known.answer, is_new=False)
        try:
            data = read_photo(photo.path)
            photo.digest = compute_digest(data)
            same = None if must_answer else self._state.find_content(photo.digest, fingerprint)
            if same and not same.answer.error:
                return _Found(same.answer, is_new=False)
            loaded = self._model.load(data)
        except ImageError as error:
            return _Found(Answer(error=str(error)))
        return _Found(loaded) if isinstance(loaded, Answer) else loaded

    def _answer(self, pixels: Pixels) -> "list[_Found]":
        return [_Found(answer) for answer in self._model.answer(pixels)]

    def _write(self, block: "Sequence[tuple[_Photo, _Found]]") -> Iterator[Tagged]:
        """Write the sidecars of some photos, and store what is known about these."""
        done: list[Tagged] = []
        states: list[PhotoState] = []
        with self._state.hold():
            for photo, found in block:
                tagged, written = self._tag_one(photo, found)
                done.append(tagged)
                state = PhotoState(
                    photo.name,
                    photo.size,
                    photo.time,
                    photo.digest,
                    self._model.identity.fingerprint,
                    found.answer,
                    written,
                )
                # a photo that is not there now, as on a share that vanished, is known as before
                if state != photo.known and photo.size >= 0:
                    states.append(state)
            self._state.store_photos(states)
        yield from done

    def _tag_one(self, photo: _Photo, found: "_Found") -> tuple[Tagged, str]:
        """Bring the sidecar of a photo up to date, and return what it now says."""
        before = photo.known.written if photo.known else ""
        landmarks = self._choose(found.answer)
        tagged = Tagged(photo.path, found.answer, landmarks, "unchanged", found.is_new)
        if found.answer.error:
            return replace(tagged, outcome="failed", error=found.answer.error), before
        wanted = self._describe(landmarks)
        if not self._settings.sidecars or (wanted == before and not self._settings.force):
            return tagged, before
        try:
            sidecar = find_sidecar(photo.path, self._settings.style)
            change = plan_change(sidecar, photo.path.name, self._build_records(photo.path, landmarks), self._state)
            if not self._settings.dry_run:
                apply_change(change, self._state)
        except (SidecarError, OSError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            reason = str(error) if isinstance(error, SidecarError) else f"{error.strerror}"
            return replace(tagged, outcome="failed", error=f"Its sidecar was left as it is: {reason}."), before
        outcome: Outcome = ("tagged" if landmarks else "untagged") if change.is_needed else "unchanged"
        return replace(tagged, outcome=outcome), before if self._settings.dry_run else wanted

    def _choose(self, answer: Answer) -> tuple[tuple[int, str, float], ...]:
        """Choose the landmarks of a photo, with the names and the confidence that are written."""
        if not answer.is_landmark or answer.error:
            return ()
        # only the confidence of the first is calibrated; the others have as much less as their probabilities
        first = answer.landmarks[0][2] or 1.0
        rated = [(number, answer.confidence * score / first) for number, _, score in answer.landmarks]
        return tuple(
            (number, self._names.find(number), confidence)
            for number, confidence in rated[: self._settings.top]
            if confidence >= self._settings.min_confidence
        )

    def _describe(self, landmarks: Sequence[tuple[int, str, float]]) -> str:
        """Describe what a sidecar says about a photo, except when it was said."""
        if not landmarks:
            return ""
        identity, places = self._model.identity, self._settings.places or {}
        return json.dumps(
            [
                [number, name, f"{confidence:.4f}", identity.name, identity.version, str(places.get(number, ""))]
                for number, name, confidence in landmarks
            ]
        )

    def _build_records(self, path: Path, landmarks: Sequence[tuple[int, str, float]]) -> list[Record]:
        identity, places = self._model.identity, self._settings.places or {}
        return [
            Record(
                write_file_name(path.name),
                number,
                name,
                float(f"{confidence:.4f}"),
                identity.name,
                identity.version,
                _tell_time(),
                build_keywords(name),
                places.get(number),
            )
            for number, name, confidence in landmarks
        ]


@dataclass(frozen=True)
class _Found:
    """An answer, and whether the model gave it now."""

    answer: Answer
    is_new: bool = True


def _tell_time() -> str:
    """Tell the time in UTC; `SOURCE_DATE_EPOCH` fixes it, as for reproducible builds."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
