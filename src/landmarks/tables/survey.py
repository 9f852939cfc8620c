"""Look at a folder or a table of photos: how it is laid out, what is in it, and what the pipeline will make of it."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from landmarks.errors import DataError
from landmarks.params import AcquireParams, SelectParams
from landmarks.photos.dataset import is_image_type, list_data_files, open_data_file
from landmarks.photos.walk import is_hidden, iterate_photos
from landmarks.schema.columns import LANDMARK_SPLITS, Split
from landmarks.schema.vocabulary import Landmark
from landmarks.tables.collection import collect_photo_set
from landmarks.tables.inspection import READABLE, decode_sample
from landmarks.tables.photo_set import PhotoSet, read_first_line
from landmarks.tables.selection import select_images

LAYOUTS = {
    "folder": "Kaggle's layout",
    "archive": "Kaggle's zip",
    "classes": "a folder per landmark",
    "table": "a table of paths and labels",
    "huggingface": "a data set of Hugging Face",
}
_TABLES = (".csv", ".tsv", ".parquet", ".pq")
_KAGGLE_HEADER = {"id", "landmark_id"}
_WANTED = (
    "a folder per landmark, a table (.csv, .parquet) of paths and labels, Kaggle's layout, or Parquet or Arrow files"
)
_LISTED = ("set", "path", "bytes", "changed")
_SHOWN = 3


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        photo_set: the photos.
        landmarks: the vocabulary that `select` will make, with the photos of each split.
        looked_at: how many photos were decoded.
        unreadable: of those, the ids and the errors of those that cannot be.
    """

    photo_set: PhotoSet
    landmarks: tuple[Landmark, ...]
    looked_at: int
    unreadable: tuple[tuple[str, str], ...]


def find_layout(path: Path) -> dict[str, str]:
    """Find out how photos are laid out, and return the values of the section `acquire` that say so.

    Args:
        path: a folder, a table, or a zip of Kaggle.

    Raises:
        DataError: the path is missing or has none of the layouts.
    """
    path = path.resolve()
    if path.is_dir():
        return _look_into_folder(path)
    if not path.exists():
        raise DataError(f"{path} is missing. Give the path of {_WANTED}.")
    if path.suffix.lower() == ".zip":
        table = path.with_name("train.csv")
        if not table.is_file():
            raise DataError(f"{table} is missing. Kaggle's train.csv must be beside its zip.")
        return {"source": "archive", "photos": str(path), "table": str(table)}
    if path.suffix.lower() not in _TABLES:
        raise DataError(f"{path} is none of what can be read. Give the path of {_WANTED}.")
    if _is_kaggle_table(path):
        return {"source": "folder", "photos": str(path.parent), "table": str(path)}
    return {"source": "table", "table": str(path)}


def _look_into_folder(path: Path) -> dict[str, str]:
    if _is_kaggle_table(path / "train.csv"):
        return {"source": "folder", "photos": str(path), "table": str(path / "train.csv")}
    files = list_data_files(path)
    if files and any(is_image_type(field.type) for field in open_data_file(path / files[0]).schema):
        return {"source": "huggingface", "photos": str(path)}
    first = next((photo for photo in iterate_photos(path) if len(photo.relative_to(path).parts) > 1), None)
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in _TABLES and not is_hidden(file.name))
    if first is None:
        advice = f" Give the path of {tables[0].name} if it lists them." if tables else ""
        raise DataError(f"{path} has no folders with photos in them. It should be {_WANTED}.{advice}")
    return {"source": "classes", "photos": str(path)}


def _is_kaggle_table(path: Path) -> bool:
    """Whether a file has Kaggle's header, and a folder of photos beside it."""
    if not path.is_file() or path.suffix.lower() != ".csv" or not (path.parent / "train").is_dir():
        return False
    return set(read_first_line(path, "").split(",")) >= _KAGGLE_HEADER


def survey(params: AcquireParams, select: SelectParams, sample_photos: int) -> Survey:
    """Collect the photos as `acquire` does, split them as `select` does, and decode a sample.

    Raises:
        DataError: the photos cannot be collected, or there are fewer than two landmarks.
    """
    photo_set = collect_photo_set(params)
    images = photo_set.images.dropna(subset=["image_id", "landmark_id"])
    if len(bad := images["landmark_id"][pd.to_numeric(images["landmark_id"], errors="coerce").isna()]):
        raise DataError(f"{bad.iloc[0]!r} is no landmark_id, which must be a whole number in Kaggle's layout.")
    images = images.assign(landmark_id=images["landmark_id"].astype("int64"))
    names = photo_set.names.assign(landmark_id=photo_set.names["landmark_id"].astype("int64"))
    selection = select_images(images, names, select)
    sample = decode_sample(photo_set.images, photo_set.sources["photos"], sample_photos)
    failed = sample[sample["decoding"] != READABLE]
    pairs = zip(failed["image_id"].tolist(), failed["decoding"].tolist(), strict=True)
    return Survey(photo_set, selection.vocabulary, len(sample), tuple(pairs))


def describe(found: Survey, values: dict[str, str]) -> str:
    """Describe in a few lines what was found, and what to expect of it."""
    return "\n".join(_describe(found, LAYOUTS[values["source"]], values.get("photos") or values["table"]))


def _describe(found: Survey, layout: str, place: str) -> Iterator[str]:
    images, distractors = found.photo_set.images, found.photo_set.distractors
    counts = sorted(landmark.train + landmark.val + landmark.test for landmark in found.landmarks)
    each = f"{counts[0]:,} to {counts[-1]:,} each"
    yield f"{place} is {layout}: {len(counts):,} landmarks with {len(images):,} photos, {each}."
    totals = {split: sum(getattr(landmark, split.value) for landmark in found.landmarks) for split in LANDMARK_SPLITS}
    shown = ", ".join(f"{count:,} {split}" for split, count in totals.items())
    yield f"Splits{' (given)' if 'given_split' in images else ''}: {shown}."
    if missing := images.loc[images["compressed_bytes"] < 0, "image_id"].astype(str).tolist():
        shown = ", ".join(missing[:_SHOWN])
        yield f"Missing: {len(missing):,} photos, such as {shown}. Add them, or remove their rows."
    if found.unreadable:
        shown = "; ".join(f"{image_id}: {error}" for image_id, error in found.unreadable[:_SHOWN])
        yield f"Unreadable: {len(found.unreadable):,} of {found.looked_at:,} photos looked at, such as {shown}"
    else:
        yield f"All of {found.looked_at:,} photos looked at can be read."
    if unmeasured := [one for one in found.landmarks if not (one.val and one.test)]:
        shown = ", ".join(f"{one.name} ({one.train + one.val + one.test})" for one in unmeasured[:_SHOWN])
        yield (
            f"Too small for all splits: {len(unmeasured):,} of the landmarks, such as {shown}, without a photo in val "
            "or test. They are learnt all the same; more photos, or larger fractions in `select`, measure them too."
        )
    for split, count in totals.items():
        if split != Split.TRAIN and not count:
            yield f"No photo is in {split}: add photos, or raise select.{split}_fraction. Training needs both."
    if len(distractors):
        yield f"Distractors (photos of no landmark): {len(distractors):,}."
    else:
        yield (
            'No distractors (photos of no landmark): every photo will get a name, as nothing teaches when to say "no '
            'landmark". Give some with --distractors FOLDER.'
        )


def list_photos(photo_set: PhotoSet) -> str:
    """List the path, size and time of every photo as CSV; it differs whenever a photo was added, removed or replaced.

    Of an archive, whose members have no times, `changed` is their CRC-32.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_LISTED)
    tables = {"photos": photo_set.images, "distractors": photo_set.distractors}
    for name, table in tables.items():
        rows = table.sort_values(["path", "offset"])
        columns = [rows[column] for column in ("path", "offset", "compressed_bytes", "stamp")]
        for path, offset, size, stamp in zip(*columns, strict=True):
            place = f"{path}/{offset}" if photo_set.sources[name]["kind"] == "dataset" else path
            writer.writerow((name, place, size, stamp))
    return stream.getvalue()


def describe_changes(listing: str, photo_set: PhotoSet) -> str:
    """Say in one sentence how photos differ from a listing made earlier; empty if they do not."""
    before, after = (
        {tuple(row[:2]): tuple(row[2:]) for row in csv.reader(io.StringIO(text)) if len(row) == len(_LISTED)}
        for text in (listing, list_photos(photo_set))
    )
    changes: dict[str, Any] = {
        "new": len(after.keys() - before.keys()),
        "gone": len(before.keys() - after.keys()),
        "changed": sum(before[key] != after[key] for key in before.keys() & after.keys()),
    }
    shown = ", ".join(f"{count:,} {kind}" for kind, count in changes.items() if count)
    return f"The photos differ from the listing: {shown}." if shown else ""
