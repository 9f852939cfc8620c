"""Columns of `photos.parquet` for photos that are asked about, in their order."""

from pathlib import Path

import pandas as pd
import pytest

from landmarks.data.photo_table import read_photo_column
from landmarks.errors import ArtifactError


@pytest.fixture(name="shards")
def make_shards(tmp_path: Path) -> Path:
    table = pd.DataFrame(
        {"image_id": ["c", "a", "d", "b"], "category": ["", "food", "map", "food"], "near": [1, 2, 3, 4]}
    )
    table.to_parquet(tmp_path / "photos.parquet", index=False)
    return tmp_path


def test_values_come_in_the_order_of_the_question(shards: Path) -> None:
    assert read_photo_column(shards, "category", ["b", "c", "d", "b"]) == ["food", "", "map", "food"]
    assert read_photo_column(shards, "near", ["a", "c"]) == [2, 1]
    assert read_photo_column(shards, "near", []) == []


def test_photos_that_are_missing_are_counted(shards: Path) -> None:
    with pytest.raises(ArtifactError, match=r"photos\.parquet lacks 2 photos of the shards.*dvc repro prepare"):
        read_photo_column(shards, "near", ["a", "x", "b", "y"])


def test_a_missing_column_is_named_in_one_line(shards: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"photos\.parquet gives no colour of the photos.*dvc repro prepare"
    ) as error:
        read_photo_column(shards, "colour", ["a"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"no table at all" * 10])
def test_a_missing_or_damaged_table_is_named(shards: Path, content: bytes | None) -> None:
    path = shards / "photos.parquet"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"photos\.parquet gives no near of the photos"):
        read_photo_column(shards, "near", ["a"])
