"""Build the shards of a plan, report on every photo, and move the result into place.

This is the parent process; `landmarks.shards.worker` runs in the worker processes.
"""

import csv
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from landmarks.errors import DataError
from landmarks.files.writing import replace_file, replace_folder, write_json
from landmarks.photos.perceptual_hash import count_near
from landmarks.schema.columns import LANDMARK_SPLITS, OK, Split
from landmarks.schema.parquet import read_parquet
from landmarks.schema.vocabulary import VOCABULARY_FILE
from landmarks.shards.format import PHOTOS_FILE, Shard, write_manifest
from landmarks.shards.photo_table import append_attributions
from landmarks.shards.plan import Plan
from landmarks.shards.worker import ShardResult, make_shards
from landmarks.tables.photo_set import DISTRACTORS_FILE
from landmarks.terminal import show_progress

_MAX_EXAMPLES = 5
_MAX_REASONS = 20  # reasons contain sizes, so there may be thousands of different ones

Bools = npt.NDArray[np.bool_]


@dataclass
class PreparationResult:
    """The result for every photo of a plan, filled while the shards are built.

    Attributes:
        plan: the plan.
        hashes: uint64 (n,), perceptual hashes by row; 0 for unreadable photos.
        reasons: why a photo is unreadable, by row.
        shards: the finished shards, by their number in the plan.
    """

    plan: Plan
    hashes: npt.NDArray[np.uint64]
    reasons: dict[int, str] = field(default_factory=dict)
    shards: dict[int, Shard] = field(default_factory=dict)

    def add(self, number: int, result: ShardResult) -> int:
        """Add the result of one shard and return its number of photos, including unreadable ones."""
        planned = self.plan.shards[number]
        self.shards[number] = result.shard
        self.hashes[planned.start : planned.stop] = result.hashes
        self.reasons |= {planned.start + i: status for i, status in enumerate(result.statuses) if status != OK}
        return len(result.statuses)

    def get_rows(self, split: Split) -> slice:
        """Return the rows of a split, which are contiguous."""
        planned = [shard for shard in self.plan.shards if shard.split == split]
        return slice(planned[0].start, planned[-1].stop) if planned else slice(0, 0)

    def get_readable(self) -> Bools:
        """Return whether each row is in a shard: bool (n,)."""
        readable = np.ones(len(self.hashes), np.bool_)
        readable[list(self.reasons)] = False
        return readable


def build_shards(plan: Plan, folder: Path, workers: int) -> PreparationResult:
    """Write every shard of a plan into `folder`, with a progress bar.

    Raises:
        DataError: a worker was killed.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result = PreparationResult(plan, np.zeros(len(plan.photos), np.uint64))
    with show_progress(description="preparing", total=len(plan.photos)) as progress:
        # Starting a worker takes seconds, so never start more than there are shards.
        for number, shard_result in make_shards(plan.iterate_tasks(folder), min(workers, len(plan.shards))):
            progress.update(result.add(number, shard_result))
    return result


def write_reports(result: PreparationResult, folder: Path, near_duplicate_bits: int) -> Bools:
    """Write `preparation.json` and `unreadable.csv`.

    Returns:
        Whether each row is a near duplicate of a training photo: bool (n,).
    """
    near_duplicate, pairs = _find_near_duplicates(result, near_duplicate_bits)
    readable = result.get_readable()
    with replace_folder(folder) as temporary:
        report = {
            "selected": len(readable),
            "photos": {split.value: int(readable[result.get_rows(split)].sum()) for split in Split},
            "unreadable": len(result.reasons),
            "unreadable_fraction": len(result.reasons) / len(readable),
            "unreadable_reasons": dict(Counter(result.reasons.values()).most_common(_MAX_REASONS)),
            "near_duplicates": {
                "bits": near_duplicate_bits,
                "val": int(near_duplicate[result.get_rows(Split.VAL)].sum()),
                "test": int(near_duplicate[result.get_rows(Split.TEST)].sum()),
                "pairs": pairs,
            },
        }
        write_json(temporary / "preparation.json", report)
        _write_unreadable(result, temporary / "unreadable.csv")
    return near_duplicate


def check_result(result: PreparationResult, max_unreadable_fraction: float, report: Path) -> None:
    """Refuse a result with too many unreadable photos, or with a class without training photos.

    Raises:
        DataError: more photos are unreadable than allowed, or a landmark has no readable training photo.
    """
    fraction = len(result.reasons) / len(result.hashes)
    if fraction > max_unreadable_fraction:
        raise DataError(
            f"{len(result.reasons)} of {len(result.hashes)} photos are unreadable ({fraction:.1%}), more than "
            f"prepare.max_unreadable_fraction {max_unreadable_fraction:.1%} allows. {report} lists them: repair "
            "the photos and run `dvc repro -f acquire`, or raise the parameter."
        )
    rows = result.get_rows(Split.TRAIN)
    labels = result.plan.photos["label"].to_numpy()[rows][result.get_readable()[rows]]
    empty = np.flatnonzero(np.bincount(labels, minlength=len(result.plan.landmarks)) == 0)
    if len(empty):
        landmarks = [result.plan.landmarks[label] for label in empty[:_MAX_EXAMPLES]]
        named = ", ".join(f"{landmark.landmark_id} ({landmark.name})" for landmark in landmarks)
        raise DataError(
            f"{len(empty)} landmarks have no readable training photo, among them {named}. {report} lists the "
            "unreadable photos: repair them, or exclude these landmarks in the section `select` of params.yaml."
        )


def assemble(result: PreparationResult, near_duplicate: Bools, selected: Path, work: Path, out: Path) -> None:
    """Move the finished shards from `work` to `out`, and write their manifest and tables beside them."""
    plan = result.plan
    splits: dict[Split, list[Shard]] = {split: [] for split in Split}
    for number, planned in enumerate(plan.shards):
        splits[planned.split].append(result.shards[number])
    with replace_folder(out) as temporary:
        _write_photos(result, near_duplicate, selected, temporary / PHOTOS_FILE)
        shutil.copyfile(selected / VOCABULARY_FILE, temporary / VOCABULARY_FILE)
        write_manifest(temporary, plan.image_format, len(plan.landmarks), splits)
        # Moving comes last: if the disk is full, the writes above fail while the shards are still in `work`.
        for planned in plan.shards:
            shutil.move(work / planned.file, temporary / planned.file)


def _find_near_duplicates(result: PreparationResult, bits: int) -> tuple[Bools, dict[str, int]]:
    """Return which rows are near duplicates of training photos, and the pairs of near duplicates across splits."""
    readable = result.get_readable()
    rows = {split: np.flatnonzero(readable[result.get_rows(split)]) + result.get_rows(split).start for split in Split}
    train, val, test = (result.hashes[rows[split]] for split in LANDMARK_SPLITS)
    near_val, near_test = count_near(train, val, bits), count_near(train, test, bits)
    near_duplicate = np.zeros(len(readable), np.bool_)
    near_duplicate[rows[Split.VAL]] = near_val > 0
    near_duplicate[rows[Split.TEST]] = near_test > 0
    val_test = int(count_near(val, test, bits).sum())
    return near_duplicate, {"train_val": int(near_val.sum()), "train_test": int(near_test.sum()), "val_test": val_test}


def _write_unreadable(result: PreparationResult, path: Path) -> None:
    rows = sorted(result.reasons)
    photos = result.plan.photos.take(rows) if rows else result.plan.photos.slice(0, 0)
    columns = (photos["image_id"].to_pylist(), photos["split"].to_pylist(), [result.reasons[row] for row in rows])
    with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image_id", "split", "reason"))
        writer.writerows(zip(*columns, strict=True))


def _write_photos(result: PreparationResult, near_duplicate: Bools, selected: Path, path: Path) -> None:
    statuses = [result.reasons.get(row, OK) for row in range(len(result.hashes))]
    table = result.plan.photos.select(["image_id", "label", "split"])
    table = table.append_column("status", pa.array(statuses, pa.string()))
    table = table.append_column("perceptual_hash", pa.array(result.hashes))
    table = table.append_column("near_duplicate", pa.array(near_duplicate))
    known = read_parquet(selected / DISTRACTORS_FILE, dict.fromkeys(("image_id", "category"), pa.string()))
    rows = pc.index_in(table["image_id"], known["image_id"])  # null for landmark photos
    categories = pc.fill_null(known["category"].take(rows), "").combine_chunks()
    table = table.append_column("category", categories)
    pq.write_table(append_attributions(table, selected), path)
