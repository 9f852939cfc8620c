"""select: choose landmarks and photos, and split them by a hash of their ids."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from landmarks.files.writing import replace_folder, write_json
from landmarks.params import SelectParams
from landmarks.photos.sources import open_source
from landmarks.plotting.selection import draw_photos_per_landmark, draw_sample_photos
from landmarks.schema.vocabulary import VOCABULARY_FILE, write_vocabulary
from landmarks.tables.photo_set import read_photo_set, write_photo_set
from landmarks.tables.samples import sample_photos
from landmarks.tables.selection import Selection, select_images, split_distractors


def select(validated: Path, out: Path, reports: Path, params: SelectParams) -> Path:
    """Write the selected photo set `out` with its vocabulary, and the report of the selection with two charts.

    Raises:
        DataError: fewer than two landmarks are left, or a requested landmark has no photos.
    """
    photo_set = read_photo_set(validated)
    selection = select_images(photo_set.images, photo_set.names, params)
    distractors = split_distractors(photo_set.distractors, params.seed)
    with replace_folder(reports) as folder:
        write_json(folder / "selection.json", _report(selection, distractors))
        draw_photos_per_landmark(folder / "photos_per_landmark.png", selection.vocabulary)
        samples = sample_photos(selection, open_source(photo_set.sources["photos"]))
        draw_sample_photos(folder / "sample_photos.png", samples)
    with replace_folder(out) as folder:
        attributions = _keep_attributions(photo_set.attributions, selection.images, distractors)
        selected = dataclasses.replace(
            photo_set, images=selection.images, distractors=distractors, attributions=attributions
        )
        write_vocabulary(folder / VOCABULARY_FILE, selection.vocabulary)
        write_photo_set(folder, selected)
    return out


def _keep_attributions(attributions: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    wanted = pd.concat([table["image_id"] for table in tables])
    # `isin` on pandas' own text type is 30 times slower than on Python objects
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
