"""Plan the shards of a selection: the order of the photos, the shard boundaries and the fingerprint."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc

from landmarks.errors import ArtifactError, DataError
from landmarks.files.digests import compute_fingerprint, compute_sha256
from landmarks.params import PrepareParams
from landmarks.photos.places import Place
from landmarks.photos.sources import open_source
from landmarks.schema.columns import DISTRACTOR_LABEL, LANDMARK_SPLITS, Split
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.parquet import read_parquet
from landmarks.schema.vocabulary import VOCABULARY_FILE, Landmark, read_vocabulary
from landmarks.shards.photo_table import check_attributions
from landmarks.shards.worker import ShardTask
from landmarks.tables.photo_set import DISTRACTORS_FILE, IMAGES_FILE, PLACE_COLUMNS, SOURCE_FILE, read_sources

_PHOTO_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "label": pa.int32(),
        "split": pa.string(),
        "path": pa.string(),
        "offset": pa.int64(),
        "compressed_bytes": pa.int64(),
        "method": pa.int8(),
    }
)
_REMEDY = "Run `dvc repro select`."
_SLICE = 1 << 16  # rows converted to Python objects at once, to bound memory


@dataclass(frozen=True)
class PlannedShard:
    """A shard of the rows `start` … `stop - 1` of the plan's photos."""

    split: Split
    file: str
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """All selected photos in the order of the shards, and the shard boundaries.

    Attributes:
        photos: image_id, label, split, and where each is: path, offset, compressed_bytes and method.
        shards: in order.
        landmarks: the vocabulary.
        source: the photo sources, by `photos` and `distractors`.
        image_format: of the prepared photos.
        fingerprint: digest of all inputs that determine the content of the shards, except the code.
    """

    photos: pa.Table
    shards: tuple[PlannedShard, ...]
    landmarks: tuple[Landmark, ...]
    source: Mapping[str, Any]
    image_format: ImageFormat
    fingerprint: str

    def iterate_tasks(self, folder: Path) -> Iterator[ShardTask]:
        """Yield each shard as a task that writes into `folder`."""
        for shard in self.shards:
            rows = self.photos.slice(shard.start, shard.stop - shard.start)
            columns = [rows[name].to_pylist() for name in ("image_id", *PLACE_COLUMNS)]
            places = tuple(Place(*row) for row in zip(*columns, strict=True))
            kind = "photos" if shard.split in LANDMARK_SPLITS else "distractors"
            labels = tuple(rows["label"].to_pylist())
            yield ShardTask(folder, shard.file, self.source[kind], self.image_format, places, labels)


def read_plan(selected: Path, params: PrepareParams) -> Plan:
    """Read `data/selected` and plan its shards.

    Raises:
        ArtifactError: a table is missing or damaged, or does not belong to the vocabulary.
        DataError: nothing is selected, or a photo source is missing.
    """
    image_format = ImageFormat(params.image_size, params.fit, params.max_pixels)
    source = read_sources(selected)
    photos = _shuffle(_read_photos(selected))
    check_attributions(selected)
    if not len(photos):
        raise DataError(f"{selected} selects no photos. Relax the bounds in the section `select` of params.yaml.")
    planned = tuple(_cut_into_shards(photos, params.photos_per_shard))
    # Fail now rather than in a worker if a source is missing.
    for kind in {"photos" if shard.split in LANDMARK_SPLITS else "distractors" for shard in planned}:
        open_source(source.get(kind, {}))
    landmarks = read_vocabulary(selected / VOCABULARY_FILE)
    if pc.max(photos["label"]).as_py() >= len(landmarks):
        raise ArtifactError(f"{selected / VOCABULARY_FILE} lacks labels of {IMAGES_FILE}. Run `dvc repro select`.")
    fingerprint = compute_fingerprint(
        {
            "selected": compute_sha256(selected / SOURCE_FILE),  # which has the digests of the tables
            "image_format": asdict(image_format),
            "photos_per_shard": params.photos_per_shard,
            "pillow": PIL.__version__,  # another version may decode or resize to slightly different pixels
        }
    )
    return Plan(photos, planned, landmarks, source, image_format, fingerprint)


def _read_photos(selected: Path) -> pa.Table:
    types = dict(zip(_PHOTO_SCHEMA.names, _PHOTO_SCHEMA.types, strict=True))
    images = read_parquet(selected / IMAGES_FILE, types, remedy=_REMEDY)
    types.pop("label")
    distractors = read_parquet(selected / DISTRACTORS_FILE, types, remedy=_REMEDY)
    label = pa.array(np.full(len(distractors), DISTRACTOR_LABEL, np.int32))
    tables = (images, distractors.append_column("label", label))
    # The cast gives both tables the same schema; contiguous columns make the slices of tasks cheap.
    return pa.concat_tables(
        [table.select(_PHOTO_SCHEMA.names).cast(_PHOTO_SCHEMA) for table in tables]
    ).combine_chunks()


def _shuffle(photos: pa.Table) -> pa.Table:
    """Sort by split, then by a hash of the id: an order that mixes labels and does not depend on the table's."""
    split = pc.index_in(photos["split"], pa.array([split.value for split in Split])).to_numpy()
    slices = (photos["image_id"].slice(start, _SLICE) for start in range(0, len(photos), _SLICE))
    ids = (image_id for part in slices for image_id in part.to_pylist())
    digests = (hashlib.blake2b(image_id.encode(), digest_size=8).digest() for image_id in ids)
    hashes = np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64, len(photos))
    return photos.take(np.lexsort((hashes, split)))


def _cut_into_shards(photos: pa.Table, photos_per_shard: int) -> Iterator[PlannedShard]:
    start = 0
    for split in Split:
        count = pc.sum(pc.equal(photos["split"], split.value)).as_py() or 0
        end = start + count
        number_of_shards = -(-count // photos_per_shard)
        for number in range(number_of_shards):
            first = start + number * photos_per_shard
            file = f"{split}-{number:05d}-of-{number_of_shards:05d}.tfrecord"
            yield PlannedShard(split, file, first, min(first + photos_per_shard, end))
        start = end
