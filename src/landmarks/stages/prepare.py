"""prepare: decode the selected photos straight from their source, and write TFRecord shards of equal square images."""

import shutil
from pathlib import Path

from landmarks.files.digests import compute_fingerprint
from landmarks.files.writing import hold_lock
from landmarks.params import PrepareParams
from landmarks.processors import count_processors
from landmarks.shards.build import assemble, build_shards, check_result, write_reports
from landmarks.shards.plan import read_plan
from landmarks.tracking.provenance import compute_code_digest

LOCK_FILE = "lock"


def prepare(
    selected: Path, out: Path, reports: Path, params: PrepareParams, *, work: Path, workers: int | None = None
) -> Path:
    """Decode and resize every selected photo, and write TFRecord shards.

    Work in progress is below `work`, in a folder named by a fingerprint of the inputs, so that a killed run resumes.
    The same input gives the same bytes with any number of workers.

    Args:
        selected: `data/selected`.
        out: `data/shards`.
        reports: `reports/preparation`; written even if too many photos are unreadable.
        params: the section `prepare`.
        work: a folder that git and DVC ignore, on the disk of `out`. DVC deletes `out` before it runs the stage.
        workers: number of processes; one per processor if None.

    Raises:
        DataError: too many photos are unreadable, or a landmark has no training photo.
        OSError: the disk is full.
        ArtifactError: the selection is missing or damaged.
        LandmarksError: another process uses the same work folder.
    """
    with hold_lock(work / LOCK_FILE, "preparing photos"):
        plan = read_plan(selected, params)
        # with the code in the fingerprint, unfinished work of other code is not resumed
        folder = _enter_work(work, compute_fingerprint([plan.fingerprint, compute_code_digest("prepare")]))
        result = build_shards(plan, folder, workers or count_processors())
        near_duplicate = write_reports(result, reports, params.near_duplicate_bits)
        check_result(result, params.max_unreadable_fraction, reports / "unreadable.csv")
        assemble(result, near_duplicate, selected, folder, out)
        shutil.rmtree(folder)
    return out


def _enter_work(work: Path, fingerprint: str) -> Path:
    """Return the folder of this work, and delete other unfinished work, which may be large."""
    folder = work / fingerprint[:16]
    for other in work.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)
    return folder
