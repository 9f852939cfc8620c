"""acquire: read the tables and locate every photo in its source, without copying any; or draw the demo."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from landmarks.demo.album import ARCHIVE_FILE, DISTRACTORS_ROOT, DemoDistractor, DemoName, DemoPhoto, draw_demo
from landmarks.errors import DataError
from landmarks.files.writing import replace_folder
from landmarks.params import AcquireParams
from landmarks.schema.columns import DEMO_AUTHOR
from landmarks.tables.collection import collect_photo_set, locate
from landmarks.tables.photo_set import PhotoSet, write_photo_set
from landmarks.tables.survey import describe_changes

log = logging.getLogger(__name__)

_DEMO_DISTRACTORS = f"{DISTRACTORS_ROOT}/"
_DEMO_ATTRIBUTION = {"author": DEMO_AUTHOR, "license": "Apache-2.0", "url": "", "title": ""}


def acquire(out: Path, params: AcquireParams) -> Path:
    """Write the raw photo set `out`, from the configured source or from the demo, which is drawn into `out`.

    Raises:
        ParamsError: `acquire.photos` is empty, but the source needs it.
        DataError: a table or the photo source is missing or cannot be used.
    """
    with replace_folder(out) as folder:
        photo_set = _draw(folder, out, params) if params.source == "demo" else collect_photo_set(params)
        write_photo_set(folder, photo_set)
        if params.source != "demo":
            _compare_listing(Path(params.listing), photo_set)
    return out


def _compare_listing(path: Path, photo_set: PhotoSet) -> None:
    """Warn if photos changed since they were listed: DVC sees changes of the listing alone."""
    try:
        listing = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The listing {path} cannot be read: {error}. Run `landmarks init` again, or set acquire.listing to "
            "experiments/none.csv."
        ) from None
    if listing.strip() and (changes := describe_changes(listing, photo_set)):
        log.warning("%s They are taken as they are now. Run `landmarks init` again to renew %s.", changes, path)


def _draw(folder: Path, out: Path, params: AcquireParams) -> PhotoSet:
    tables = draw_demo(params.demo, folder)
    path, working = out / ARCHIVE_FILE, Path.cwd()
    # relative if possible, so that the same demo has the same source.json in every clone
    shown = path.relative_to(working) if path.is_relative_to(working) else path
    archive = {"kind": "archive", "path": os.fspath(shown)}
    here = {**archive, "path": str(folder / ARCHIVE_FILE)}  # where it is until the folder is renamed to `out`
    images = locate(_tabulate(tables.photos, DemoPhoto), here)
    return PhotoSet(
        images=images,
        distractors=locate(_tabulate(tables.distractors, DemoDistractor), {**here, "prefix": _DEMO_DISTRACTORS}),
        names=_tabulate(tables.names, DemoName),
        attributions=images[["image_id"]].assign(**_DEMO_ATTRIBUTION),
        sources={"photos": archive, "distractors": {**archive, "prefix": _DEMO_DISTRACTORS}},
    )


def _tabulate(rows: Sequence[tuple[object, ...]], kind: type[DemoPhoto | DemoName | DemoDistractor]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(kind._fields)).astype("str")
