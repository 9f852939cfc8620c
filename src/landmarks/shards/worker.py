"""Making shards in parallel: one function that turns a list of photos into a TFRecord file, and the pool that runs it.

The workers import this module alone, which knows neither tables nor params, so that they start fast and stay small.
"""

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError, DataError, ImageError
from landmarks.files import compute_sha256, read_json, write_json
from landmarks.photos.decoding import decode_image
from landmarks.photos.perceptual_hash import compute_perceptual_hash
from landmarks.photos.places import Place
from landmarks.photos.sources import PhotoSource, open_source
from landmarks.schema.columns import OK
from landmarks.schema.network_format import ImageFormat
from landmarks.shards.format import Record, Shard, encode_png, write_shard

_TASKS_PER_WORKER = 2  # one at work and one waiting: tasks and results in memory stay few
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ShardTask:
    """The photos of one shard, in order, and where to put it."""

    folder: Path
    file: str
    source: Mapping[str, Any]
    image_format: ImageFormat
    places: tuple[Place, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class ShardOutcome:
    """What became of the photos of one task.

    `statuses` says `ok` or why a photo is not in the shard; `hashes` are perceptual hashes, 0 for those. `unread` tells
    that the bytes of some photo could not even be read, which may be different the next time.
    """

    shard: Shard
    statuses: tuple[str, ...]
    hashes: tuple[int, ...]
    unread: bool


def make_shards(tasks: Iterable[ShardTask], workers: int) -> Iterator[tuple[int, ShardOutcome]]:
    """Make shards in a pool of processes and give each outcome, with the number of its task, as soon as it is there.

    Tasks are taken as they are needed. A shard that is already there is not made again.

    Raises:
        DataError: there is no room for a shard, or a worker process was killed.
    """
    waiting = iter(enumerate(tasks))
    running: dict[Future[ShardOutcome], int] = {}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker)
    try:
        while True:
            for number, task in islice(waiting, workers * _TASKS_PER_WORKER - len(running)):
                running[pool.submit(make_shard, task)] = number
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise DataError(
            "A worker process was killed, perhaps for want of memory. Run it again with fewer workers; the finished "
            "shards are kept."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def make_shard(task: ShardTask) -> ShardOutcome:
    """Make one shard, or find it made: the file and, beside it, a JSON file with the outcome, written last.

    Raises:
        DataError: there is no room for the shard, or the source is missing.
    """
    finished = _read_outcome(task)
    if finished is not None:
        return finished
    try:
        return _make_shard(task)
    except OSError as error:
        raise explain_no_room(error, task.folder) from error


def explain_no_room(error: OSError, folder: Path) -> Exception:
    """The error to show for a failed write: one of ours where the disk is full, else the error itself."""
    if error.errno not in _NO_ROOM:
        return error
    return DataError(
        f"There is no room left to write below {folder} ({error.strerror}). Free some and run it again; the finished "
        "shards are kept."
    )


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which stops the pool
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End with the parent: a worker holds both ends of the pool's pipes, so it would wait for a killed one forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_shard(task: ShardTask) -> ShardOutcome:
    source = open_source(task.source)
    prepared: list[_Photo] = []

    def iterate_records() -> Iterator[Record]:
        for place, label in zip(task.places, task.labels, strict=True):
            photo, encoded = _prepare_photo(source, place, task.image_format)
            prepared.append(photo)
            if photo.status == OK:
                yield Record(place.image_id, label, encoded, task.image_format.image_size)

    path = task.folder / task.file
    photos = write_shard(path, iterate_records())
    outcome = ShardOutcome(
        shard=Shard(task.file, photos, path.stat().st_size, compute_sha256(path)),
        statuses=tuple(photo.status for photo in prepared),
        hashes=tuple(photo.perceptual_hash for photo in prepared),
        unread=any(photo.unread for photo in prepared),
    )
    write_json(_get_outcome_path(task), asdict(outcome))
    return outcome


@dataclass(frozen=True)
class _Photo:
    status: str
    perceptual_hash: int = 0
    unread: bool = False


def _prepare_photo(source: PhotoSource, place: Place, image_format: ImageFormat) -> tuple[_Photo, bytes]:
    if place.compressed_bytes < 0:
        return _Photo("The photo is missing."), b""
    try:
        pixels = decode_image(source.read(place), image_format)
    except DataError as error:
        return _Photo(str(error), unread=True), b""
    except ImageError as error:
        return _Photo(str(error)), b""
    return _Photo(OK, compute_perceptual_hash(pixels)), encode_png(pixels)


def _get_outcome_path(task: ShardTask) -> Path:
    return task.folder / f"{task.file}.json"


def _read_outcome(task: ShardTask) -> ShardOutcome | None:
    path = task.folder / task.file
    try:
        facts = read_json(_get_outcome_path(task))
        shard = Shard(**facts["shard"])
        outcome = ShardOutcome(shard, tuple(facts["statuses"]), tuple(facts["hashes"]), facts["unread"])
        whole = path.stat().st_size == shard.bytes and len(outcome.statuses) == len(task.places)
    except (ArtifactError, FileNotFoundError, KeyError, TypeError):
        return None
    return outcome if whole and not outcome.unread else None
