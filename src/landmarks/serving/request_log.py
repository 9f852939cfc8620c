"""The request log: answers as JSON lines for `landmarks drift`, without the photos and without their senders."""

import errno
import fcntl
import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.recognizer.recognizer import Recognition
from landmarks.schema.network_format import Floats

PATH_VARIABLE = "LANDMARKS_REQUEST_LOG"
_MOST_WAITING = 2000  # photos; further ones are dropped and counted
_DECIMALS = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """The answer for one photo."""

    time: datetime
    endpoint: str
    recognition: Recognition
    embedding: Floats


class RequestLog:
    """Appends one line per photo, in a thread of its own; requests never wait for the disk.

    The file is reopened for every write, so it may be moved at any time: the next write creates a new one.
    """

    def __init__(self, path: Path, model_version: str) -> None:
        """Start the thread.

        Raises:
            ArtifactError: the file cannot be written.
        """
        try:  # at start, so that a wrong path is not found only after the first answers
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("ab").close()
        except OSError as error:
            raise ArtifactError(
                f"The request log {path} cannot be written ({error.strerror}). Name another file in {PATH_VARIABLE}, "
                "or unset it."
            ) from None
        self._path = path
        self._model_version = model_version
        self._waiting: Queue[Served | None] = Queue(_MOST_WAITING)
        self._lost = 0
        self._thread = Thread(target=self._work, name="request-log", daemon=True)
        self._thread.start()

    def add(self, endpoint: str, recognition: Recognition, embedding: Floats) -> None:
        """Queue the answer for a photo; it is dropped and counted if the queue is full."""
        try:
            self._waiting.put_nowait(Served(datetime.now(UTC), endpoint, recognition, embedding))
        except Full:
            self._lost += 1

    def close(self) -> None:
        """Write the queued lines, then stop the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        goes_on = True
        while goes_on:
            batch = list(self._take())
            goes_on = batch[-1] is not None
            self._append([self._write_line(item) for item in batch if item is not None])
            if self._lost:
                _log.warning("%d photos were dropped from the request log", self._lost)
                self._lost = 0

    def _take(self) -> Iterator[Served | None]:
        """Wait for an entry, then yield it and all that are queued, up to the final None."""
        item = self._waiting.get()
        yield item
        while item is not None:
            try:
                item = self._waiting.get_nowait()
            except Empty:
                return
            yield item

    def _append(self, lines: list[bytes]) -> None:
        """Write whole lines; those for which there is no space are counted as lost."""
        written = 0
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _begin(descriptor, self._path)
                for line in lines:
                    _write_whole(descriptor, line)
                    written += 1
            finally:
                os.close(descriptor)
        except OSError as error:
            self._lost += len(lines) - written
            _log.warning("the request log cannot be written: %s", error.strerror)

    def _write_line(self, served: Served) -> bytes:
        recognition = served.recognition
        best = recognition.predictions[0]
        entry: dict[str, Any] = {
            "time": served.time.isoformat(timespec="milliseconds"),
            "model_version": self._model_version,
            "endpoint": served.endpoint,
            "landmark_id": best.landmark_id,
            "name": best.name,
            "score": best.score,
            "landmark_score": recognition.landmark_score,
            "is_landmark": recognition.is_landmark,
            "embedding": [round(float(value), _DECIMALS) for value in served.embedding],
        }
        return f"{json.dumps(entry, ensure_ascii=False)}\n".encode()


def _begin(descriptor: int, path: Path) -> None:
    """Keep other workers waiting until the file is closed, and end the line that a killed one left unfinished."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a pipe
        return
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 1))
        if stream.read(1) not in (b"", b"\n"):
            _write_whole(descriptor, b"\n")


def _write_whole(descriptor: int, line: bytes) -> None:
    """Append a line, or nothing of it.

    Raises:
        OSError: there is no space left for all of it.
    """
    end = os.fstat(descriptor).st_size
    if os.write(descriptor, line) < len(line):
        os.ftruncate(descriptor, end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
