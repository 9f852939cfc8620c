"""Photo sources: a folder in Kaggle's layout, or the Kaggle zip, which is read in place."""

import errno
import functools
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from landmarks.errors import DataError
from landmarks.photos.places import Place, build_photo_path, is_image_id
from landmarks.photos.walk import LINKED_ELSEWHERE, MAX_PHOTO_BYTES, NOT_REGULAR, LeftOut, is_below
from landmarks.photos.zip_members import read_directory, read_member

_THREADS = 16  # stat calls are bound by disk or network latency, not by the processor
_BLOCK_PHOTOS = 4096  # per task, to amortise the overhead of the thread pool
_MISSING, _SPECIAL, _OUTSIDE = -1, -2, -3  # in place of a size

_REASONS = {
    _MISSING: "is missing",
    _SPECIAL: "is not a regular file",
    _OUTSIDE: "is a link to outside the photo folder",
}

log = logging.getLogger(__name__)


class PhotoSource(Protocol):
    """A reader of encoded photos."""

    def read(self, place: Place) -> bytes:
        """Return the encoded bytes of one photo.

        Raises:
            DataError: the photo is missing, too large, or cannot be read.
        """
        ...


@dataclass(frozen=True)
class Places:
    """The locations of photos, one row per requested photo; the columns of `images.parquet`.

    Attributes:
        offset: int64 (n,).
        compressed_bytes: int64 (n,), -1 where the photo is missing.
        method: int8 (n,).
        stamp: int64 (n,), changes when a photo is replaced: its modification time in ns, or its CRC-32 in an archive.
    """

    offset: npt.NDArray[np.int64]
    compressed_bytes: npt.NDArray[np.int64]
    method: npt.NDArray[np.int8]
    stamp: npt.NDArray[np.int64]


@dataclass(frozen=True)
class FolderSource:
    """Photos as files: `<root>/<part>/a/b/c/<id>.jpg`."""

    root: Path
    part: str = "train"

    def read(self, place: Place) -> bytes:
        """As `PhotoSource.read`."""
        if not is_image_id(place.image_id):
            raise DataError("The photo's id is not 16 hexadecimal digits.")
        path = self.root / build_photo_path(place.image_id, self.part)
        try:
            size, _ = _measure(str(path), _make_check(self.root, self.part))
            if size < 0:
                raise DataError(f"The photo {_REASONS[size]}.")
            if size > MAX_PHOTO_BYTES:
                raise DataError(f"The photo has {size} bytes, more than the {MAX_PHOTO_BYTES} allowed.")
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"The photo cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class ArchiveSource:
    """Photos inside a zip that is never unpacked; `locate_photos` gives their locations."""

    path: Path
    prefix: str = ""

    def read(self, place: Place) -> bytes:
        """As `PhotoSource.read`."""
        if not is_image_id(place.image_id):
            raise DataError("The photo's id is not 16 hexadecimal digits.")
        if place.compressed_bytes < 0 or place.offset < 0:
            raise DataError("The photo is missing.")
        name = f"{self.prefix}{build_photo_path(place.image_id)}"
        try:
            return read_member(self.path, name, place, MAX_PHOTO_BYTES)
        except OSError as error:
            raise DataError(f"The photo cannot be read: {error.strerror}.") from error


def open_source(spec: Mapping[str, Any]) -> PhotoSource:
    """Open a photo source described in `source.json`.

    Args:
        spec: `{"kind": "folder" or "archive", "path": …}`. Optional: for an archive the `prefix` above `train/`, for a
            folder the `part`, `train` by default or `test`.

    Raises:
        DataError: the kind is unknown, or the folder or file is missing.
    """
    path, kind = _check_spec(spec)
    if kind == "folder":
        return FolderSource(path, spec.get("part", "train"))
    return ArchiveSource(path, spec.get("prefix", ""))


def locate_photos(spec: Mapping[str, Any], image_ids: Sequence[str]) -> Places:
    """Locate photos in a source; missing photos and invalid ids get `compressed_bytes` -1.

    In a folder, several threads stat every photo. What is there but is no regular file, or a link to outside the
    folder, counts as missing, and is logged. In an archive, the central directory is read once.

    Raises:
        DataError: the kind is unknown, the folder or file is missing, or the archive is damaged.
    """
    path, kind = _check_spec(spec)
    missing = np.full(len(image_ids), -1, np.int64)
    places = Places(missing, missing.copy(), missing.astype(np.int8), missing.copy())
    # Only valid ids may become part of a path; `../` and the like never do.
    valid = {row: image_id for row, image_id in enumerate(image_ids) if is_image_id(image_id)}
    rows, valid_ids = np.array(list(valid), np.int64), list(valid.values())
    if kind == "folder":
        measured = _measure_photos(path, spec.get("part", "train"), valid_ids)
        places.compressed_bytes[rows], places.stamp[rows] = np.maximum(measured, -1).T
    else:
        _match_members(places, rows, valid_ids, path, spec.get("prefix", ""))
    return places


def _check_spec(spec: Mapping[str, Any]) -> tuple[Path, str]:
    kind, path = spec.get("kind"), Path(str(spec.get("path", "")))
    if kind not in ("folder", "archive"):
        raise DataError(f"A photo source must be a folder or an archive, received {kind!r}. Run acquire again.")
    if kind == "folder" and not path.is_dir():
        raise DataError(f"The photo folder {path} is missing. Mount it, or correct `acquire.photos`.")
    if kind == "archive" and not path.is_file():
        raise DataError(f"The photo archive {path} is missing. Download it, or correct `acquire.photos`.")
    return path, kind


def _measure_photos(root: Path, part: str, image_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the size, or a negative code, and the stamp of each photo: int64 (n, 2)."""
    check, folder = _make_check(root, part), root / part

    def measure_block(start: int) -> list[tuple[int, int]]:
        block = image_ids[start : start + _BLOCK_PHOTOS]
        return [_measure(f"{folder}/{i[0]}/{i[1]}/{i[2]}/{i}.jpg", check) for i in block]

    with ThreadPoolExecutor(_THREADS) as pool:
        blocks = pool.map(measure_block, range(0, len(image_ids), _BLOCK_PHOTOS))
        measured = np.array([measured for block in blocks for measured in block], np.int64).reshape(-1, 2)
    left_out = LeftOut()
    for row in np.flatnonzero(measured[:, 0] < _MISSING):
        kind = LINKED_ELSEWHERE if measured[row, 0] == _OUTSIDE else NOT_REGULAR
        left_out.add(kind, str(root / build_photo_path(image_ids[int(row)], part)))
    if described := left_out.describe():
        log.warning(described)
    return measured


@functools.lru_cache(maxsize=16)
def _make_check(root: Path, part: str) -> Callable[[str], bool]:
    """Make a function that tells whether a path, its links followed, lies below the folder given or its part."""
    given = [os.path.realpath(root), os.path.realpath(root / part)]
    return functools.cache(lambda path: any(is_below(os.path.realpath(path), folder) for folder in given))


def _measure(path: str, is_inside: Callable[[str], bool]) -> tuple[int, int]:
    """Return the size and stamp of a regular file, else a negative code: a pipe or a device could block forever."""
    try:
        status = os.lstat(path)
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            status = os.stat(path)  # noqa: PTH116 - building a Path per photo costs more than the call
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # the last of a link to itself
            raise
        return _MISSING, -1
    # Thousands of photos share a folder, so the folder's own links are followed once.
    if not is_inside(path if is_link else path.rpartition("/")[0]):
        return _OUTSIDE, -1
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (_SPECIAL, -1)


def _match_members(
    places: Places, rows: npt.NDArray[np.int64], image_ids: Sequence[str], path: Path, prefix: str
) -> None:
    members = read_directory(path, prefix)
    wanted = np.array([int(image_id, 16) for image_id in image_ids], np.uint64)
    if not len(members.number) or not len(wanted):
        return
    # The last of several entries with the same name wins, as in every zip tool: stable sort, search from the right.
    order = np.argsort(members.number, kind="stable")
    number = members.number[order]
    found = np.searchsorted(number, wanted, side="right") - 1
    hit = (found >= 0) & (number[found] == wanted)
    entries = order[found[hit]]
    places.offset[rows[hit]] = members.offset[entries]
    places.compressed_bytes[rows[hit]] = members.compressed_bytes[entries]
    places.method[rows[hit]] = members.method[entries]
    places.stamp[rows[hit]] = members.crc32[entries]
