"""What the validate stage judges: the tables of a photo set, with what was found out about every row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from landmarks.errors import DataError, ImageError
from landmarks.photos.decoding import decode_image
from landmarks.photos.places import Place
from landmarks.photos.sources import PhotoSource, open_source
from landmarks.schema.network_format import ImageFormat
from landmarks.tables.photo_set import PhotoSet, build_places

READABLE = "readable"
PRESENT = "present"
MISSING = "missing"
# The sample only asks whether photos are photos; prepare decodes all of them, with limits of its own.
_SAMPLE_FORMAT = ImageFormat(image_size=32, fit="crop", max_pixels=50_000_000)


@dataclass(frozen=True)
class Inspection:
    """The tables, one row per thing judged.

    photos: `image_id`, `landmark_id` (text), `landmark_number` (NaN where that is no number), `landmarks` (how many
    landmarks claim this photo), `photo` (present or missing), `compressed_bytes`.
    landmarks: `landmark_id`, `photos`.
    names: `landmark_id` (text), `name`.
    distractors: `image_id`, `category`, `landmark_photo` (whether the id is also a landmark's), `photo`,
    `compressed_bytes`.
    photo_sample, distractor_sample: `image_id`, `decoding` (readable, or what is wrong).
    """

    photos: pd.DataFrame
    landmarks: pd.DataFrame
    names: pd.DataFrame
    distractors: pd.DataFrame
    photo_sample: pd.DataFrame
    distractor_sample: pd.DataFrame


def inspect_photo_set(photo_set: PhotoSet, sample_photos: int) -> Inspection:
    """Find out what the expectations ask about; `sample_photos` of each kind are decoded.

    Raises:
        DataError: a photo source is missing.
    """
    images, distractors, sources = photo_set.images, photo_set.distractors, photo_set.sources
    return Inspection(
        photos=images[["image_id", "landmark_id", "compressed_bytes"]].assign(
            landmark_number=pd.to_numeric(images["landmark_id"], errors="coerce").astype("float64"),
            landmarks=count_landmarks_per_photo(images),
            photo=_tell_presence(images),
        ),
        landmarks=_count_photos(images),
        names=photo_set.names,
        distractors=distractors[["image_id", "category", "compressed_bytes"]].assign(
            landmark_photo=_find_common(distractors["image_id"], images["image_id"]), photo=_tell_presence(distractors)
        ),
        photo_sample=decode_sample(images, sources["photos"], sample_photos),
        distractor_sample=decode_sample(distractors, sources["distractors"], sample_photos),
    )


def count_landmarks_per_photo(images: pd.DataFrame) -> pd.Series:
    """For each row, how many different landmarks the photo's id stands under: 1 where all is well."""
    counts = pd.Series(1, index=images.index, dtype="int64")
    repeated = images[images["image_id"].duplicated(keep=False) & images["image_id"].notna()]
    counts.loc[repeated.index] = repeated.groupby("image_id")["landmark_id"].transform("nunique").astype("int64")
    return counts


def decode_sample(table: pd.DataFrame, spec: Mapping[str, Any], count: int) -> pd.DataFrame:
    """Decode `count` of the photos that are there, spread evenly over the table; says what is wrong with each.

    Raises:
        DataError: the photo source is missing.
    """
    there = table[(table["compressed_bytes"] > 0) & table["image_id"].notna()]
    rows = np.unique(np.linspace(0, len(there) - 1, min(count, len(there)), dtype=np.int64))
    sample = there.iloc[rows]
    decoding = _decode(open_source(spec), sample) if len(sample) else []
    return pd.DataFrame(
        {"image_id": sample["image_id"].to_numpy(), "decoding": decoding}, columns=["image_id", "decoding"], dtype="str"
    )


def _decode(source: PhotoSource, sample: pd.DataFrame) -> list[str]:
    return [_try_decoding(source, place) for place in build_places(sample)]


def _try_decoding(source: PhotoSource, place: Place) -> str:
    try:
        decode_image(source.read(place), _SAMPLE_FORMAT)
    except (DataError, ImageError) as error:
        return str(error)
    return READABLE


def _find_common(ids: pd.Series, others: pd.Series) -> pd.Series:
    return ids.astype(object).isin(others.dropna().astype(object))  # pandas' own text type is 30 times slower at this


def _tell_presence(table: pd.DataFrame) -> pd.Series:
    texts = np.where(table["compressed_bytes"] < 0, MISSING, PRESENT)
    return pd.Series(texts, index=table.index, dtype="str")


def _count_photos(images: pd.DataFrame) -> pd.DataFrame:
    counts = images["landmark_id"].value_counts().rename_axis("landmark_id").reset_index(name="photos")
    return counts.sort_values("landmark_id", ignore_index=True)
