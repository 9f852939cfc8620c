"""Preparing a planned selection: running the shards, what became of each photo, and the report about it.

The parent's side; `landmarks.shards.worker` is what the workers run.
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
from tqdm import tqdm

from landmarks.errors import DataError
from landmarks.files import replace_file, replace_folder, write_json
from landmarks.photos.perceptual_hash import count_near
from landmarks.schema.columns import LANDMARK_SPLITS, OK, Split
from landmarks.schema.vocabulary import VOCABULARY_FILE
from landmarks.shards.format import PHOTOS_FILE, Shard, write_manifest
from landmarks.shards.photo_table import append_attributions
from landmarks.shards.plan import Plan
from landmarks.shards.worker import ShardOutcome, make_shards
from landmarks.tables.photo_set import DISTRACTORS_FILE

_EXAMPLES = 5
_REASONS = 20

Bools = npt.NDArray[np.bool_]


@dataclass
class Result:
    """What became of the photos of a plan, row by row; filled while the shards are made.

    `hashes`: uint64 (n,); `reasons`: why a photo is unreadable, by its row; `shards`: by the number in the plan.
    """

    plan: Plan
    hashes: npt.NDArray[np.uint64]
    reasons: dict[int, str] = field(default_factory=dict)
    shards: dict[int, Shard] = field(default_factory=dict)

    def add(self, number: int, outcome: ShardOutcome) -> int:
        """Take in one shard and return how many photos it was asked for."""
        planned = self.plan.shards[number]
        self.shards[number] = outcome.shard
        self.hashes[planned.start : planned.stop] = outcome.hashes
        self.reasons |= {planned.start + i: status for i, status in enumerate(outcome.statuses) if status != OK}
        return len(outcome.statuses)

    def get_rows(self, split: Split) -> slice:
        """The rows of a split; they follow one another."""
        planned = [shard for shard in self.plan.shards if shard.split == split]
        return slice(planned[0].start, planned[-1].stop) if planned else slice(0, 0)

    def get_readable(self) -> Bools:
        """Which rows are in a shard: bool (n,)."""
        readable = np.ones(len(self.hashes), np.bool_)
        readable[list(self.reasons)] = False
        return readable


def make_all(plan: Plan, folder: Path, workers: int) -> Result:
    """Make every shard of a plan in `folder`, with a progress bar.

    Raises:
        DataError: there is no room left, or a worker was killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result = Result(plan, np.zeros(len(plan.photos), np.uint64))
    with tqdm(total=len(plan.photos), unit=" photos", desc="prepare", disable=None) as progress:
        for number, outcome in make_shards(plan.iterate_tasks(folder), min(workers, len(plan.shards))):
            progress.update(result.add(number, outcome))
    return result


def write_reports(result: Result, folder: Path, near_duplicate_bits: int) -> Bools:
    """Write `preparation.json` and `unreadable.csv`, and return which rows are near duplicates of training photos."""
    near_duplicate, pairs = _find_near_duplicates(result, near_duplicate_bits)
    readable = result.get_readable()
    with replace_folder(folder) as temporary:
        facts = {
            "selected": len(readable),
            "photos": {split.value: int(readable[result.get_rows(split)].sum()) for split in Split},
            "unreadable": len(result.reasons),
            "unreadable_fraction": len(result.reasons) / len(readable),
            "unreadable_reasons": dict(Counter(result.reasons.values()).most_common(_REASONS)),
            "near_duplicates": {
                "bits": near_duplicate_bits,
                "val": int(near_duplicate[result.get_rows(Split.VAL)].sum()),
                "test": int(near_duplicate[result.get_rows(Split.TEST)].sum()),
                "pairs": pairs,
            },
        }
        write_json(temporary / "preparation.json", facts)
        _write_unreadable(result, temporary / "unreadable.csv")
    return near_duplicate


def check_result(result: Result, max_unreadable_fraction: float, report: Path) -> None:
    """Refuse a result with too many unreadable photos, or with a class that cannot be learned.

    Raises:
        DataError: so it is.
    """
    fraction = len(result.reasons) / len(result.hashes)
    if fraction > max_unreadable_fraction:
        raise DataError(
            f"{len(result.reasons)} of {len(result.hashes)} photos are unreadable ({fraction:.1%}), more than "
            f"prepare.max_unreadable_fraction {max_unreadable_fraction:.1%} allows. {report} lists them: mend the "
            "photos and run `dvc repro -f acquire`, or raise the parameter."
        )
    rows = result.get_rows(Split.TRAIN)
    labels = result.plan.photos["label"].to_numpy()[rows][result.get_readable()[rows]]
    empty = np.flatnonzero(np.bincount(labels, minlength=len(result.plan.landmarks)) == 0)
    if len(empty):
        landmarks = [result.plan.landmarks[label] for label in empty[:_EXAMPLES]]
        named = ", ".join(f"{landmark.landmark_id} ({landmark.name})" for landmark in landmarks)
        raise DataError(
            f"{len(empty)} landmarks have no readable training photo, among them {named}. {report} lists the "
            "unreadable photos: mend them, or leave these landmarks out with the section `select` in params.yaml."
        )


def assemble(result: Result, near_duplicate: Bools, selected: Path, work: Path, out: Path) -> None:
    """Move the finished shards from `work` to `out`, together with their manifest and tables."""
    plan = result.plan
    splits: dict[Split, list[Shard]] = {split: [] for split in Split}
    for number, planned in enumerate(plan.shards):
        splits[planned.split].append(result.shards[number])
    with replace_folder(out) as temporary:
        _write_photos(result, near_duplicate, selected, temporary / PHOTOS_FILE)
        shutil.copyfile(selected / VOCABULARY_FILE, temporary / VOCABULARY_FILE)
        write_manifest(temporary, plan.image_format, len(plan.landmarks), splits)
        for planned in plan.shards:  # last: from here on nothing needs room
            shutil.move(work / planned.file, temporary / planned.file)


def _find_near_duplicates(result: Result, bits: int) -> tuple[Bools, dict[str, int]]:
    readable = result.get_readable()
    rows = {split: np.flatnonzero(readable[result.get_rows(split)]) + result.get_rows(split).start for split in Split}
    train, val, test = (result.hashes[rows[split]] for split in LANDMARK_SPLITS)
    near_val, near_test = count_near(train, val, bits), count_near(train, test, bits)
    near_duplicate = np.zeros(len(readable), np.bool_)
    near_duplicate[rows[Split.VAL]] = near_val > 0
    near_duplicate[rows[Split.TEST]] = near_test > 0
    val_test = int(count_near(val, test, bits).sum())
    return near_duplicate, {"train_val": int(near_val.sum()), "train_test": int(near_test.sum()), "val_test": val_test}


def _write_unreadable(result: Result, path: Path) -> None:
    rows = sorted(result.reasons)
    photos = result.plan.photos.take(rows) if rows else result.plan.photos.slice(0, 0)
    columns = (photos["image_id"].to_pylist(), photos["split"].to_pylist(), [result.reasons[row] for row in rows])
    with replace_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image_id", "split", "reason"))
        writer.writerows(zip(*columns, strict=True))


def _write_photos(result: Result, near_duplicate: Bools, selected: Path, path: Path) -> None:
    statuses = [result.reasons.get(row, OK) for row in range(len(result.hashes))]
    table = result.plan.photos.select(["image_id", "label", "split"])
    table = table.append_column("status", pa.array(statuses, pa.string()))
    table = table.append_column("perceptual_hash", pa.array(result.hashes))
    table = table.append_column("near_duplicate", pa.array(near_duplicate))
    table = table.append_column("category", _find_categories(table["image_id"], selected))
    pq.write_table(append_attributions(table, selected), path)


def _find_categories(image_ids: pa.ChunkedArray, selected: Path) -> pa.Array:
    """What kind of photo each distractor is; empty for photos of landmarks."""
    known = pq.read_table(selected / DISTRACTORS_FILE, columns=["image_id", "category"])
    found = known["category"].cast(pa.string()).take(pc.index_in(image_ids, known["image_id"].cast(pa.string())))
    return pc.fill_null(found, "").combine_chunks()
