"""Photos with labels of any kind: a folder per landmark, a table of paths and labels, or a data set of Hugging Face.

An id is the path of a photo below the root, in Unicode's form NFC and with `/`, so that it stays the same wherever the
root is. Labels are texts, or landmark ids where all of them are whole numbers.
"""

import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from landmarks.errors import DataError
from landmarks.params import ColumnParams
from landmarks.photos.dataset import (
    get_bytes,
    is_image_type,
    list_data_files,
    measure_photo,
    open_data_file,
    read_features,
)
from landmarks.photos.locating import Places, locate_files
from landmarks.photos.places import is_photo_id
from landmarks.photos.walk import LeftOut, find_photos
from landmarks.schema.columns import ATTRIBUTION_COLUMNS, Split
from landmarks.tables.any_table import Column, choose_columns, read_any_table

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), Split.VAL),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}
_PATH = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "photo")
_LABEL = ("label", "landmark", "class", "landmark_id", "class_name", "category", "name", "labels", "target")
_SPLIT = ("split", "set", "subset", "partition")
_IMAGE = ("image", "img", "photo", "picture")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_NUMBER_BITS = 53  # a float64, and thus every reader of JSON, represents all such integers exactly
_FEW_CATEGORIES = 6  # of distractors, which are divided by category
_UNNAMED = "without a folder of its landmark"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledPhotos:
    """Photos whose labels are not yet landmark ids.

    Attributes:
        photos: `image_id`, `label` (text), `given_split` if the source gives splits, and attributions if it has any.
        places: of the photos.
        source: for `open_source`.
        names: of labels that are numbers, where the source has them.
    """

    photos: pd.DataFrame
    places: Places
    source: dict[str, Any]
    names: Mapping[str, str]


def read_class_folders(root: Path) -> LabelledPhotos:
    """Read `<root>/<landmark>/**/<photo>`, or the same below `train/`, `val/` and `test/`, which then are the splits.

    Raises:
        DataError: the folder is missing or has no photos in folders, or two paths differ in their Unicode form only.
    """
    paths = _walk(root)
    parts = [PurePosixPath(path).parts for path in paths]
    tops = {part[0] for part in parts if len(part) > 1}
    has_splits = (
        bool(tops)
        and all(top.lower() in _SPLIT_NAMES for top in tops)
        and any(_SPLIT_NAMES[top.lower()] == Split.TRAIN for top in tops)
    )
    depth = 1 if has_splits else 0
    kept = [row for row, part in enumerate(parts) if len(part) > depth + 1]
    _report_left_out([paths[row] for row, part in enumerate(parts) if len(part) <= depth + 1])
    if not kept:
        raise DataError(
            f"{root} has no folders with photos in them. Lay the photos out as {root}/<landmark>/<photo>.jpg, or below "
            "train/, val/ and test/ likewise."
        )
    photos = pd.DataFrame({"label": [_normalize(parts[row][depth]) for row in kept]}, dtype="str")
    if has_splits:
        photos["given_split"] = pd.Series([str(_SPLIT_NAMES[parts[row][0].lower()]) for row in kept], dtype="str")
    return _locate(root, [paths[row] for row in kept], photos)


def read_listed_photos(table: Path, columns: ColumnParams, root: Path | None) -> LabelledPhotos:
    """Read a CSV or Parquet table with the path and the label of each photo, perhaps its split and attribution.

    Args:
        table: the file.
        columns: the names of its columns; None to guess.
        root: the folder above all photos; None for that of the table. Relative paths count from it.

    Raises:
        DataError: the table cannot be read, a path does not lie below `root`, or a split is unknown.
    """
    guessed = {
        "path": Column(columns.path, _PATH, required=True),
        "label": Column(columns.label, _LABEL, required=True),
        "split": Column(columns.split, _SPLIT),
        **{name: Column(getattr(columns, name), (name,)) for name in ATTRIBUTION_COLUMNS},
    }
    frame = read_any_table(table, guessed)
    root = (root or table.parent).resolve()
    paths = [_resolve(path, root, table) for path in frame["path"].fillna("")]
    photos = pd.DataFrame({"label": frame["label"].map(_normalize, na_action="ignore").astype("str")})
    if "split" in frame:
        photos["given_split"] = _read_splits(frame["split"], str(table))
    attributions = [name for name in ATTRIBUTION_COLUMNS if name in frame]
    return _locate(root, paths, photos.assign(**{name: frame[name].fillna("") for name in attributions}))


def read_dataset(root: Path, columns: ColumnParams) -> LabelledPhotos:
    """Read the Parquet or Arrow files of a data set of Hugging Face; ids are `<file>/<row>`.

    Splits are told by the names of files and folders (`train-00000-of-00002.parquet`, `validation/`).

    Raises:
        DataError: the folder has no such files, a file is damaged, or there is no column of photos or labels.
    """
    files = list_data_files(root)
    if not files:
        raise DataError(f"{root} has no .parquet or .arrow files. Name the folder of the data set in acquire.photos.")
    image = ""
    ids: list[str] = []
    labels: list[str | None] = []
    paths: list[str] = []
    offsets: list[int] = []
    measured: list[tuple[int, int]] = []
    names: dict[str, str] = {}
    for file in files:
        opened = open_data_file(root / file)
        header = [field.name for field in opened.schema]
        images = [field.name for field in opened.schema if is_image_type(field.type)]
        chosen = choose_columns(
            header,
            {
                "path": Column(columns.path, (*_IMAGE, *(name.lower() for name in images)), required=True),
                "label": Column(columns.label, _LABEL, required=True),
            },
            str(root / file),
        )
        image = image or chosen["path"]
        if chosen["path"] != image or image not in images:
            raise DataError(f"{root / file} has no photos in the column {image!r}: it must hold their encoded bytes.")
        names |= _read_class_names(read_features(opened.schema).get(chosen["label"]))
        row = 0
        try:
            for batch in opened.iterate([image, chosen["label"]]):
                labels += batch.column(batch.schema.get_field_index(chosen["label"])).cast(pa.string()).to_pylist()
                photos = get_bytes(batch.column(batch.schema.get_field_index(image)))
                measured += [measure_photo(photo.as_py()) for photo in photos]
                ids += [f"{file}/{row + number}" for number in range(len(photos))]
                offsets += range(row, row + len(photos))
                paths += [file] * len(photos)
                row += len(photos)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{root / file} is damaged ({str(error)[:200]}).") from error
    places = Places.make_missing(len(ids))
    places.path[:] = paths
    places.offset[:] = offsets
    places.compressed_bytes[:], places.stamp[:] = np.array(measured, np.int64).reshape(-1, 2).T
    photos = pd.DataFrame({"image_id": ids, "label": labels}, dtype="str")
    splits = [_find_split(PurePosixPath(path)) for path in paths]
    if any(splits):
        photos["given_split"] = pd.Series(splits, dtype="str")
    source = {"kind": "dataset", "path": str(root.resolve()), "column": image}
    return LabelledPhotos(photos, places, source, names)


def read_distractor_folder(root: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read all photos below a folder as distractors (non-landmark photos), with the places of each.

    The folders below it are the categories. With fewer than six of them, the first digits of a hash of the id stand in,
    so that `split_distractors` can divide them.

    Returns:
        `image_id`, `category` and the columns of `Places`, and the source.

    Raises:
        DataError: the folder is missing or has no photos, or two paths differ in their Unicode form only.
    """
    paths = _walk(root)
    if not paths:
        raise DataError(f"There are no photos below {root}, acquire.distractors.")
    tops = [_normalize(parts[0]) if len(parts := PurePosixPath(path).parts) > 1 else "" for path in paths]
    if len(set(tops)) < _FEW_CATEGORIES:
        tops = [hashlib.sha256(_normalize(path).encode()).hexdigest()[:2] for path in paths]
    located = _locate(root, paths, pd.DataFrame({"category": tops}, dtype="str"))
    return located.photos.assign(**vars(located.places)), located.source


def number_labels(labels: pd.Series, names: Mapping[str, str]) -> tuple[pd.Series, pd.DataFrame]:
    """Give each label a landmark id that does not depend on the other labels, as texts.

    Whole numbers stay as they are. For texts it is 53 bits of their SHA-256.

    Args:
        labels: texts, perhaps missing.
        names: of labels, where they differ from the label itself.

    Returns:
        The ids of the rows, and the table `landmark_id,name` of those that have a name.

    Raises:
        DataError: two labels get the same id.
    """
    distinct = sorted(labels.dropna().unique().tolist())
    if all(_INTEGER.fullmatch(label) for label in distinct):
        numbers = {label: label for label in distinct}
        known = {label: names[label] for label in distinct if label in names}
    else:
        numbers = {label: str(hash_label(label)) for label in distinct}
        known = {label: " ".join(names.get(label, label).split()) for label in distinct}
    owners: dict[str, str] = {}
    for label, number in numbers.items():
        if owners.setdefault(number, label) != label:
            raise DataError(f"The labels {owners[number]!r} and {label!r} get the same number. Rename one of them.")
    table = pd.DataFrame(
        {"landmark_id": [numbers[label] for label in known], "name": list(known.values())}, dtype="str"
    )
    return labels.map(numbers, na_action="ignore").astype("str"), table


def hash_label(label: str) -> int:
    """Return the landmark id of a label that is no number.

    >>> hash_label("Eiffel Tower")
    7120303054171874
    """
    digest = hashlib.sha256(_normalize(label).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _NUMBER_BITS)


def _walk(root: Path) -> list[str]:
    """Find the photos below a folder, as relative paths; log what is left out."""
    if not root.is_dir():
        raise DataError(
            f"The photo folder {root} is missing. Mount it, or correct the section `acquire` of params.yaml."
        )
    found, left_out = find_photos([root])
    paths = [path.relative_to(root).as_posix() for path in found]
    for path in paths:
        if not is_photo_id(path):
            left_out.add("with a name that is not UTF-8, or has a backslash or control characters", path)
    if described := left_out.describe():
        log.warning(described)
    return [path for path in paths if is_photo_id(path)]


def _report_left_out(paths: Sequence[str]) -> None:
    left_out = LeftOut()
    for path in paths:
        left_out.add(_UNNAMED, path)
    if paths:
        log.warning(left_out.describe())


def _locate(root: Path, paths: Sequence[str], photos: pd.DataFrame) -> LabelledPhotos:
    """Locate files below a folder, and name each by its path."""
    root = root.resolve()
    valid = [row for row, path in enumerate(paths) if is_photo_id(path)]
    places = Places.make_missing(len(paths))
    # The file of a path in NFC may be there in NFD, as macOS writes it, or the other way round.
    for convert in (str, partial(unicodedata.normalize, "NFC"), partial(unicodedata.normalize, "NFD")):
        rows = np.array([row for row in valid if places.compressed_bytes[row] < 0], np.int64)
        if len(rows):
            found = locate_files(root, [convert(paths[row]) for row in rows])
            for column, values in vars(found).items():
                getattr(places, column)[rows] = values
    ids = [unicodedata.normalize("NFC", path) for path in paths]
    _check_unique(ids, paths, root)
    table = photos.assign(image_id=pd.Series([image_id or None for image_id in ids], dtype="str"))
    return LabelledPhotos(table, places, {"kind": "folder", "path": str(root)}, {})


def _check_unique(ids: Iterable[str], paths: Sequence[str], root: Path) -> None:
    """Refuse two files whose ids are equal; a file that is listed twice is left to the validate stage."""
    owners: dict[str, str] = {}
    for image_id, path in zip(ids, paths, strict=True):
        if (other := owners.setdefault(image_id, path)) != path:
            raise DataError(
                f"Two photos have the id {image_id!r}: {str(root / other)!a} and {str(root / path)!a}. Rename one."
            )


def _resolve(path: str, root: Path, table: Path) -> str:
    """Return a path of a table relative to the root, with `/`; an empty one stays empty."""
    text = path.strip()
    if not text:
        return ""
    if "\\" in text and "/" not in text:  # written on Windows
        text = text.replace("\\", "/")
    if re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        raise DataError(f"{table} lists {text!r:.100}, an address. Photos must be files: download them first.")
    full = os.path.normpath(root / text)
    for above in (str(root), os.path.realpath(root)):
        if full.startswith(f"{above.rstrip('/')}/"):
            return full[len(above.rstrip("/")) + 1 :]
    raise DataError(
        f"{table} lists {text!r:.100}, which is not below {root}. Set acquire.photos to a folder above all photos."
    )


def _normalize(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _read_splits(column: pd.Series, where: str) -> pd.Series:
    given = column.fillna("").str.strip().str.lower()
    unknown = sorted(set(given.unique()) - {*_SPLIT_NAMES, ""})
    if unknown:
        raise DataError(
            f"{where} has a split {unknown[0]!r:.60}. Known are {', '.join(_SPLIT_NAMES)}, and an empty cell. Set "
            "acquire.columns.split to another column."
        )
    return given.map({**{name: str(split) for name, split in _SPLIT_NAMES.items()}, "": ""}).astype("str")


def _find_split(path: PurePosixPath) -> str:
    """Return the split that a file of a data set belongs to, by a folder or by the beginning of its name."""
    for part in reversed(path.parts):
        name = re.split(r"[-_.]", part.lower())[0]
        if name in _SPLIT_NAMES:
            return str(_SPLIT_NAMES[name])
    return ""


def _read_class_names(feature: Any) -> dict[str, str]:
    """Return the names of the classes of a feature `ClassLabel`, by their number as a text."""
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=str)]
    return {str(number): str(name) for number, name in enumerate(names)} if isinstance(names, list) else {}
