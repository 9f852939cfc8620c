"""select: choose landmarks and photos, and split them by hash."""

import dataclasses
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.errors import DataError, ImageError
from landmarks.files import replace_folder, write_json
from landmarks.params import SelectParams
from landmarks.photos.decoding import decode_image
from landmarks.photos.places import Place
from landmarks.photos.sources import PhotoSource, open_source
from landmarks.plotting.selection import draw_photos_per_landmark, draw_sample_photos
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.vocabulary import VOCABULARY_FILE, Landmark, write_vocabulary
from landmarks.tables.photo_set import build_places, read_photo_set, write_photo_set
from landmarks.tables.selection import Selection, select_images, split_distractors

_GRID_LANDMARKS = 30
_GRID_PHOTOS = 5
_GRID_FORMAT = ImageFormat(image_size=96, fit="crop", max_pixels=50_000_000)


def select(validated: Path, out: Path, reports: Path, params: SelectParams) -> Path:
    """Write the selected photo set `out` with its vocabulary, and `selection.json` with two pictures into `reports`.

    Raises:
        DataError: fewer than two landmarks are left, or a landmark asked for has no photos.
    """
    photo_set = read_photo_set(validated)
    selection = select_images(photo_set.images, photo_set.names, params)
    distractors = split_distractors(photo_set.distractors, params.seed)
    with replace_folder(reports) as folder:
        write_json(folder / "selection.json", _report(selection, distractors))
        draw_photos_per_landmark(folder / "photos_per_landmark.png", selection.vocabulary)
        draw_sample_photos(
            folder / "sample_photos.png", _sample_photos(selection, open_source(photo_set.sources["photos"]))
        )
    with replace_folder(out) as folder:
        attributions = _keep_attributions(photo_set.attributions, selection.images, distractors)
        selected = dataclasses.replace(
            photo_set, images=selection.images, distractors=distractors, attributions=attributions
        )
        write_photo_set(folder, selected)
        write_vocabulary(folder / VOCABULARY_FILE, selection.vocabulary)
    return out


def _keep_attributions(attributions: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    wanted = pd.concat([table["image_id"] for table in tables])
    # pandas' own text type is 30 times slower at this
    return attributions[attributions["image_id"].astype(object).isin(wanted.astype(object))]


def _report(selection: Selection, distractors: pd.DataFrame) -> dict[str, Any]:
    return {
        "rules": [dataclasses.asdict(rule) for rule in selection.rules],
        "landmarks": len(selection.vocabulary),
        "images": len(selection.images),
        "splits": dict(Counter(selection.images["split"]) + Counter(distractors["split"])),
        "borrowed": len(selection.loans),
        "borrowed_photos": [dataclasses.asdict(loan) for loan in selection.loans],
        "distractor_categories": {
            split: sorted(rows["category"].unique()) for split, rows in distractors.groupby("split")
        },
    }


def _sample_photos(selection: Selection, source: PhotoSource) -> list[tuple[Landmark, list[npt.NDArray[np.uint8]]]]:
    """Some training photos of some landmarks, spread evenly over the vocabulary."""
    count = min(_GRID_LANDMARKS, len(selection.vocabulary))
    labels = np.linspace(0, len(selection.vocabulary) - 1, count, dtype=int)
    train = selection.images[selection.images["split"] == Split.TRAIN]
    rows = {label: train[train["label"] == label].head(2 * _GRID_PHOTOS) for label in labels.tolist()}
    return [(selection.vocabulary[label], _decode_some(rows[label], source)) for label in rows]


def _decode_some(rows: pd.DataFrame, source: PhotoSource) -> list[npt.NDArray[np.uint8]]:
    """The first photos that can be read; prepare is the one that counts and lists the others."""
    photos = (_decode(source, place) for place in build_places(rows))
    return list(islice((photo for photo in photos if photo is not None), _GRID_PHOTOS))


def _decode(source: PhotoSource, place: Place) -> npt.NDArray[np.uint8] | None:
    try:
        return decode_image(source.read(place), _GRID_FORMAT)
    except (DataError, ImageError):
        return None
