"""Collect a raw photo set from the tables and the photo source that the section `acquire` names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from landmarks.errors import DataError, ParamsError
from landmarks.params import AcquireParams
from landmarks.photos.layout import describe_layout
from landmarks.photos.locating import locate_photos
from landmarks.photos.places import is_file_id
from landmarks.schema.columns import ATTRIBUTION_COLUMNS
from landmarks.schema.names import decode_name
from landmarks.tables.labelled_photos import (
    LabelledPhotos,
    number_labels,
    read_class_folders,
    read_dataset,
    read_distractor_folder,
    read_listed_photos,
)
from landmarks.tables.photo_set import (
    PhotoSet,
    is_solution,
    is_translation,
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
    if not params.photos and params.source != "table":  # whose paths count from its own folder
        raise ParamsError(
            f"acquire.photos is empty, but acquire.source is {params.source}. Set it to the path of the photos."
        )
    names = read_name_table(Path(params.names_csv))
    if params.source in ("folder", "archive"):
        source = {"kind": params.source, "path": str(Path(params.photos).resolve())}
        images = locate(read_photo_table(Path(params.table)), source)
        known, own = _decode_names(names), None
    else:
        labelled = _read_labelled(params)
        images, known = _number(labelled, names)
        source, own = labelled.source, _find_attributions(images)
        images = images.drop(columns=list(ATTRIBUTION_COLUMNS), errors="ignore")
    distractors, other_source = _collect_distractors(params)
    ids = (images["image_id"], distractors["image_id"])
    listed = read_attribution_table(Path(params.attribution_csv), ids)
    return PhotoSet(
        images=images,
        distractors=distractors,
        names=known,
        attributions=listed if own is None or len(listed) else own,
        sources={"photos": source, "distractors": other_source},
    )


def locate(table: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    """Add the places of the photos of a table in Kaggle's layout, by `image_id`, in the source that `spec` describes.

    Raises:
        DataError: the source is missing, cannot be used, or has none of the photos.
    """
    image_ids = table["image_id"].tolist()
    places = locate_photos(spec, image_ids)
    if (places.compressed_bytes < 0).all() and any(map(is_file_id, image_ids)):
        raise DataError(f"None of {len(image_ids):,} photos is there: {describe_layout(spec, image_ids)}")
    return table.assign(**vars(places))


def _read_labelled(params: AcquireParams) -> LabelledPhotos:
    if params.source == "classes":
        return read_class_folders(Path(params.photos))
    if params.source == "huggingface":
        return read_dataset(Path(params.photos), params.columns)
    return read_listed_photos(Path(params.table), params.columns, Path(params.photos) if params.photos else None)


def _number(labelled: LabelledPhotos, names: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the labels their landmark ids; names of `names_csv` go before those of the source."""
    given = names.dropna(subset=["landmark_id", "name"])
    known = {**labelled.names, **dict(zip(given["landmark_id"], given["name"], strict=True))}
    if (labelled.places.compressed_bytes < 0).all():
        first = next(iter(labelled.photos["image_id"].dropna()), "the first")
        raise DataError(
            f"None of {len(labelled.photos):,} photos is there: {first} was looked for below "
            f"{labelled.source['path']}. Set acquire.photos to the folder that the paths count from."
        )
    landmark_ids, table = number_labels(labelled.photos["label"], known)
    photos = labelled.photos.drop(columns="label")
    photos.insert(0, "landmark_id", landmark_ids)
    photos.insert(0, "image_id", photos.pop("image_id"))
    numbers = pd.DataFrame({"label": labelled.photos["label"], "number": landmark_ids}).drop_duplicates("label")
    table = _add_translations(table, names, dict(numbers.itertuples(index=False)))
    return photos.assign(**vars(labelled.places)), table


def _decode_names(names: pd.DataFrame) -> pd.DataFrame:
    columns = [str(column) for column in names if column != "landmark_id"]
    return names.assign(
        **{column: names[column].map(decode_name, na_action="ignore").astype("str") for column in columns}
    )


def _add_translations(table: pd.DataFrame, names: pd.DataFrame, numbers: Mapping[str, str]) -> pd.DataFrame:
    """Add the names in other languages to the table of names; `numbers` has the landmark id of each label."""
    columns = [str(column) for column in names if is_translation(str(column))]
    if not columns:
        return table
    translated = _decode_names(names)[["landmark_id", *columns]]
    translated["landmark_id"] = translated["landmark_id"].map(numbers)
    known = translated.dropna(subset="landmark_id").drop_duplicates("landmark_id", keep="last")
    return table.merge(known, "left", on="landmark_id").astype("str")


def _find_attributions(images: pd.DataFrame) -> pd.DataFrame | None:
    if not set(ATTRIBUTION_COLUMNS) & set(images):
        return None
    given = {name: images.get(name, "") for name in ATTRIBUTION_COLUMNS}
    table = images[["image_id"]].assign(**given).astype("str")
    return table.dropna().drop_duplicates("image_id")


def _collect_distractors(params: AcquireParams) -> tuple[pd.DataFrame, dict[str, Any]]:
    if params.distractors:
        return read_distractor_folder(Path(params.distractors))
    listed = Path(params.distractors_csv)
    source: dict[str, Any] = {"kind": "folder", "path": str(listed.resolve().parent)}
    if is_solution(listed):
        source["part"] = "test"  # the solution of Google's test set lists photos below test/, not train/
    return locate(read_distractor_table(listed), source), source
