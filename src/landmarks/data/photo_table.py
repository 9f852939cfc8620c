"""The table of prepared photos that stands beside the shards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from landmarks.data.schema import OK, Split
from landmarks.data.shards import PHOTOS_FILE, ShardManifest
from landmarks.errors import ArtifactError


def count_labels(shards: Path, manifest: ShardManifest, split: Split) -> npt.NDArray[np.int64]:
    """How many photos of each label a split has, int64 (labels,); unreadable ones are not in the shards.

    `manifest` is that of the shards.

    Raises:
        ArtifactError: the table is missing or damaged, or does not list the photos of the shards.
    """
    path = shards / PHOTOS_FILE
    wanted = [("split", "=", split.value), ("status", "=", OK), ("label", "<", manifest.labels), ("label", ">=", 0)]
    try:
        table = pq.read_table(path, columns=["label"], filters=wanted)
    except (OSError, KeyError, pa.ArrowException) as error:
        reason, _, _ = str(error).partition("\n")
        raise ArtifactError(f"{path} does not say what the shards hold ({reason}). Run `dvc repro prepare`.") from error
    photos = manifest.count_photos(split)
    if len(table) != photos:
        raise ArtifactError(f"{path} lists {len(table)} photos of {split}, the shards hold {photos}. Prepare again.")
    counts: npt.NDArray[np.int64] = np.bincount(table["label"].to_numpy(), minlength=manifest.labels).astype(np.int64)
    return counts


def read_photo_column(shards: Path, column: str, image_ids: Sequence[str]) -> list[Any]:
    """A column of `photos.parquet` for some photos, in their order.

    Raises:
        ArtifactError: the table is missing or damaged, or lacks the column or a photo.
    """
    path = shards / PHOTOS_FILE
    try:
        table = pq.read_table(path, columns=["image_id", column])
    except (OSError, KeyError, pa.ArrowException) as error:
        reason, _, _ = str(error).partition("\n")  # what follows is all other columns
        raise ArtifactError(f"{path} gives no {column} of the photos ({reason}). Run `dvc repro prepare`.") from error
    rows = pc.index_in(pa.array(image_ids, pa.string()), table["image_id"].cast(pa.string()))
    if rows.null_count:
        raise ArtifactError(f"{path} lacks {rows.null_count} photos of the shards. Run `dvc repro prepare`.")
    return list(table[column].take(rows).to_pylist())
