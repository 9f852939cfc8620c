"""What was done to which photo: a small SQLite file in the user's cache folder.

It saves work and keeps what `--undo` restores. Nothing is lost with it but that: the sidecars say themselves what we
wrote into them.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from landmarks.errors import ArtifactError, LandmarksError
from landmarks.files.writing import hold_lock

_FORMAT = 1
_STATE_FILE = "albums.sqlite"
_WAIT_SECONDS = 600.0  # for another process; it holds the lock for the photos of one batch
_SCHEMA = """
CREATE TABLE photos (
    path BLOB PRIMARY KEY,      -- absolute, as the file system has it
    size INTEGER NOT NULL,
    time INTEGER NOT NULL,      -- of the last change, ns
    digest BLOB NOT NULL,       -- of the content; empty where the photo could not be read
    model TEXT NOT NULL,        -- fingerprint
    answer TEXT NOT NULL,       -- JSON
    written TEXT NOT NULL       -- JSON: what the photo has in its sidecar; empty if nothing
) WITHOUT ROWID;
CREATE INDEX photos_by_digest ON photos (digest, model);
CREATE TABLE sidecars (
    path BLOB PRIMARY KEY,
    original BLOB,              -- its bytes before us; NULL where there was none
    on_disk BLOB NOT NULL,      -- digest of what we wrote last
    planned BLOB NOT NULL       -- digest of what we were about to write
) WITHOUT ROWID;
CREATE INDEX sidecars_by_digest ON sidecars (on_disk);
"""


@dataclass(frozen=True)
class Answer:
    """What a model says about a photo, or why there is no answer.

    Attributes:
        landmarks: (landmark_id, name, softmax probability), from most to least likely; empty with an error.
        is_landmark: whether its landmark score reaches the threshold.
        landmark_score: estimated probability that the photo shows a landmark.
        confidence: estimated probability that the first landmark is right.
        threshold: of the landmark score.
        error: why the photo cannot be read; empty if it can.
    """

    landmarks: tuple[tuple[int, str, float], ...] = ()
    is_landmark: bool = False
    landmark_score: float = 0.0
    confidence: float = 0.0
    threshold: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class PhotoState:
    """A photo as it was when it was answered last."""

    path: bytes
    size: int
    time: int
    digest: bytes
    model: str
    answer: Answer
    written: str


@dataclass(frozen=True)
class SidecarState:
    """A sidecar: its bytes before us, and digests of what we wrote and of what we were about to write."""

    original: bytes | None
    on_disk: bytes
    planned: bytes


def find_state_folder() -> Path:
    """Return the folder of the state: `LANDMARKS_CACHE`, or one in the user's cache folder."""
    return Path(os.environ.get("LANDMARKS_CACHE") or platformdirs.user_cache_dir("landmarks", appauthor=False))


class State:
    """The state; safe to use from several threads and processes."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open the state, and make it if there is none.

        Raises:
            ArtifactError: the file is damaged, or of a later version.
            LandmarksError: it cannot be used, or another process holds it for too long.
            OSError: the folder cannot be made.
        """
        self.folder = folder or find_state_folder()
        self.path = self.folder / _STATE_FILE
        self._lock = threading.RLock()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._explain():
            self._database = sqlite3.connect(self.path, timeout=_WAIT_SECONDS, check_same_thread=False)
        try:
            with self._explain():
                self._database.execute("PRAGMA journal_mode = WAL")
                # what a sidecar was before us must outlast a power cut, as the sidecar itself does
                self._database.execute("PRAGMA synchronous = FULL")
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._transaction():
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._database.execute(statement)
                self._database.execute(f"PRAGMA user_version = {_FORMAT}")
            elif version != _FORMAT:
                raise ArtifactError(f"{self.path} was written by a later version of landmarks. Install that one.")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Raise errors of SQLite as ours."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if any(words in str(error) for words in ("not a database", "malformed")):
                raise ArtifactError(
                    f"{self.path} is damaged ({error}). Move it away, with {self.path.name}-wal and -shm beside it: "
                    "photos are then answered again, and --undo removes tags in place of restoring files."
                ) from error
            raise LandmarksError(
                f"{self.path} cannot be used: {error}. Check that {self.folder} can be written, or set LANDMARKS_CACHE "
                "to another folder."
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._explain():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.rollback()
                raise
            self._database.commit()

    def _query(self, question: str, *values: object) -> list[Any]:
        with self._lock, self._explain():
            return self._database.execute(question, values).fetchall()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from writing sidecars inside a `with` block."""
        with hold_lock(self.folder / "albums.lock", "writing sidecars", _WAIT_SECONDS):
            yield

    def find_photo(self, path: bytes) -> PhotoState | None:
        """Return a photo by its path."""
        return self._find_photo("path = ?", path)

    def find_content(self, digest: bytes, model: str) -> PhotoState | None:
        """Return any photo of this content that this model answered."""
        return self._find_photo("digest = ? AND model = ? LIMIT 1", digest, model)

    def _find_photo(self, where: str, *values: object) -> PhotoState | None:
        rows = self._query(f"SELECT * FROM photos WHERE {where}", *values)  # noqa: S608 - of this class alone
        return _read_row(rows[0]) if rows else None

    def iterate_photos(self, path: bytes) -> Iterator[PhotoState]:
        """Yield a photo, or those below a folder, in order of their paths; others may be stored meanwhile."""
        if known := self.find_photo(path):
            yield known
        after, end = path.rstrip(b"/") + b"/", path.rstrip(b"/") + b"0"  # the character after /
        while rows := self._query(
            "SELECT * FROM photos WHERE path > ? AND path < ? ORDER BY path LIMIT 500", after, end
        ):
            yield from map(_read_row, rows)
            after = rows[-1][0]

    def count_photos(self, folder: bytes) -> int:
        """Count the photos below a folder."""
        start, end = folder.rstrip(b"/") + b"/", folder.rstrip(b"/") + b"0"
        return int(self._query("SELECT COUNT(*) FROM photos WHERE path > ? AND path < ?", start, end)[0][0])

    def store_photos(self, photos: Sequence[PhotoState]) -> None:
        """Store photos, in place of what is known about their paths."""
        if not photos:
            return
        rows = [
            (one.path, one.size, one.time, one.digest, one.model, json.dumps(asdict(one.answer)), one.written)
            for one in photos
        ]
        with self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def forget_photos(self, paths: Sequence[bytes]) -> None:
        """Forget photos."""
        with self._transaction():
            self._database.executemany("DELETE FROM photos WHERE path = ?", [(path,) for path in paths])

    def find_sidecar(self, path: bytes, digest: bytes) -> SidecarState | None:
        """Return what is known about a sidecar, by its path, or as a moved one by the digest of what we wrote."""
        rows = self._query(
            "SELECT original, on_disk, planned FROM sidecars WHERE path = ? OR on_disk = ? ORDER BY path != ?",
            *(path, digest, path),
        )
        found = (SidecarState(*row) for row in rows)
        return next((known for known in found if digest in (known.on_disk, known.planned)), None)

    def store_sidecars(self, known: Mapping[bytes, SidecarState | None]) -> None:
        """Store what is known about sidecars, by their paths; None for one that has nothing of ours any more."""
        if not known:
            return
        with self._transaction():
            for path, one in known.items():
                if one is None:
                    self._database.execute("DELETE FROM sidecars WHERE path = ?", (path,))
                else:
                    values = (path, one.original, one.on_disk, one.planned)
                    self._database.execute("INSERT OR REPLACE INTO sidecars VALUES (?, ?, ?, ?)", values)


def _read_row(row: Sequence[Any]) -> PhotoState:
    path, size, time, digest, model, answer, written = row
    values = json.loads(answer)
    landmarks = tuple((int(number), str(name), float(score)) for number, name, score in values.pop("landmarks"))
    return PhotoState(path, size, time, digest, model, Answer(landmarks, **values), written)
