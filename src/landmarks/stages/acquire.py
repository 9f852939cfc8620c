"""acquire: bring the tables together and find every photo in its source, without copying any."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from landmarks.demo.album import ARCHIVE_FILE, DISTRACTORS_ROOT, DemoDistractor, DemoName, DemoPhoto, draw_demo
from landmarks.errors import ParamsError
from landmarks.files import replace_folder
from landmarks.params import AcquireParams
from landmarks.photos.sources import locate_photos
from landmarks.tables.photo_set import (
    PhotoSet,
    is_solution,
    read_attribution_table,
    read_distractor_table,
    read_name_table,
    read_photo_table,
    write_photo_set,
)

_DEMO_DISTRACTORS = f"{DISTRACTORS_ROOT}/"
_DEMO_ATTRIBUTION = {"author": "landmarks demo", "license": "Apache-2.0", "url": "", "title": ""}


def acquire(out: Path, params: AcquireParams) -> Path:
    """Write the raw photo set `out`; the demo is drawn first, other sources are read where they are.

    Raises:
        ParamsError: the source needs a path that params.yaml does not give.
        DataError: a table or the photo source is missing or cannot be used.
    """
    with replace_folder(out) as folder:
        photo_set = _draw(folder, out, params) if params.source == "demo" else _collect(params)
        write_photo_set(folder, photo_set)
    return out


def _draw(folder: Path, out: Path, params: AcquireParams) -> PhotoSet:
    tables = draw_demo(params.demo, folder)
    archive = {"kind": "archive", "path": _tell_final_path(out / ARCHIVE_FILE)}
    here = {**archive, "path": str(folder / ARCHIVE_FILE)}
    images = _locate(_tabulate(tables.photos, DemoPhoto), here)
    return PhotoSet(
        images=images,
        distractors=_locate(_tabulate(tables.distractors, DemoDistractor), {**here, "prefix": _DEMO_DISTRACTORS}),
        names=_tabulate(tables.names, DemoName),
        attributions=images[["image_id"]].assign(**_DEMO_ATTRIBUTION),
        sources={"photos": archive, "distractors": {**archive, "prefix": _DEMO_DISTRACTORS}},
    )


def _tabulate(rows: Sequence[tuple[object, ...]], kind: type[DemoPhoto | DemoName | DemoDistractor]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(kind._fields)).astype("str")


def _collect(params: AcquireParams) -> PhotoSet:
    if not params.photos:
        raise ParamsError(
            f"acquire.photos is empty, but acquire.source is {params.source}. Write the path of the photos there."
        )
    photos = {"kind": params.source, "path": str(Path(params.photos).resolve())}
    images, listed = read_photo_table(Path(params.train_csv)), Path(params.distractors_csv)
    others = read_distractor_table(listed)
    distractors = {"kind": "folder", "path": str(listed.resolve().parent)}
    if is_solution(listed):
        distractors["part"] = "test"
    return PhotoSet(
        images=_locate(images, photos),
        distractors=_locate(others, distractors),
        names=read_name_table(Path(params.names_csv)),
        attributions=read_attribution_table(Path(params.attribution_csv), (images["image_id"], others["image_id"])),
        sources={"photos": photos, "distractors": distractors},
    )


def _locate(table: pd.DataFrame, spec: dict[str, Any]) -> pd.DataFrame:
    places = locate_photos(spec, table["image_id"].tolist())
    return table.assign(**vars(places))


def _tell_final_path(path: Path) -> str:
    """Relative where that is possible: the same demo has the same source.json in every clone."""
    working = Path.cwd()
    return os.fspath(path.relative_to(working)) if path.is_relative_to(working) else os.fspath(path)
