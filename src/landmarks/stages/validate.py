"""validate: check the raw tables and photos with Great Expectations before other stages use them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from landmarks.errors import DataError
from landmarks.files.writing import replace_folder, write_json, write_text
from landmarks.params import ValidateParams
from landmarks.tables.expectations import ExpectationResult, build_suites, check_suites
from landmarks.tables.inspection import Inspection, inspect_photo_set
from landmarks.tables.photo_set import PhotoSet, read_photo_set, write_photo_set
from landmarks.tables.validation_page import build_validation_page


def validate(raw: Path, out: Path, reports: Path, params: ValidateParams) -> Path:
    """Write the reports and, if all expectations hold, the typed photo set `out`.

    The reports are `validation.json`, `validation.html` and `data_docs/` in the folder `reports`.

    Raises:
        DataError: an expectation failed; the reports are written, but not `out`.
    """
    photo_set = read_photo_set(raw)
    inspection = inspect_photo_set(photo_set, params.sample_photos)
    suites = build_suites(inspection, params)
    outcomes = check_suites(suites, reports / "data_docs")
    report = _report(inspection, outcomes)
    write_json(reports / "validation.json", report)
    write_text(reports / "validation.html", build_validation_page(suites, outcomes, report))
    _check_outcomes(raw, reports, outcomes)
    with replace_folder(out) as folder:
        write_photo_set(folder, _give_types(photo_set))
    return out


def _report(inspection: Inspection, outcomes: Sequence[ExpectationResult]) -> dict[str, object]:
    return {
        "success": all(outcome.success for outcome in outcomes),
        "expectations": [dataclasses.asdict(outcome) for outcome in outcomes],
        "images": len(inspection.photos),
        "landmarks": len(inspection.landmarks),
        "distractors": len(inspection.distractors),
        "single_photo_landmarks": int((inspection.landmarks["photos"] == 1).sum()),
    }


def _check_outcomes(raw: Path, reports: Path, outcomes: Sequence[ExpectationResult]) -> None:
    failed = [outcome for outcome in outcomes if not outcome.success]
    if failed:
        lines = [f"  {one.name}: {one.unexpected_count} found, for example {'; '.join(one.examples)}" for one in failed]
        head = f"{raw} does not meet {len(failed)} of {len(outcomes)} expectations:"
        tail = f"Fix the tables or the photos. Full report: {reports / 'validation.html'}"
        raise DataError("\n".join([head, *lines, tail]))


def _give_types(photo_set: PhotoSet) -> PhotoSet:
    # only now: raw ids are texts, so that expectations can report those that are no numbers
    def number(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(landmark_id=table["landmark_id"].astype("int64"))

    return dataclasses.replace(photo_set, images=number(photo_set.images), names=number(photo_set.names))
