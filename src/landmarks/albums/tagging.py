"""Tag the photos of folders: answer those that are new or have changed, and write what is found into sidecars."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from landmarks.albums.models import Model
from landmarks.albums.names import Names
from landmarks.albums.sidecars import (
    Change,
    Style,
    apply_changes,
    compute_digest,
    explain,
    find_sidecar,
    has_sidecar,
    is_marked,
    list_sidecars,
    plan_change,
    raise_if_full,
    write_file_name,
)
from landmarks.albums.state import Answer, PhotoState, State
from landmarks.albums.xmp import Place, Record, SidecarError
from landmarks.errors import ImageError, LandmarksError
from landmarks.photos.walk import read_photo
from landmarks.recognizer.batches import answer_items
from landmarks.schema.network_format import Pixels

BLOCK = 64  # photos whose sidecars are written, and whose state is stored, at once
_SMALLEST = 1e-9
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
        change: what became of its sidecar, or would: `new`, `changed` or `deleted`; empty where nothing did.
    """

    path: Path
    answer: Answer
    landmarks: tuple[tuple[int, str, float], ...] = ()
    outcome: Outcome = "unchanged"
    answered: bool = False
    error: str = ""
    change: Literal["new", "changed", "deleted", ""] = ""


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
        photos = map(self._look, paths)
        answered = answer_items(photos, self._load, self._answer, self._model.threads, self._find)
        block: list[tuple[_Photo, _Found]] = []
        try:
            for photo, found in answered:
                block.append((photo, found))
                if len(block) == BLOCK:
                    ready, block = block, []
                    yield from self._write(ready)
        except BaseException:  # what was answered is kept, also where the service or the user ends the run
            self._write(block)
            raise
        yield from self._write(block)

    def _look(self, path: Path) -> _Photo:
        name = os.fsencode(os.path.abspath(path))  # noqa: PTH100 - a Path would cost most of the time of a second run
        try:
            status = os.stat(path)  # noqa: PTH116 - as above
        except OSError:
            return _Photo(path, name, -1, -1, None)  # reading it will say why
        return _Photo(path, name, status.st_size, status.st_mtime_ns, self._state.find_photo(name))

    def _find(self, photo: _Photo) -> "_Found | None":
        """Return the answer for a photo that has not changed since this model answered it."""
        known, fingerprint = photo.known, self._model.identity.fingerprint
        if known is None or self._settings.force or known.model != fingerprint or known.answer.error:
            return None
        if (known.size, known.time) != (photo.size, photo.time):
            return None
        photo.digest = known.digest
        return _Found(known.answer, is_new=False)

    def _load(self, photo: _Photo) -> "Pixels | _Found":
        """Return the decoded photo, or its answer if its content is known."""
        fingerprint = self._model.identity.fingerprint
        try:
            data = read_photo(photo.path)
            photo.digest = compute_digest(data)
            same = None if self._settings.force else self._state.find_content(photo.digest, fingerprint)
            if same and not same.answer.error:
                return _Found(same.answer, is_new=False)
            loaded = self._model.load(data)
        except ImageError as error:
            return _Found(Answer(error=str(error)), is_new=False)
        return _Found(loaded) if isinstance(loaded, Answer) else loaded

    def _answer(self, pixels: Pixels) -> "list[_Found]":
        return [_Found(answer) for answer in self._model.answer(pixels)]

    def _write(self, block: "Sequence[tuple[_Photo, _Found]]") -> list[Tagged]:
        """Write the sidecars of some photos, and store what is known about these."""
        done: list[Tagged] = []
        with self._state.hold():
            jobs: list[_Job] = []
            for photo, found in block:
                job = self._plan(photo, found)
                if {change.path for change in job.changes} & {change.path for one in jobs for change in one.changes}:
                    done += self._apply(jobs)  # photos that share a sidecar: the next one sees what the first one has
                    jobs, job = [], self._plan(photo, found)
                jobs.append(job)
            done += self._apply(jobs)
        return done

    def _plan(self, photo: _Photo, found: "_Found") -> "_Job":
        """Plan how the sidecar of a photo gets up to date."""
        landmarks = self._choose(found.answer)
        wanted, known = self._describe(landmarks), photo.known
        if not self._needs_a_look(photo, wanted):
            return _Job(photo, found, landmarks, known.written if known else "", wanted)
        # another run may have changed it since the photo was found
        before = known.written if (known := self._state.find_photo(photo.name)) else ""
        job = _Job(photo, found, landmarks, before, wanted)
        if found.answer.error or not self._settings.sidecars:
            return job
        try:
            if not os.path.lexists(photo.path):  # as on a share that vanished
                raise SidecarError("the photo is not there any more")
            sidecar = find_sidecar(photo.path, self._settings.style)
            records = self._build_records(photo.path, landmarks)
            job.changes.append(plan_change(sidecar, photo.path.name, records, self._state))
            for other in list_sidecars(photo.path):  # what an earlier run wrote into another one
                if other != sidecar and is_marked(other):
                    job.changes.append(plan_change(other, photo.path.name, [], self._state))
        except (LandmarksError, OSError) as problem:
            job.changes, job.problem = [], problem
        return job

    def _needs_a_look(self, photo: _Photo, wanted: str) -> bool:
        """Return whether a sidecar may have to change, or something is to be stored."""
        known = photo.known
        if known is None or self._settings.force or wanted != known.written:
            return True
        is_same = (known.size, known.time, known.digest) == (photo.size, photo.time, photo.digest)
        is_answered = known.model == self._model.identity.fingerprint
        return not (is_same and is_answered) or (bool(wanted) and not has_sidecar(photo.path))

    def _apply(self, jobs: "Sequence[_Job]") -> list[Tagged]:
        """Write what was planned for some photos, and store it.

        Raises:
            OSError: the disk is full.
        """
        changes = [change for job in jobs for change in job.changes]
        problems = [None for _ in changes] if self._settings.dry_run else apply_changes(changes, self._state)
        outcomes = dict(zip((change.path for change in changes), problems, strict=True))
        for job in jobs:
            job.problem = next((one for change in job.changes if (one := outcomes[change.path])), job.problem)
        self._state.store_photos([state for job in jobs if (state := self._build_state(job)) is not None])
        raise_if_full(problems)
        return [self._report(job) for job in jobs]

    def _build_state(self, job: "_Job") -> PhotoState | None:
        """Return what is to be stored about a photo, or None if that is known or it is not there now."""
        photo, was_written = job.photo, job.problem is None and bool(job.changes) and not self._settings.dry_run
        fingerprint = self._model.identity.fingerprint
        written = job.wanted if was_written else job.before
        state = PhotoState(photo.name, photo.size, photo.time, photo.digest, fingerprint, job.found.answer, written)
        return state if state != photo.known and photo.size >= 0 else None

    def _report(self, job: "_Job") -> Tagged:
        photo, found = job.photo, job.found
        if found.is_new and photo.known and photo.known.model != self._model.identity.fingerprint:
            self.of_other_models += 1
        if found.answer.error:
            return Tagged(photo.path, found.answer, outcome="failed", error=found.answer.error)
        if job.problem is not None:
            error = f"Its sidecar was left as it is: {explain(job.problem)}."
            return Tagged(photo.path, found.answer, (), "failed", found.is_new, error)
        change = next((change for change in job.changes if change.is_needed), None)
        if change is None:
            return Tagged(photo.path, found.answer, job.landmarks, "unchanged", found.is_new)
        outcome: Outcome = "tagged" if job.landmarks else "untagged"
        kind: Literal["new", "deleted", "changed"] = (
            "new" if change.before is None else "deleted" if change.after is None else "changed"
        )
        return Tagged(photo.path, found.answer, job.landmarks, outcome, found.is_new, change=kind)

    def _choose(self, answer: Answer) -> tuple[tuple[int, str, float], ...]:
        """Choose the landmarks of a photo, with the names and the confidence that are written."""
        if not answer.is_landmark or answer.error:
            return ()
        # only the confidence of the first is calibrated; the others share the rest as they share that of the softmax
        rest = (1.0 - answer.confidence) / max(1.0 - answer.landmarks[0][2], _SMALLEST)
        rated = [
            (number, answer.confidence if place == 0 else min(rest * score, 1.0 - answer.confidence))
            for place, (number, _, score) in enumerate(answer.landmarks)
        ]
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
                place=places.get(number),
            )
            for number, name, confidence in landmarks
        ]


@dataclass
class _Job:
    """What is planned for a photo; `before` and `wanted` describe what its sidecar says about it."""

    photo: _Photo
    found: "_Found"
    landmarks: tuple[tuple[int, str, float], ...]
    before: str
    wanted: str
    changes: list[Change] = field(default_factory=list)
    problem: LandmarksError | OSError | None = None


@dataclass(frozen=True)
class _Found:
    """An answer, and whether the model gave it now."""

    answer: Answer
    is_new: bool = True


def _tell_time() -> str:
    """Tell the time in UTC; `SOURCE_DATE_EPOCH` fixes it, as for reproducible builds."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
