"""Collect a raw photo set from the tables and the photo source that the section `acquire` names."""

from pathlib import Path
from typing import Any

import pandas as pd

from landmarks.errors import DataError, ParamsError
from landmarks.params import AcquireParams
from landmarks.photos.layout import describe_layout
from landmarks.photos.places import is_image_id
from landmarks.photos.sources import locate_photos
from landmarks.tables.photo_set import (
    PhotoSet,
    is_solution,
    read_attribution_table,
    read_distractor_table,
    read_name_table,
    read_photo_table,
)


def collect_photo_set(params: AcquireParams) -> PhotoSet:
    """Read the tables, and locate every photo in its source without copying any.

    Raises:
        ParamsError: `acquire.photos` is empty.
        DataError: a table or the photo source is missing or cannot be used.
    """
    if not params.photos:
        raise ParamsError(
            f"acquire.photos is empty, but acquire.source is {params.source}. Set it to the path of the photos."
        )
    photos = {"kind": params.source, "path": str(Path(params.photos).resolve())}
    images, listed = read_photo_table(Path(params.train_csv)), Path(params.distractors_csv)
    others = read_distractor_table(listed)
    distractors = {"kind": "folder", "path": str(listed.resolve().parent)}
    if is_solution(listed):
        distractors["part"] = "test"  # the solution of Google's test set lists photos below test/, not train/
    return PhotoSet(
        images=locate(images, photos),
        distractors=locate(others, distractors),
        names=read_name_table(Path(params.names_csv)),
        attributions=read_attribution_table(Path(params.attribution_csv), (images["image_id"], others["image_id"])),
        sources={"photos": photos, "distractors": distractors},
    )


def locate(table: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """Add the places of the photos of a table, by `image_id`, in the source that `spec` describes.

    Raises:
        DataError: the source is missing, cannot be used, or has none of the photos.
    """
    image_ids = table["image_id"].tolist()
    places = locate_photos(spec, image_ids)
    if (places.compressed_bytes < 0).all() and any(map(is_image_id, image_ids)):
        raise DataError(f"None of {len(image_ids):,} photos is there: {describe_layout(spec, image_ids)}")
    return table.assign(**vars(places))
