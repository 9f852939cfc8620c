"""The shard format: prepared photos in TFRecord files, and the manifest that lists them. Needs no TensorFlow."""

import io
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from landmarks.errors import ArtifactError
from landmarks.files.seals import FILES, check_files, compute_digests, read_sealed, write_sealed
from landmarks.files.writing import replace_file
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat, Pixels
from landmarks.shards.tfrecord import frame_record, get_example_class, read_records

SHARDS_FORMAT = 3  # increased when earlier shards can no longer be read
MANIFEST_FILE = "shards.json"
PHOTOS_FILE = "photos.parquet"
_REBUILD = "Run `dvc repro prepare`."

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Record:
    """One prepared photo; `encoded` is a PNG of `image_size` pixels square, `label` is -1 for a distractor."""

    image_id: str
    label: int
    encoded: bytes
    image_size: int


@dataclass(frozen=True)
class Shard:
    """One TFRecord file of a split."""

    file: str
    photos: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardManifest:
    """The content of `shards.json`. Every split has an entry, which is empty if it has no shards.

    `files` has the SHA-256 of vocabulary and table of photos, by name.
    """

    image_format: ImageFormat
    labels: int
    splits: Mapping[Split, tuple[Shard, ...]]
    files: Mapping[str, str]
    fingerprint: str

    def count_photos(self, split: Split) -> int:
        """Return the number of photos of a split."""
        return sum(shard.photos for shard in self.splits[split])


def write_shard(path: Path, records: Iterable[Record]) -> int:
    """Write records to a TFRecord file atomically and return their number."""
    count = 0
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        for record in records:
            stream.write(frame_record(_encode_record(record)))
            count += 1
    return count


def read_shard(path: Path) -> Iterator[Record]:
    """Yield the records of a TFRecord file, in order.

    Raises:
        ArtifactError: the file is missing, damaged, or contains other records.
    """
    for data in read_records(path):
        yield _parse_record(data, path)


def read_split(folder: Path, split: Split) -> Iterator[tuple[str, int, Pixels]]:
    """Yield id, label and pixels, uint8 (s, s, 3), of every photo of a split.

    Raises:
        ArtifactError: a file is missing or damaged, or an image does not have the size in the manifest.
    """
    manifest = read_manifest(folder)
    for shard in manifest.splits[split]:
        for record in read_shard(folder / shard.file):
            yield (
                record.image_id,
                record.label,
                _decode_pixels(record, manifest.image_format.image_size, folder / shard.file),
            )


def read_photos(folder: Path, split: Split, rows: Collection[int]) -> dict[int, Pixels]:
    """Read some photos of a split, uint8 (s, s, 3), by their row, without decoding the others.

    Raises:
        ArtifactError: as `read_split`.
    """
    manifest = read_manifest(folder)
    photos: dict[int, Pixels] = {}
    start = 0
    for shard in manifest.splits[split]:
        path, wanted = folder / shard.file, {row - start for row in rows if start <= row < start + shard.photos}
        for row, data in enumerate(read_records(path) if wanted else ()):  # other shards are not even opened
            if row in wanted:
                photos[start + row] = _decode_pixels(_parse_record(data, path), manifest.image_format.image_size, path)
        start += shard.photos
    return photos


def iterate_batches(folder: Path, split: Split, batch_size: int) -> Iterator[tuple[list[str], Labels, Pixels]]:
    """Yield a split in batches: ids, labels int32 (n,) and pixels uint8 (n, s, s, 3). The last may be smaller.

    Raises:
        ArtifactError: as `read_split`.
    """
    batch: list[tuple[str, int, Pixels]] = []
    for item in read_split(folder, split):
        batch.append(item)
        if len(batch) == batch_size:
            yield _stack(batch)
            batch = []
    if batch:
        yield _stack(batch)


def write_manifest(
    folder: Path, image_format: ImageFormat, labels: int, splits: Mapping[Split, Iterable[Shard]]
) -> ShardManifest:
    """Write `shards.json` beside the shards; splits not in `splits` get an empty entry.

    Vocabulary and table of photos are in the folder already; shards may follow.
    """
    shards = {split: tuple(splits.get(split, ())) for split in Split}
    listed = {shard.file for items in shards.values() for shard in items}
    content: dict[str, Any] = {
        "format": SHARDS_FORMAT,
        "image_format": asdict(image_format),
        "labels": labels,
        "splits": {
            split.value: {"photos": sum(s.photos for s in items), "shards": [asdict(s) for s in items]}
            for split, items in shards.items()
        },
        FILES: compute_digests(folder, listed),
    }
    fingerprint = write_sealed(folder / MANIFEST_FILE, content)
    return ShardManifest(image_format, labels, shards, content[FILES], fingerprint)


def read_manifest(folder: Path) -> ShardManifest:
    """Read `shards.json` and compare the sizes of the shards with it.

    Raises:
        ArtifactError: the manifest is missing, was altered or has another format version, or a shard is missing or
            does not match the manifest.
    """
    path = folder / MANIFEST_FILE
    content = read_sealed(path, _REBUILD)
    if content.get("format") != SHARDS_FORMAT:
        raise ArtifactError(
            f"{path} has format {content.get('format')!r}, this version reads {SHARDS_FORMAT}. Run `dvc repro`."
        )
    try:
        splits = {split: tuple(Shard(**shard) for shard in content["splits"][split]["shards"]) for split in Split}
        manifest = ShardManifest(
            ImageFormat(**content["image_format"]), content["labels"], splits, content[FILES], content["fingerprint"]
        )
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not a manifest of shards ({error!r}). {_REBUILD}") from error
    for shard in (shard for shards in manifest.splits.values() for shard in shards):
        file = folder / shard.file
        if not file.is_file():
            raise ArtifactError(f"{file} is missing. {_REBUILD}")
        if file.stat().st_size != shard.bytes:  # cheap, so it is compared at every reading
            raise ArtifactError(f"{file} is damaged or incomplete. Delete it. {_REBUILD}")
    return manifest


def open_shards(folder: Path, splits: Collection[Split] = ()) -> ShardManifest:
    """Read `shards.json`, and compare vocabulary, table of photos and the shards of some splits with their digests.

    A stage does this once, at its start. Records have checksums too, but a file of another build has right ones.

    Args:
        folder: `data/shards`.
        splits: that the stage reads.

    Raises:
        ArtifactError: a file is missing, was altered, or has another format version.
    """
    manifest = read_manifest(folder)
    shards = {shard.file: shard.sha256 for split in splits for shard in manifest.splits[split]}
    check_files(folder, {**manifest.files, **shards}, remedy=_REBUILD)
    return manifest


def encode_png(pixels: Pixels) -> bytes:
    """Encode RGB pixels as PNG.

    Args:
        pixels: uint8 (height, width, 3).
    """
    # Run-length encoding only: twice as fast as zlib's lowest level, and no larger on photos.
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()


def decode_png(data: bytes) -> Pixels:
    """Decode a PNG from `encode_png`: uint8 (height, width, 3)."""
    with PngImageFile(io.BytesIO(data)) as image:  # not Image.open, which would also accept other formats
        return np.asarray(image)


def _encode_record(record: Record) -> bytes:
    # The keys follow TensorFlow's own image data sets, so that other tools can read the shards.
    example = get_example_class()()
    feature = example.features.feature
    feature["image/encoded"].bytes_list.value.append(record.encoded)
    feature["image/height"].int64_list.value.append(record.image_size)
    feature["image/width"].int64_list.value.append(record.image_size)
    feature["image/format"].bytes_list.value.append(b"PNG")
    feature["image/id"].bytes_list.value.append(record.image_id.encode())
    feature["image/class/label"].int64_list.value.append(record.label)
    # Without `deterministic`, protobuf may write the entries of the map in any order.
    encoded: bytes = example.SerializeToString(deterministic=True)
    return encoded


def _parse_record(data: bytes, path: Path) -> Record:
    try:
        feature = get_example_class().FromString(data).features.feature
        return Record(
            image_id=feature["image/id"].bytes_list.value[0].decode(),
            label=feature["image/class/label"].int64_list.value[0],
            encoded=feature["image/encoded"].bytes_list.value[0],
            image_size=feature["image/height"].int64_list.value[0],
        )
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} does not contain photos written by `prepare`. Run `dvc repro prepare`.") from error


def _decode_pixels(record: Record, image_size: int, path: Path) -> Pixels:
    try:
        pixels = decode_png(record.encoded)
    except (OSError, SyntaxError, ValueError) as error:
        raise ArtifactError(f"{path}: photo {record.image_id} is not a PNG. Run `dvc repro prepare`.") from error
    if pixels.shape != (image_size, image_size, 3):
        raise ArtifactError(
            f"{path}: photo {record.image_id} has shape {pixels.shape}, the manifest says {image_size} pixels square "
            "in RGB. Run `dvc repro prepare`."
        )
    return pixels


def _stack(batch: list[tuple[str, int, Pixels]]) -> tuple[list[str], Labels, Pixels]:
    image_ids, labels, pixels = zip(*batch, strict=True)
    return list(image_ids), np.array(labels, np.int32), np.stack(pixels)
