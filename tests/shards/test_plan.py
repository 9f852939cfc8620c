"""The plan of the shards: every selected photo once, in an order that mixes the labels, cut at the right places."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from landmarks.errors import ArtifactError, DataError, LandmarksError
from landmarks.params import PrepareParams, read_params
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.vocabulary import Landmark, write_vocabulary
from landmarks.shards.plan import read_plan
from landmarks.tables.photo_set import DISTRACTORS_FILE, IMAGES_FILE, PhotoSet, write_photo_set
from reseal import digest_anew

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "experiments" / "default.yaml").prepare.model_copy(update={"photos_per_shard": 4})
COUNTS = {Split.TRAIN: 9, Split.VAL: 4, Split.TEST: 5}


def make_rows(prefix: str, splits: list[str], **columns: Any) -> pd.DataFrame:
    count = len(splits)
    image_ids = [f"{prefix}{i:03d}" for i in range(count)]
    paths = [f"{image_id}.jpg" for image_id in image_ids]
    places = {"path": paths, "offset": -1, "compressed_bytes": range(count), "method": 0, "stamp": 7}
    return pd.DataFrame({"image_id": image_ids, **columns, "split": splits, **places})


def write_selected(folder: Path, counts: dict[Split, int] = COUNTS) -> Path:
    photos = [split.value for split in Split for _ in range(counts.get(split, 0))]
    (folder / "photos").mkdir(parents=True)
    (folder / "others").mkdir()
    images = make_rows("p", photos, landmark_id=7, label=[i % 3 for i in range(len(photos))]).astype({"label": "int32"})
    others = [split.value for split in Split if split not in COUNTS]
    sources = {
        kind: {"kind": "folder", "path": str(folder / name)}
        for kind, name in (("photos", "photos"), ("distractors", "others"))
    }
    write_vocabulary(folder / "vocabulary.csv", [Landmark(i, i, "", 1, 1, 1) for i in range(3)])
    write_photo_set(
        folder,
        PhotoSet(
            images=images,
            distractors=make_rows("d", others * 3, category="x"),
            names=pd.DataFrame({"landmark_id": [7], "name": ["Seven"]}).astype({"landmark_id": "int64"}),
            attributions=pd.DataFrame(columns=["image_id", "author", "license", "url", "title"], dtype="str"),
            sources=sources,
        ),
    )
    return folder


def plan(folder: Path, **changes: Any) -> Any:
    return read_plan(folder, PrepareParams.model_validate(PARAMS.model_dump() | changes))


def test_every_photo_is_in_one_shard_of_its_split(tmp_path: Path) -> None:
    found = plan(write_selected(tmp_path / "selected"))
    table = found.photos.to_pandas()
    assert len(table) == table["image_id"].nunique() == 18 + 3 * (len(Split) - 3)
    start = 0
    for shard in found.shards:
        assert shard.start == start
        assert 0 < shard.stop - shard.start <= 4
        assert set(table["split"][shard.start : shard.stop]) == {shard.split.value}
        start = shard.stop
    assert start == len(table)
    sizes = {split: [s.stop - s.start for s in found.shards if s.split == split] for split in Split}
    assert (sizes[Split.TRAIN], sizes[Split.VAL], sizes[Split.TEST]) == ([4, 4, 1], [4], [4, 1])
    names = [shard.file for shard in found.shards if shard.split == Split.TRAIN]
    assert names == [f"train-{number:05d}-of-00003.tfrecord" for number in range(3)]
    assert [shard.split for shard in found.shards] == sorted((s.split for s in found.shards), key=list(Split).index)


def test_the_order_in_a_split_is_that_of_a_hash(tmp_path: Path) -> None:
    table = plan(write_selected(tmp_path / "selected")).photos.to_pandas()
    for _, rows in table.groupby("split"):
        hashes = [hashlib.blake2b(image_id.encode(), digest_size=8).digest() for image_id in rows["image_id"]]
        assert hashes == sorted(hashes)


def test_the_order_does_not_depend_on_the_rows_converted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plan(write_selected(tmp_path / "selected"))
    monkeypatch.setattr("landmarks.shards.plan._SLICE", 5)
    assert plan(tmp_path / "selected").photos.equals(first.photos)


def test_a_task_has_the_photos_of_its_shard(tmp_path: Path) -> None:
    found = plan(write_selected(tmp_path / "selected"))
    table = found.photos.to_pandas()
    tasks = list(found.iterate_tasks(tmp_path / "out"))
    assert len(tasks) == len(found.shards)
    for task, shard in zip(tasks, found.shards, strict=True):
        rows = table[shard.start : shard.stop]
        assert (task.folder, task.file) == (tmp_path / "out", shard.file)
        assert [place.image_id for place in task.places] == rows["image_id"].tolist()
        assert [place.path for place in task.places] == [f"{image_id}.jpg" for image_id in rows["image_id"]]
        assert [place.compressed_bytes for place in task.places] == rows["compressed_bytes"].tolist()
        assert list(task.labels) == rows["label"].tolist()
        kind = "photos" if shard.split in COUNTS else "distractors"
        assert task.source["path"].endswith("photos" if kind == "photos" else "others")
        assert all((label == -1) == (kind == "distractors") for label in task.labels)
        assert task.image_format == ImageFormat(PARAMS.image_size, PARAMS.fit, PARAMS.max_pixels) == found.image_format


def test_the_fingerprint_follows_tables_and_params(tmp_path: Path) -> None:
    folder = write_selected(tmp_path / "selected")
    first = plan(folder).fingerprint
    assert plan(folder).fingerprint == first
    assert plan(folder, photos_per_shard=5).fingerprint != first
    assert plan(folder, image_size=96).fingerprint != first
    write_vocabulary(folder / "vocabulary.csv", [Landmark(i, i, "New", 1, 1, 1) for i in range(3)])
    digest_anew(folder / "source.json")
    assert plan(folder).fingerprint != first


def test_nothing_selected_is_refused(tmp_path: Path) -> None:
    folder = write_selected(tmp_path / "selected", {})
    pd.read_parquet(folder / DISTRACTORS_FILE).iloc[:0].to_parquet(folder / DISTRACTORS_FILE)
    digest_anew(folder / "source.json")
    with pytest.raises(DataError, match="selects no photos"):
        plan(folder)


def test_a_vocabulary_without_the_last_label_is_refused(tmp_path: Path) -> None:
    folder = write_selected(tmp_path / "selected")
    write_vocabulary(folder / "vocabulary.csv", [Landmark(i, i, "", 1, 1, 1) for i in range(2)])
    digest_anew(folder / "source.json")
    with pytest.raises(ArtifactError, match="lacks labels"):
        plan(folder)


@pytest.mark.parametrize("name", ["photos", "others"])
def test_a_missing_source_is_refused_at_once(tmp_path: Path, name: str) -> None:
    folder = write_selected(tmp_path / "selected")
    (folder / name).rmdir()
    with pytest.raises(LandmarksError, match=name):
        plan(folder)


@pytest.mark.parametrize("name", [IMAGES_FILE, DISTRACTORS_FILE, "attributions.parquet", "source.json"])
def test_a_missing_or_damaged_table_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_selected(tmp_path / "selected")
    (folder / name).write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ArtifactError, match=name):
        plan(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        plan(folder)


def test_a_split_without_photos_has_no_shard_and_moves_no_other(tmp_path: Path) -> None:
    found = plan(write_selected(tmp_path / "selected", {Split.TRAIN: 5, Split.TEST: 3}))
    table = found.photos.to_pandas()
    for split, count in {Split.TRAIN: 5, Split.VAL: 0, Split.TEST: 3, Split.DISTRACTORS_TEST: 3}.items():
        shards = [shard for shard in found.shards if shard.split == split]
        rows = [row for shard in shards for row in range(shard.start, shard.stop)]
        assert len(rows) == count
        assert (table["split"][rows] == split.value).all()
