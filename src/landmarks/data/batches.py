"""Shards as a stream of training batches: read, shuffled, decoded and augmented by TensorFlow.

The order and the augmentation of an epoch depend on the seed and the epoch's number alone, so a training that goes on
after a stop sees the photos it would have seen. What waits in the shuffle buffer is encoded and bounded in bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from landmarks.data.schema import Split
from landmarks.data.shards import ShardManifest
from landmarks.data.vocabulary import Landmark
from landmarks.errors import DataError
from landmarks.params import AugmentationParams, TrainParams

_SHUFFLE_BYTES = 128 << 20
_CYCLE = 8
_MEASURE_BATCH = 128
_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
}


@dataclass(frozen=True)
class TrainingData:
    """The photos a training sees, as datasets of (photos: uint8 (b, s, s, 3), labels: int32 (b,)).

    Attributes:
        train: the batches of an epoch, given its number from 0; all of `batch_size`.
        val: the validation photos.
        train_sample: training photos as they are, without augmentation, to measure in inference mode.
        batch_size: over all devices together.
        steps: batches in an epoch.
        label_counts: training photos of each label, int64 (labels,).
    """

    train: Callable[[int], tf.data.Dataset]
    val: Callable[[], tf.data.Dataset]
    train_sample: Callable[[], tf.data.Dataset]
    batch_size: int
    steps: int
    label_counts: npt.NDArray[np.int64]


def open_training_data(
    shards: Path,
    manifest: ShardManifest,
    landmarks: Sequence[Landmark],
    params: TrainParams,
    augmentation: AugmentationParams | None,
) -> TrainingData:
    """Read the shards for a training; with fewer photos than `params.batch_size`, all of them are one batch.

    Raises:
        DataError: a landmark has no training photo, or there are no validation photos.
    """
    photos, val = manifest.count_photos(Split.TRAIN), manifest.count_photos(Split.VAL)
    untrained = [landmark.name for landmark in landmarks if landmark.train == 0]
    if untrained or not photos or not val:
        raise DataError(
            f"{shards} has {photos} training and {val} validation photos; landmarks without a training photo: "
            f"{', '.join(untrained[:5]) or 'none'}. Select more photos (section `select` of params.yaml)."
        )
    size, batch_size = manifest.image_size, min(params.batch_size, photos)
    train_files, val_files = ([shards / shard.file for shard in manifest.splits[s]] for s in (Split.TRAIN, Split.VAL))
    return TrainingData(
        train=lambda epoch: read_training_batches(train_files, size, batch_size, params.seed, epoch, augmentation),
        val=lambda: read_batches(val_files, size, _MEASURE_BATCH),
        train_sample=lambda: read_batches(train_files, size, _MEASURE_BATCH, params.inference_accuracy_photos),
        batch_size=batch_size,
        steps=photos // batch_size,
        label_counts=np.array([landmark.train for landmark in landmarks]),
    )


def read_training_batches(
    files: Sequence[Path],
    image_size: int,
    batch_size: int,
    seed: int,
    epoch: int,
    augmentation: AugmentationParams | None = None,
) -> tf.data.Dataset:
    """One epoch of (photos: uint8 (b, s, s, 3), labels: int32 (b,)), shuffled; an incomplete last batch is left out."""
    epoch_seed = seed * 100_003 + epoch
    paths = tf.data.Dataset.from_tensor_slices([str(path) for path in files]).shuffle(len(files), seed=epoch_seed)
    records = paths.interleave(tf.data.TFRecordDataset, cycle_length=_CYCLE)
    shuffled = records.shuffle(max(batch_size, _SHUFFLE_BYTES // (image_size * image_size * 3)), seed=epoch_seed)
    batches = _decode(shuffled, image_size).batch(batch_size, drop_remainder=True)
    if augmentation is not None:
        batches = batches.enumerate().map(
            lambda step, batch: (augment(batch[0], augmentation, tf.stack([epoch_seed, step])), batch[1]),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return batches.prefetch(2)


def read_batches(files: Sequence[Path], image_size: int, batch_size: int, photos: int | None = None) -> tf.data.Dataset:
    """(photos, labels) in stored order, the last batch perhaps smaller; at most `photos` of them."""
    records = tf.data.TFRecordDataset([str(path) for path in files])
    if photos is not None:
        records = records.take(photos)
    return _decode(records, image_size).batch(batch_size).prefetch(2)


def _decode(records: tf.data.Dataset, image_size: int) -> tf.data.Dataset:
    def decode(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(record, _FEATURES)
        photo = tf.io.decode_png(example["image/encoded"], channels=3)
        photo = tf.ensure_shape(photo, (image_size, image_size, 3))
        return photo, tf.cast(example["image/class/label"], tf.int32)

    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)


def read_augmented_examples(
    files: Sequence[Path], image_size: int, versions: int, params: AugmentationParams
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The first photo, uint8 (s, s, 3), and augmented versions of it, uint8 (versions, s, s, 3)."""
    photos, _ = next(iter(read_batches(files, image_size, 1)))
    augmented = augment(tf.repeat(photos, versions, axis=0), params, tf.constant([0, 0], tf.int64))
    return photos[0].numpy(), augmented.numpy()


def augment(photos: tf.Tensor, params: AugmentationParams, seed: tf.Tensor) -> tf.Tensor:
    """Change photos at random: a crop brought back to full size, a mirror image, brightness, contrast and saturation.

    Args:
        photos: uint8 (n, s, s, 3).
        params: how far each change may go.
        seed: int64 (2,); the same seed gives the same changes.

    Returns:
        uint8 (n, s, s, 3).
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 7))
    count = tf.shape(photos)[0]
    boxes = _draw_boxes(count, params, seeds[:5])
    cropped = tf.image.crop_and_resize(photos, boxes, tf.range(count), tf.shape(photos)[1:3])
    coloured = _change_colours(cropped, params, seeds[5:])
    return tf.cast(tf.round(tf.clip_by_value(coloured, 0.0, 255.0)), tf.uint8)


def _draw_boxes(count: tf.Tensor, params: AugmentationParams, seeds: Sequence[tf.Tensor]) -> tf.Tensor:
    """Boxes (n, 4) as y1, x1, y2, x2 in 0..1; x runs backwards where the photo is mirrored."""
    area = tf.random.stateless_uniform([count], seeds[0], params.min_crop_area_fraction, 1.0)
    log_aspect = tf.math.log(tf.constant(params.max_aspect_ratio, tf.float32))
    aspect = tf.exp(tf.random.stateless_uniform([count], seeds[1], -log_aspect, log_aspect))
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    top = tf.random.stateless_uniform([count], seeds[2]) * (1.0 - height)
    left = tf.random.stateless_uniform([count], seeds[3]) * (1.0 - width)
    mirrored = tf.logical_and(params.flip, tf.random.stateless_uniform([count], seeds[4]) < 0.5)
    starts = tf.where(mirrored, left + width, left)
    ends = tf.where(mirrored, left, left + width)
    return tf.stack([top, starts, top + height, ends], axis=1)


def _change_colours(photos: tf.Tensor, params: AugmentationParams, seeds: Sequence[tf.Tensor]) -> tf.Tensor:
    change = tf.random.stateless_uniform([3, tf.shape(photos)[0], 1, 1, 1], seeds[0], -1.0, 1.0)
    mean = tf.reduce_mean(photos, axis=[1, 2, 3], keepdims=True)
    photos = mean + (photos - mean) * (1.0 + params.contrast * change[0])
    grey = tf.image.rgb_to_grayscale(photos)
    photos = grey + (photos - grey) * (1.0 + params.saturation * change[1])
    return photos + 255.0 * params.brightness * change[2]
