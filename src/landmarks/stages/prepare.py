"""prepare: the selected photos, straight from their source, become shards of equal square images."""

import os
import shutil
from pathlib import Path

from landmarks.files import compute_fingerprint, hold_lock
from landmarks.params import PrepareParams
from landmarks.shards.build import assemble, build_shards, check_result, write_reports
from landmarks.shards.plan import read_plan
from landmarks.shards.worker import translate_disk_full
from landmarks.tracking.provenance import compute_code_digest

LOCK_FILE = "lock"


def prepare(
    selected: Path, out: Path, reports: Path, params: PrepareParams, *, work: Path, workers: int | None = None
) -> Path:
    """Decode every selected photo, bring it to one size and write TFRecord shards.

    Work in progress is kept below `work`, in a folder named by a fingerprint of the inputs, so that a run that was
    killed is continued. The same input gives the same bytes, however many workers there are.

    Args:
        selected: `data/selected`.
        out: `data/shards`.
        reports: `reports/preparation`; written even when too many photos are unreadable.
        params: size, fit and limits.
        work: an ignored folder on the disk of `out`.
        workers: number of processes; as many as there are processors where None.

    Raises:
        DataError: too many photos are unreadable, a landmark has no training photo, or the disk is full.
        ArtifactError: the selection is missing or damaged.
        LandmarksError: another process prepares in the same work folder.
    """
    with hold_lock(work / LOCK_FILE, "preparing photos"):
        try:
            plan = read_plan(selected, params)
            # what other code began is not continued
            folder = _enter_work(work, compute_fingerprint([plan.fingerprint, compute_code_digest("prepare")]))
            result = build_shards(plan, folder, workers or _count_processors())
            near_duplicate = write_reports(result, reports, params.near_duplicate_bits)
            check_result(result, params.max_unreadable_fraction, reports / "unreadable.csv")
            assemble(result, near_duplicate, selected, folder, out)
        except OSError as error:
            raise translate_disk_full(error, work) from error
        shutil.rmtree(folder)
    return out


def _enter_work(work: Path, fingerprint: str) -> Path:
    """The folder of this work; that of other, unfinished work is removed, for it may be large."""
    folder = work / fingerprint[:16]
    for other in work.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)
    return folder


def _count_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
