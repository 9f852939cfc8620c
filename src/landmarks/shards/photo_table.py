"""The table of prepared photos beside the shards: labels, categories, and the author and licence of each photo."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from landmarks.errors import ArtifactError
from landmarks.schema.columns import ATTRIBUTION_COLUMNS, ATTRIBUTIONS_FILE, OK, Split
from landmarks.schema.parquet import read_parquet
from landmarks.shards.format import PHOTOS_FILE, ShardManifest

Attribution = tuple[str, ...]

_SLICE = 1 << 14  # rows converted to Python objects at once, to bound memory


def count_labels(shards: Path, manifest: ShardManifest, split: Split) -> npt.NDArray[np.int64]:
    """Count the photos of each label in a split, int64 (labels,), without unreadable photos.

    Args:
        shards: the folder of the shards.
        manifest: the manifest of these shards.
        split: the split.

    Raises:
        ArtifactError: the table is missing or damaged, or does not list the photos of the shards.
    """
    path = shards / PHOTOS_FILE
    wanted = [("split", "=", split.value), ("status", "=", OK), ("label", "<", manifest.labels), ("label", ">=", 0)]
    try:
        table = pq.read_table(path, columns=["label"], filters=wanted)
    except (OSError, KeyError, pa.ArrowException) as error:
        reason, _, _ = str(error).partition("\n")
        raise ArtifactError(
            f"{path} does not list the photos of the shards ({reason}). Run `dvc repro prepare`."
        ) from error
    # A table of another build would give wrong class weights without any error.
    photos = manifest.count_photos(split)
    if len(table) != photos:
        raise ArtifactError(
            f"{path} lists {len(table)} photos of {split}, the shards have {photos}. Run `dvc repro prepare`."
        )
    counts: npt.NDArray[np.int64] = np.bincount(table["label"].to_numpy(), minlength=manifest.labels).astype(np.int64)
    return counts


def read_photo_column(shards: Path, column: str, image_ids: Sequence[str]) -> list[Any]:
    """Return a column of `photos.parquet` for some photos, in their order.

    Raises:
        ArtifactError: the table is missing or damaged, or lacks the column or a photo.
    """
    path = shards / PHOTOS_FILE
    try:
        table = pq.read_table(path, columns=["image_id", column])
    except (OSError, KeyError, pa.ArrowException) as error:
        reason, _, _ = str(error).partition("\n")  # the other lines list all columns of the file
        raise ArtifactError(f"{path} has no {column} of the photos ({reason}). Run `dvc repro prepare`.") from error
    rows = pc.index_in(pa.array(image_ids, pa.string()), table["image_id"].cast(pa.string()))
    if rows.null_count:
        raise ArtifactError(f"{path} lacks {rows.null_count} photos of the shards. Run `dvc repro prepare`.")
    return list(table[column].take(rows).to_pylist())


def check_attributions(selected: Path) -> None:
    """Check the table of attributions of a photo set early: it is needed only at the end of a long build.

    Raises:
        ArtifactError: it is missing, damaged or lacks a column.
    """
    _read_attributions(selected / ATTRIBUTIONS_FILE, rows=False)


def append_attributions(photos: pa.Table, selected: Path) -> pa.Table:
    """Add `author`, `license`, `url` and `title` to a table, with empty texts where they are unknown.

    Args:
        photos: a table with `image_id`.
        selected: the photo set of these photos.

    Raises:
        ArtifactError: the table of attributions is missing or damaged.
    """
    known = _read_attributions(selected / ATTRIBUTIONS_FILE)
    rows = pc.index_in(photos["image_id"], known["image_id"])
    for column in ATTRIBUTION_COLUMNS:
        photos = photos.append_column(column, pc.fill_null(known[column].take(rows), ""))
    return photos


def iterate_attributions(shards: Path, split: Split) -> Iterator[tuple[str, Attribution]]:
    """Yield id and attribution of each photo of a split, in the order of the shards.

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


def _read_attributions(path: Path, rows: bool = True) -> pa.Table:
    columns = ["image_id", *ATTRIBUTION_COLUMNS]
    if rows:
        types = dict.fromkeys(columns, pa.string())
        return read_parquet(path, types, nullable=ATTRIBUTION_COLUMNS, remedy="Run `dvc repro select`.")
    try:
        # The schema is in the footer: checking the columns does not read millions of rows.
        return pq.read_schema(path).empty_table().select(columns)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run `dvc repro select`.") from None
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged or lacks a column ({error}). Run `dvc repro select`.") from error
