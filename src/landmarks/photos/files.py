"""Photos as files below a folder: their size and time, and which of them are regular files inside it."""

import errno
import functools
import logging
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.photos.walk import LINKED_ELSEWHERE, NOT_REGULAR, LeftOut, is_below

MISSING, _SPECIAL, _OUTSIDE = -1, -2, -3  # in place of a size
MEASURED = {
    MISSING: "is missing",
    _SPECIAL: "is not a regular file",
    _OUTSIDE: "is a link to outside the photo folder",
}

_THREADS = 16  # stat calls are bound by disk or network latency, not by the processor
_BLOCK_PHOTOS = 4096  # per task, to amortise the overhead of the thread pool

log = logging.getLogger(__name__)


def measure_files(root: Path, paths: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the size in bytes, or `MISSING`, and the modification time in ns of files: int64 (n, 2).

    Several threads ask for them. What is there but is no regular file, or a link to outside the folder, counts as
    missing, and is logged.

    Args:
        root: the folder.
        paths: relative to it, valid as photo ids.
    """
    check, start = make_check(root), f"{root}/"

    def measure_block(first: int) -> list[tuple[int, int]]:
        return [measure_file(start + path, check) for path in paths[first : first + _BLOCK_PHOTOS]]

    with ThreadPoolExecutor(_THREADS) as pool:
        blocks = pool.map(measure_block, range(0, len(paths), _BLOCK_PHOTOS))
        measured = np.array([measured for block in blocks for measured in block], np.int64).reshape(-1, 2)
    left_out = LeftOut()
    for row in np.flatnonzero(measured[:, 0] < MISSING):
        kind = LINKED_ELSEWHERE if measured[row, 0] == _OUTSIDE else NOT_REGULAR
        left_out.add(kind, start + paths[int(row)])
    if described := left_out.describe():
        log.warning(described)
    return np.maximum(measured, MISSING)


@functools.lru_cache(maxsize=16)
def make_check(root: Path) -> Callable[[str], bool]:
    """Make a function that tells whether a path, its links followed, lies below a folder.

    The parts of Kaggle's layout may themselves be links to elsewhere: `train` is often on another disk.
    """
    given = [os.path.realpath(root), *(os.path.realpath(root / part) for part in ("train", "test"))]
    return functools.cache(lambda path: any(is_below(os.path.realpath(path), folder) for folder in given))


def measure_file(path: str, is_inside: Callable[[str], bool]) -> tuple[int, int]:
    """Return the size and time of a regular file, else a negative code: a pipe or a device could block forever.

    Raises:
        OSError: the path cannot be looked at.
    """
    try:
        status = os.lstat(path)
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            status = os.stat(path)  # noqa: PTH116 - building a Path per photo costs more than the call
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # the last of a link to itself
            raise
        return MISSING, -1
    # Thousands of photos share a folder, so the folder's own links are followed once.
    if not is_inside(path if is_link else path.rpartition("/")[0]):
        return _OUTSIDE, -1
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (_SPECIAL, -1)
