"""Locate photos in a source: by their ids in Kaggle's layout, or by their paths below a folder."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from landmarks.photos.files import MISSING, measure_files
from landmarks.photos.places import build_photo_path, is_file_id
from landmarks.photos.sources import check_source
from landmarks.photos.walk import is_photo_name
from landmarks.photos.zip_members import hash_path, read_directory


@dataclass(frozen=True)
class Places:
    """The locations of photos, one row per requested photo; the columns of `images.parquet`.

    Attributes:
        path: texts (n,), relative to the source; empty where the photo is missing.
        offset: int64 (n,).
        compressed_bytes: int64 (n,), -1 where the photo is missing.
        method: int8 (n,).
        stamp: int64 (n,), changes when a photo is replaced: its modification time in ns, or its CRC-32 in an archive.
    """

    path: npt.NDArray[np.object_]
    offset: npt.NDArray[np.int64]
    compressed_bytes: npt.NDArray[np.int64]
    method: npt.NDArray[np.int8]
    stamp: npt.NDArray[np.int64]

    @classmethod
    def make_missing(cls, count: int) -> "Places":
        """Make the places of `count` photos that are missing."""
        numbers = [np.full(count, -1, kind) for kind in (np.int64, np.int64, np.int8, np.int64)]
        return cls(np.full(count, "", object), *numbers)  # type: ignore[arg-type]


def locate_photos(spec: Mapping[str, Any], image_ids: Sequence[str]) -> Places:
    """Locate photos in Kaggle's layout, `train/a/b/c/<id>.jpg` or another suffix of photos, in a folder or archive.

    Photos that are missing and ids that are no file names get `compressed_bytes` -1. In a folder, what is there but is
    no regular file, or a link to outside the folder, counts as missing, and is logged. In an archive, the central
    directory is read once.

    Args:
        spec: as for `open_source`. Optional: `part`, `train` by default or `test`; for an archive a `prefix` above it.
        image_ids: of the requested photos.

    Raises:
        DataError: the kind is unknown, the folder or file is missing, or the archive is damaged.
    """
    path, kind = check_source(spec)
    part, prefix = spec.get("part", "train"), spec.get("prefix", "")
    # Only valid ids may become part of a path; `../` and the like never do.
    valid = {row: image_id for row, image_id in enumerate(image_ids) if is_file_id(image_id)}
    rows, valid_ids = np.array(list(valid), np.int64), list(valid.values())
    places = Places.make_missing(len(image_ids))
    if kind == "folder":
        _find_files(places, rows, valid_ids, path, part)
    else:
        _find_members(places, rows, [f"{prefix}{build_photo_path(image_id, part, '')}" for image_id in valid_ids], path)
    return places


def locate_files(root: Path, paths: Sequence[str]) -> Places:
    """Locate files by their paths relative to a folder, which must be valid as photo ids."""
    places = Places.make_missing(len(paths))
    _put_files(places, np.arange(len(paths)), paths, root)
    return places


def _put_files(places: Places, rows: npt.NDArray[np.int64], paths: Sequence[str], root: Path) -> None:
    measured = measure_files(root, paths)
    found = np.flatnonzero(measured[:, 0] > MISSING)
    places.path[rows[found]] = [paths[row] for row in found.tolist()]
    places.compressed_bytes[rows], places.stamp[rows] = measured.T


def _find_files(places: Places, rows: npt.NDArray[np.int64], image_ids: Sequence[str], root: Path, part: str) -> None:
    _put_files(places, rows, [str(build_photo_path(image_id, part)) for image_id in image_ids], root)
    others: dict[str, dict[str, str]] = {}  # by folder, the photos without their suffix
    found, paths = [], []
    for place in np.flatnonzero(places.compressed_bytes[rows] == MISSING).tolist():
        folder, _, stem = str(build_photo_path(image_ids[place], part, "")).rpartition("/")
        if folder not in others:
            others[folder] = _list_photos(root / folder)
        if name := others[folder].get(stem):
            found.append(rows[place])
            paths.append(f"{folder}/{name}")
    if found:
        _put_files(places, np.array(found, np.int64), paths, root)


def _list_photos(folder: Path) -> dict[str, str]:
    """List the photos other than .jpg in a folder by their names without suffix; of several, the first by name."""
    try:
        listed = os.listdir(folder)  # noqa: PTH208 - thousands of names
    except OSError:
        return {}
    names = sorted((name for name in listed if is_photo_name(name) and not name.endswith(".jpg")), reverse=True)
    return {name.rpartition(".")[0]: name for name in names}


def _find_members(places: Places, rows: npt.NDArray[np.int64], stems: Sequence[str], path: Path) -> None:
    """Find the members of an archive whose paths without suffix are `stems`."""
    members = read_directory(path)
    wanted = np.array([hash_path(stem.encode()) for stem in stems], np.uint64)
    if not len(members.hash) or not len(wanted):
        return
    # The last of several entries with the same name wins, as in every zip tool: stable sort, search from the right.
    order = np.argsort(members.hash, kind="stable")
    hashes = members.hash[order]
    found = np.searchsorted(hashes, wanted, side="right") - 1
    hit = np.flatnonzero((found >= 0) & (hashes[found] == wanted))
    entries = order[found[hit]]
    suffixes = [members.suffixes[kind] for kind in members.suffix[entries].tolist()]
    places.path[rows[hit]] = [stems[place] + suffix for place, suffix in zip(hit.tolist(), suffixes, strict=True)]
    places.offset[rows[hit]] = members.offset[entries]
    places.compressed_bytes[rows[hit]] = members.compressed_bytes[entries]
    places.method[rows[hit]] = members.method[entries]
    places.stamp[rows[hit]] = members.crc32[entries]
