"""Who made the photos, and under which licence: from the photo set to the shards, and from there to the gallery."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from landmarks.data.schema import ATTRIBUTION_COLUMNS, ATTRIBUTIONS_FILE, OK, Split
from landmarks.data.shards import PHOTOS_FILE
from landmarks.errors import ArtifactError

Attribution = tuple[str, ...]

_SLICE = 1 << 14  # rows turned into Python objects at once


def check_attributions(selected: Path) -> None:
    """Look whether a photo set has its table of attributions, before long work that ends by reading it.

    Raises:
        ArtifactError: it is missing, damaged or lacks a column.
    """
    _read_table(selected / ATTRIBUTIONS_FILE, rows=False)


def append_attributions(photos: pa.Table, selected: Path) -> pa.Table:
    """Add `author`, `license`, `url` and `title` to a table with `image_id`; empty texts where nothing is known.

    Args:
        photos: a table with `image_id`.
        selected: the photo set that they are from.

    Raises:
        ArtifactError: the table of attributions is missing or damaged.
    """
    known = _read_table(selected / ATTRIBUTIONS_FILE)
    rows = pc.index_in(photos["image_id"], known["image_id"])
    for column in ATTRIBUTION_COLUMNS:
        photos = photos.append_column(column, pc.fill_null(known[column].take(rows), ""))
    return photos


def iterate_attributions(shards: Path, split: Split) -> Iterator[tuple[str, Attribution]]:
    """Id and attribution of each photo of a split, in the order in which the shards hold the photos.

    Raises:
        ArtifactError: the table of photos is missing or damaged.
    """
    path = shards / PHOTOS_FILE
    columns = ["image_id", *ATTRIBUTION_COLUMNS]
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_SLICE, columns=["split", "status", *columns]):
                is_kept = pc.and_(pc.equal(batch["split"], split.value), pc.equal(batch["status"], OK))
                for image_id, *attribution in zip(
                    *(batch.filter(is_kept)[column].to_pylist() for column in columns), strict=True
                ):
                    yield image_id, tuple(attribution)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run `dvc repro prepare`.") from None
    except (pa.ArrowException, KeyError) as error:
        raise ArtifactError(f"{path} is damaged or lacks a column ({error}). Run `dvc repro prepare`.") from error


def _read_table(path: Path, rows: bool = True) -> pa.Table:
    columns = ["image_id", *ATTRIBUTION_COLUMNS]
    try:
        table = pq.read_table(path, columns=columns) if rows else pq.read_schema(path).empty_table()
        return table.select(columns)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run `dvc repro select`.") from None
    except (pa.ArrowException, KeyError) as error:
        raise ArtifactError(f"{path} is damaged or lacks a column ({error}). Run `dvc repro select`.") from error
