"""Columns of `photos.parquet` for requested photos, in their order."""

from pathlib import Path

import pandas as pd
import pytest

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_sha256
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat
from landmarks.shards.format import Shard, write_manifest
from landmarks.shards.photo_table import count_labels, read_photo_column


@pytest.fixture(name="shards")
def make_shards(tmp_path: Path) -> Path:
    table = pd.DataFrame(
        {"image_id": ["c", "a", "d", "b"], "category": ["", "food", "map", "food"], "near": [1, 2, 3, 4]}
    )
    table.to_parquet(tmp_path / "photos.parquet", index=False)
    return tmp_path


def test_values_keep_the_order_of_the_requested_ids(shards: Path) -> None:
    assert read_photo_column(shards, "category", ["b", "c", "d", "b"]) == ["food", "", "map", "food"]
    assert read_photo_column(shards, "near", ["a", "c"]) == [2, 1]
    assert read_photo_column(shards, "near", []) == []


def test_labels_are_counted_without_unreadable_photos(tmp_path: Path) -> None:
    rows = [("train", 0, "ok"), ("train", 2, "ok"), ("train", 2, "ok"), ("train", 1, "truncated"), ("val", 1, "ok")]
    table = pd.DataFrame(rows, columns=["split", "label", "status"])
    table.assign(image_id=list("abcde")).to_parquet(tmp_path / "photos.parquet", index=False)
    shard = Shard("train.tfrecord", 3, 0, compute_sha256(Path("/dev/null")))
    (tmp_path / "train.tfrecord").touch()
    manifest = write_manifest(tmp_path, ImageFormat(32, "crop", 10**6), 3, {Split.TRAIN: [shard]})
    assert count_labels(tmp_path, manifest, Split.TRAIN).tolist() == [1, 0, 2]
    with pytest.raises(ArtifactError, match=r"photos\.parquet lists 1 photos of val, the shards have 0"):
        count_labels(tmp_path, manifest, Split.VAL)
    (tmp_path / "photos.parquet").unlink()
    with pytest.raises(
        ArtifactError, match=r"photos\.parquet does not list the photos of the shards.*dvc repro prepare"
    ):
        count_labels(tmp_path, manifest, Split.TRAIN)


def test_missing_photos_are_counted(shards: Path) -> None:
    with pytest.raises(ArtifactError, match=r"photos\.parquet lacks 2 photos of the shards.*dvc repro prepare"):
        read_photo_column(shards, "near", ["a", "x", "b", "y"])


def test_a_missing_column_is_named_in_one_line(shards: Path) -> None:
    with pytest.raises(ArtifactError, match=r"photos\.parquet has no colour of the photos.*dvc repro prepare") as error:
        read_photo_column(shards, "colour", ["a"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"no table at all" * 10])
def test_a_missing_or_damaged_table_is_named(shards: Path, content: bytes | None) -> None:
    path = shards / "photos.parquet"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"photos\.parquet has no near of the photos"):
        read_photo_column(shards, "near", ["a"])
