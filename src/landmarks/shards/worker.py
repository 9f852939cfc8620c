"""Build shards in parallel: a function that turns a list of photos into a TFRecord file, and the pool that runs it.

Worker processes import only this module. It must not import pandas, pyarrow or pydantic, so that workers start fast and
use little memory.
"""

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
from landmarks.files.digests import compute_sha256
from landmarks.files.seals import check_files, read_sealed, write_sealed
from landmarks.photos.decoding import decode_image
from landmarks.photos.perceptual_hash import compute_perceptual_hash
from landmarks.photos.places import Place
from landmarks.photos.sources import PhotoSource, open_source
from landmarks.schema.columns import OK
from landmarks.schema.network_format import ImageFormat
from landmarks.shards.format import Record, Shard, encode_png, write_shard

_TASKS_PER_WORKER = 2  # one running and one queued; more would only hold tasks and results in memory


@dataclass(frozen=True)
class ShardTask:
    """The photos of one shard, in order, and the file to write."""

    folder: Path
    file: str
    source: Mapping[str, Any]
    image_format: ImageFormat
    places: tuple[Place, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class ShardResult:
    """The result of one task.

    Attributes:
        shard: the file.
        statuses: `ok` or the reason why a photo is not in the shard, for every photo.
        hashes: perceptual hashes of every photo, 0 if it is not in the shard.
        unread: whether reading a photo failed, which a retry may solve; undecodable photos do not count.
    """

    shard: Shard
    statuses: tuple[str, ...]
    hashes: tuple[int, ...]
    unread: bool


def make_shards(tasks: Iterable[ShardTask], workers: int) -> Iterator[tuple[int, ShardResult]]:
    """Build shards in a pool of processes; yield the number and the result of each task as it finishes.

    `tasks` is consumed lazily. Shards that already exist are not built again.

    Raises:
        DataError: a worker process was killed.
        OSError: the disk is full.
    """
    waiting = iter(enumerate(tasks))
    running: dict[Future[ShardResult], int] = {}
    context = multiprocessing.get_context("spawn")  # fork is unsafe in a parent with threads, such as tqdm's
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
            "A worker process was killed, perhaps for lack of memory. Run it again with fewer workers; the finished "
            "shards are kept."
        ) from None
    finally:  # also if the consumer stops early
        pool.shutdown(wait=True, cancel_futures=True)


def make_shard(task: ShardTask) -> ShardResult:
    """Build one shard, unless it exists: the file and, beside it, a JSON file with the result.

    Raises:
        DataError: the source is missing.
        OSError: the disk is full.
    """
    finished = _read_result(task)
    if finished is not None:
        return finished
    return _write_shard(task)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent shuts the pool down
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent dies; a worker holds both ends of the pool's pipes, so it would wait forever instead."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # sys.exit would only end this thread


def _write_shard(task: ShardTask) -> ShardResult:
    source = open_source(task.source)
    prepared: list[_Photo] = []

    # A generator, so that only one decoded photo is in memory.
    def iterate_records() -> Iterator[Record]:
        for place, label in zip(task.places, task.labels, strict=True):
            photo, encoded = _prepare_photo(source, place, task.image_format)
            prepared.append(photo)
            if photo.status == OK:
                yield Record(place.image_id, label, encoded, task.image_format.image_size)

    path = task.folder / task.file
    photos = write_shard(path, iterate_records())
    result = ShardResult(
        shard=Shard(task.file, photos, path.stat().st_size, compute_sha256(path)),
        statuses=tuple(photo.status for photo in prepared),
        hashes=tuple(photo.perceptual_hash for photo in prepared),
        unread=any(photo.unread for photo in prepared),
    )
    # Written last: its presence means that the shard is complete.
    write_sealed(_get_result_path(task), asdict(result))
    return result


@dataclass(frozen=True)
class _Photo:
    """The result for one photo; `unread` if reading its bytes failed."""

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


def _get_result_path(task: ShardTask) -> Path:
    return task.folder / f"{task.file}.json"


def _read_result(task: ShardTask) -> ShardResult | None:
    """Return the result of an earlier run, None if the shard has to be built (again)."""
    try:
        values = read_sealed(_get_result_path(task))
        shard = Shard(**values["shard"])
        result = ShardResult(shard, tuple(values["statuses"]), tuple(values["hashes"]), values["unread"])
        check_files(task.folder, {task.file: shard.sha256})
    except (ArtifactError, KeyError, TypeError):
        return None
    return result if len(result.statuses) == len(task.places) and not result.unread else None
