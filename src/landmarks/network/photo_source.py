"""Where the input pipeline takes photos from: shards, decoded anew in every epoch, or a file of decoded photos.

Both hand out their photos shard by shard in stored order, so that a shuffled epoch is the same from either.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from landmarks.terminal import show_progress

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
}
_DECODE_BATCH = 256


class PhotoSource(Protocol):
    """Photos of equal size in shards.

    Attributes:
        image_size: side of the photos, s.
        shards: number of shards.
    """

    image_size: int
    shards: int

    def open_shard(self, shard: tf.Tensor) -> tf.data.Dataset:
        """Return a dataset of the records of a shard, by its number."""

    def read_batches(self, records: tf.data.Dataset, batch_size: int, drop_remainder: bool = True) -> tf.data.Dataset:
        """Read records to batches of photos, uint8 (b, s, s, 3), and labels, int32 (b,)."""


class EncodedPhotos:
    """The photos of TFRecord shards; they are decoded whenever they are read."""

    def __init__(self, files: Sequence[Path], image_size: int) -> None:
        self.image_size, self.shards = image_size, len(files)
        self._files = [str(path) for path in files]

    def open_shard(self, shard: tf.Tensor) -> tf.data.Dataset:
        """Return a dataset of the serialized examples of a shard, by its number."""
        return tf.data.TFRecordDataset(tf.gather(self._files, shard))

    def read_batches(self, records: tf.data.Dataset, batch_size: int, drop_remainder: bool = True) -> tf.data.Dataset:
        """Decode records to batches of photos, uint8 (b, s, s, 3), and labels, int32 (b,)."""

        def decode(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            example = tf.io.parse_single_example(record, _FEATURES)
            photo = tf.io.decode_png(example["image/encoded"], channels=3)
            photo = tf.ensure_shape(photo, (self.image_size, self.image_size, 3))
            return photo, tf.cast(example["image/class/label"], tf.int32)

        photos = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        return photos.batch(batch_size, drop_remainder=drop_remainder)


class DecodedPhotos:
    """The photos of TFRecord shards, decoded once into a memory-mapped file; a record is the row of a photo.

    The file has no name, so that it is gone when the process ends, however it ends.
    """

    def __init__(self, files: Sequence[Path], photos: Sequence[int], image_size: int, folder: Path) -> None:
        """Decode all photos.

        Args:
            files: the shards.
            photos: number of photos of each shard.
            image_size: side of the photos.
            folder: where the file is, on a disk with room for it; created if it does not exist.

        Raises:
            OSError: there is no room.
        """
        self.image_size, self.shards = image_size, len(files)
        self._ends = np.cumsum(photos, dtype=np.int64)
        total = int(self._ends[-1])
        self._labels = np.empty(total, np.int32)
        folder.mkdir(parents=True, exist_ok=True)
        records = tf.data.TFRecordDataset([str(path) for path in files])
        batches = EncodedPhotos(files, image_size).read_batches(records, _DECODE_BATCH, drop_remainder=False)
        with (
            tempfile.TemporaryFile(dir=folder) as stream,
            show_progress(description="decoding", total=total) as bar,
        ):
            for pixels, labels in batches.prefetch(2).as_numpy_iterator():
                self._labels[bar.n : bar.n + len(labels)] = labels
                stream.write(pixels.data)
                bar.update(len(labels))
            stream.flush()
            # written as a file, not through memory, where a full disk would end the process
            self._pixels: npt.NDArray[np.uint8] = np.memmap(
                stream, np.uint8, "r", shape=(total, image_size, image_size, 3)
            )

    def open_shard(self, shard: tf.Tensor) -> tf.data.Dataset:
        """Return a dataset of the rows of the photos of a shard, by its number."""
        ends = tf.constant(np.concatenate([[0], self._ends]))
        return tf.data.Dataset.range(ends[shard], ends[shard + 1])

    def read_batches(self, records: tf.data.Dataset, batch_size: int, drop_remainder: bool = True) -> tf.data.Dataset:
        """Read rows to batches of photos, uint8 (b, s, s, 3), and labels, int32 (b,)."""

        def read(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            photos = tf.numpy_function(lambda numbers: self._pixels[numbers], [rows], tf.uint8)
            photos = tf.ensure_shape(photos, (rows.shape[0], self.image_size, self.image_size, 3))
            return photos, tf.gather(self._labels, rows)

        return records.batch(batch_size, drop_remainder=drop_remainder).map(read)
