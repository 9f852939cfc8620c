"""The tables that the validate stage checks: a photo set, with the results of inspecting every row."""

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
# Only checks that the photos decode at all. `prepare` decodes all of them, with its own size and limits.
_SAMPLE_FORMAT = ImageFormat(image_size=32, fit="crop", max_pixels=50_000_000)


@dataclass(frozen=True)
class Inspection:
    """The inspected tables.

    Attributes:
        photos: `image_id`, `landmark_id` (text), `landmark_number` (NaN if it is not a number), `landmarks` (how many
            landmarks list this photo), `photo` (present or missing), `compressed_bytes`.
        landmarks: `landmark_id`, `photos` (their number).
        names: `landmark_id` (text), `name`.
        distractors: `image_id`, `category`, `landmark_photo` (whether a landmark lists this photo), `photo`,
            `compressed_bytes`.
        photo_sample: `image_id`, `decoding` (readable, or the error message).
        distractor_sample: the same columns.
    """

    photos: pd.DataFrame
    landmarks: pd.DataFrame
    names: pd.DataFrame
    distractors: pd.DataFrame
    photo_sample: pd.DataFrame
    distractor_sample: pd.DataFrame


def inspect_photo_set(photo_set: PhotoSet, sample_photos: int) -> Inspection:
    """Build the tables that the expectations check; decode `sample_photos` landmark photos and as many distractors.

    Raises:
        DataError: a photo source is missing.
    """
    images, distractors, sources = photo_set.images, photo_set.distractors, photo_set.sources
    landmarks = images["landmark_id"].value_counts().rename_axis("landmark_id").reset_index(name="photos")
    # pandas' string type is 30 times slower than object in `isin`
    landmark_photo = distractors["image_id"].astype(object).isin(images["image_id"].dropna().astype(object))
    return Inspection(
        photos=images[["image_id", "landmark_id", "compressed_bytes"]].assign(
            landmark_number=pd.to_numeric(images["landmark_id"], errors="coerce").astype("float64"),
            landmarks=count_landmarks_per_photo(images),
            photo=_describe_presence(images),
        ),
        landmarks=landmarks.sort_values("landmark_id", ignore_index=True),
        names=photo_set.names,
        distractors=distractors[["image_id", "category", "compressed_bytes"]].assign(
            landmark_photo=landmark_photo, photo=_describe_presence(distractors)
        ),
        photo_sample=decode_sample(images, sources["photos"], sample_photos),
        distractor_sample=decode_sample(distractors, sources["distractors"], sample_photos),
    )


def count_landmarks_per_photo(images: pd.DataFrame) -> pd.Series:
    """Count, for each row, the different landmarks that list its photo; 1 for valid tables."""
    counts = pd.Series(1, index=images.index, dtype="int64")
    # Group only the repeated ids, which are few; grouping every id of a full table is much slower.
    repeated = images[images["image_id"].duplicated(keep=False) & images["image_id"].notna()]
    counts.loc[repeated.index] = repeated.groupby("image_id")["landmark_id"].transform("nunique").astype("int64")
    return counts


def decode_sample(table: pd.DataFrame, spec: Mapping[str, Any], count: int) -> pd.DataFrame:
    """Decode `count` of the photos that are present, spread evenly over the table, and report the error of each.

    Raises:
        DataError: the photo source is missing.
    """
    present = table[(table["compressed_bytes"] > 0) & table["image_id"].notna()]
    rows = np.unique(np.linspace(0, len(present) - 1, min(count, len(present)), dtype=np.int64))
    sample = present.iloc[rows]
    decoding: list[str] = []
    if len(sample):  # a missing source is no error if there is nothing to read from it
        source = open_source(spec)
        decoding = [_try_decoding(source, place) for place in build_places(sample)]
    return pd.DataFrame(
        {"image_id": sample["image_id"].to_numpy(), "decoding": decoding}, columns=["image_id", "decoding"], dtype="str"
    )


def _try_decoding(source: PhotoSource, place: Place) -> str:
    try:
        decode_image(source.read(place), _SAMPLE_FORMAT)
    except (DataError, ImageError) as error:
        return str(error)
    return READABLE


def _describe_presence(table: pd.DataFrame) -> pd.Series:
    texts = np.where(table["compressed_bytes"] < 0, MISSING, PRESENT)
    return pd.Series(texts, index=table.index, dtype="str")
