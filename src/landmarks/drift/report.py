"""drift: compare the request log with the evaluation of the model that served it. Not a stage of the pipeline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from landmarks.drift.served_photos import LoggedPhotos, read_request_log
from landmarks.drift.two_sample import Comparison, PhotoSample, compare_samples
from landmarks.errors import ArtifactError
from landmarks.evaluation.receipt import read_evaluation_receipt
from landmarks.evaluation.report import EMBEDDINGS_FILE
from landmarks.files.seals import read_sealed
from landmarks.files.writing import replace_folder, write_json
from landmarks.params import DriftParams
from landmarks.plotting.drift import draw_drift

DRIFT_FILE = "drift.json"
PLOT_FILE = "drift.png"


def drift(log: Path, reports: Path, out: Path, params: DriftParams, reference: Path | None) -> dict[str, Comparison]:
    """Compare a request log with an evaluation, and write the result as JSON and as a plot.

    Args:
        log: the request log, see docs/pipeline.md.
        reports: the folder with the evaluation of the registered champion, used if `reference` is None.
        out: the folder for `drift.json` and `drift.png`; replaced as a whole.
        params: the section `drift`.
        reference: another evaluation, `reports/evaluate/VARIANT`, to compare all entries of the log with.

    Raises:
        ArtifactError: there is no evaluation.
        DataError: the log is empty or damaged, has too few photos, or belongs to another model.
    """
    version = None
    if reference is None:
        registration = read_sealed(reports / "registration.json")
        champion = registration["champion"]
        reference = reports / "evaluate" / champion
        # Compare only the entries of this version: a log goes on across deployments.
        version = str(registration["versions"][champion]["version"])
    photos = read_request_log(log, version, params.max_embeddings, params.seed)
    served = PhotoSample(photos.scores, photos.landmark_scores, photos.embeddings)
    comparisons = compare_samples(read_reference(reference), served, params)
    with replace_folder(out) as temporary:
        write_json(temporary / DRIFT_FILE, _report(log, reference, photos, comparisons))
        draw_drift(temporary / PLOT_FILE, comparisons)
    return comparisons


def read_reference(folder: Path) -> PhotoSample:
    """Read scores and embeddings of the test photos of an evaluation.

    Raises:
        ArtifactError: a file is missing, was altered or was not written by `landmarks evaluate`.
    """
    read_evaluation_receipt(folder)
    try:
        predictions = pd.read_csv(folder / "predictions.csv", usecols=["score", "landmark_score"], dtype=np.float32)
        embeddings = np.load(folder / EMBEDDINGS_FILE, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder} is not an evaluation to compare with ({error}). Run `dvc repro`.") from error
    return PhotoSample(predictions["score"].to_numpy(), predictions["landmark_score"].to_numpy(), embeddings)


def describe(comparisons: Mapping[str, Comparison]) -> str:
    """Return the verdict and one line per comparison as text."""
    drifted = [name for name, found in comparisons.items() if found.drifted]
    verdict = (
        f"The traffic no longer looks like the test photos: {' and '.join(drifted)} changed."
        if drifted
        else "The traffic looks like the test photos."
    )
    lines = [
        f"  {name:15} {'CHANGED' if found.drifted else 'same':8} effect size {found.effect_size:.3f} "
        f"({found.low:.3f} to {found.high:.3f}; drift from {found.min_effect:g}), p {found.p_value:.2g}, "
        f"{len(found.served):,} served and {len(found.reference):,} test photos"
        for name, found in comparisons.items()
    ]
    return "\n".join([verdict, *lines])


def _report(log: Path, reference: Path, photos: LoggedPhotos, comparisons: dict[str, Comparison]) -> dict[str, Any]:
    return {
        "drifted": any(found.drifted for found in comparisons.values()),
        "log": str(log),
        "reference": str(reference),
        "photos": len(photos.scores),
        "first": photos.first.isoformat(),
        "last": photos.last.isoformat(),
        "photos_of_other_versions": photos.other_versions,
        "damaged_lines": photos.damaged_lines,
        "comparisons": {
            name: {
                "drifted": found.drifted,
                "effect_size": found.effect_size,
                "low": found.low,
                "high": found.high,
                "min_effect": found.min_effect,
                "p_value": found.p_value,
                "reference_photos": len(found.reference),
                "served_photos": len(found.served),
            }
            for name, found in comparisons.items()
        },
    }
