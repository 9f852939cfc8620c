"""Input pipeline: TFRecord shards to shuffled, decoded and augmented batches, with tf.data.

Order and augmentation of an epoch depend only on the seed and the number of the epoch, so a resumed training sees the
same batches as one without interruption, whether its photos are kept decoded or not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from landmarks.errors import DataError
from landmarks.network.photo_source import DecodedPhotos, EncodedPhotos, PhotoSource
from landmarks.params import AugmentationParams, TrainParams
from landmarks.processors import count_processors
from landmarks.schema.columns import Split
from landmarks.schema.vocabulary import Landmark
from landmarks.shards.format import ShardManifest, read_manifest
from landmarks.shards.photo_table import count_labels

_SHUFFLE_BYTES = 128 << 20  # counted as decoded photos; the buffer itself holds PNGs, which are smaller
_CYCLE = 8  # shards read at the same time, so that neighbours in one shard do not stay neighbours
_MEASURE_BATCH = 128  # photos per batch in inference mode
_GREY = (0.2989, 0.5870, 0.1140)  # weights of red, green and blue, as in `tf.image.rgb_to_grayscale`


@dataclass(frozen=True)
class TrainingData:
    """Data of one training, as datasets of (photos: uint8 (b, s, s, 3), labels: int32 (b,)).

    Attributes:
        train: from the number of an epoch, starting at 0, to its batches; all have `batch_size` photos. Augmented
            batches have two more parts, `others: int32 (b,)` and `shares: float32 (b,)`; see `blend`.
        val: from the number of an epoch to the validation photos, as large as its training photos.
        train_sample: likewise to a sample of training photos without augmentation, to measure accuracy in inference
            mode.
        batch_size: over all devices together.
        steps: batches per epoch.
        label_counts: training photos per label, int64 (labels,), with that of distractors.
        is_reduced: from the number of an epoch to whether its photos are smaller than those of the shards.
        none_label: the last label, of distractors (non-landmark photos), which val does not have; None without them.
    """

    train: Callable[[int], tf.data.Dataset]
    val: Callable[[int], tf.data.Dataset]
    train_sample: Callable[[int], tf.data.Dataset]
    batch_size: int
    steps: int
    label_counts: npt.NDArray[np.int64]
    is_reduced: Callable[[int], bool] = lambda _: False
    none_label: int | None = None


@dataclass(frozen=True)
class Distractors:
    """Distractors (non-landmark photos) in the batches of a training.

    Attributes:
        source: where they come from, again and again in every epoch.
        per_part: how many are in each part of a batch.
        parts: of a batch.
        label: their label.
    """

    source: PhotoSource
    per_part: int
    parts: int
    label: int

    @property
    def per_batch(self) -> int:
        """How many are in each batch."""
        return self.per_part * self.parts


def open_training_data(
    shards: Path,
    manifest: ShardManifest,
    landmarks: Sequence[Landmark],
    params: TrainParams,
    augmentation: AugmentationParams | None,
    work: Path,
) -> TrainingData:
    """Open the shards for a training.

    If there are fewer photos than a batch of `params.batch_size` takes, one batch holds as many of them as
    `params.parts` divides. In no more than `params.cache_bytes` the training photos are kept decoded, in a nameless
    file in the folder `work`. Shards without training distractors give no class "none".

    Raises:
        ArtifactError: the table of photos is missing or belongs to other shards.
        DataError: a landmark has no training photo in the shards, or there are no validation photos.
    """
    photos, val = manifest.count_photos(Split.TRAIN), manifest.count_photos(Split.VAL)
    counts = count_labels(shards, manifest, Split.TRAIN)
    untrained = [landmark.name for landmark in landmarks if counts[landmark.label] == 0]
    if untrained or photos < params.parts or not val:
        raise DataError(
            f"{shards} has {photos} training and {val} validation photos; landmarks without a training photo: "
            f"{', '.join(untrained[:5]) or 'none'}. Select more photos (section `select` of params.yaml); training "
            f"needs at least {params.parts}, train.parts."
        )
    size = manifest.image_format.image_size
    train_files, val_files = ([shards / shard.file for shard in manifest.splits[s]] for s in (Split.TRAIN, Split.VAL))
    source = _open_source(shards, manifest, Split.TRAIN, params, work)
    distractors = _open_distractors(shards, manifest, params, work)
    if distractors:
        counts = np.append(counts, manifest.count_photos(Split.DISTRACTORS_TRAIN))
    extra = distractors.per_batch if distractors else 0

    def choose_size(epoch: int) -> int:
        return choose_image_size(size, params, epoch)

    def measure(files: Sequence[Path], epoch: int, count: int | None = None) -> tf.data.Dataset:
        return read_batches(files, size, _MEASURE_BATCH, count, choose_size(epoch))

    batch_size = min(params.batch_size, photos - photos % params.parts + extra)
    return TrainingData(
        train=lambda epoch: read_training_batches(
            source, batch_size, params.seed, epoch, augmentation, choose_size(epoch), distractors
        ),
        val=lambda epoch: measure(val_files, epoch),
        train_sample=lambda epoch: measure(train_files, epoch, params.inference_accuracy_photos),
        batch_size=batch_size,
        steps=photos // (batch_size - extra),
        label_counts=counts,
        is_reduced=lambda epoch: choose_size(epoch) < size,
        none_label=distractors.label if distractors else None,
    )


def _open_source(shards: Path, manifest: ShardManifest, split: Split, params: TrainParams, work: Path) -> PhotoSource:
    """Open the photos of a split, decoded if they fit."""
    size, entries = manifest.image_format.image_size, manifest.splits[split]
    files, photos = [shards / shard.file for shard in entries], [shard.photos for shard in entries]
    if sum(photos) * size * size * 3 <= params.cache_bytes:
        return DecodedPhotos(files, photos, size, work)
    return EncodedPhotos(files, size)


def _open_distractors(shards: Path, manifest: ShardManifest, params: TrainParams, work: Path) -> Distractors | None:
    """Open the training distractors; None if there are none, or `train.distractor_fraction` is 0."""
    if not params.distractor_fraction or not manifest.count_photos(Split.DISTRACTORS_TRAIN):
        return None
    source = _open_source(shards, manifest, Split.DISTRACTORS_TRAIN, params, work)
    return Distractors(source, params.distractors_per_part, params.parts, manifest.labels)


def choose_image_size(image_size: int, params: TrainParams, epoch: int) -> int:
    """Return the side of the photos in an epoch, counted from 0, according to `train.resizing`.

    References:
        Howard, "Training Imagenet in 3 hours for USD 25", 2018 (progressive resizing).
    """
    done = epoch / params.epochs
    return next((min(step.image_size, image_size) for step in params.resizing if done < step.until), image_size)


def read_training_batches(
    source: PhotoSource,
    batch_size: int,
    seed: int,
    epoch: int,
    augmentation: AugmentationParams | None = None,
    reduced_size: int | None = None,
    distractors: Distractors | None = None,
) -> tf.data.Dataset:
    """Read one epoch of shuffled batches, in the format of `TrainingData.train`.

    An incomplete last batch is dropped. Photos are uint8 (b, s, s, 3), where s is `reduced_size` or else that of the
    source. With `distractors`, `batch_size` counts them too, and each part of a batch ends with its share of them.
    """
    # a prime above any number of epochs, so that two seeds never share the order of an epoch
    epoch_seed = seed * 100_003 + epoch
    size = reduced_size or source.image_size
    if distractors is None:
        batches = source.read_batches(_shuffle(source, batch_size, epoch_seed), batch_size)
    else:
        batches = _join_distractors(source, batch_size, epoch_seed, distractors)

    def finish(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        photos, labels = batch
        if augmentation is None:
            return _resize(photos, size), labels
        seeds = tf.unstack(tf.random.experimental.stateless_split(tf.stack([epoch_seed, step]), 2))
        changed = augment(photos, augmentation, seeds[0], size)
        return blend(changed, labels, augmentation, seeds[1])

    return _stream(batches.enumerate().map(finish, num_parallel_calls=tf.data.AUTOTUNE))


def _shuffle(source: PhotoSource, batch_size: int, epoch_seed: int) -> tf.data.Dataset:
    """Read the records of a source in the order of an epoch."""
    shards = tf.data.Dataset.range(source.shards).shuffle(source.shards, seed=epoch_seed)
    records = shards.interleave(source.open_shard, cycle_length=_CYCLE)
    waiting = max(batch_size, _SHUFFLE_BYTES // (source.image_size * source.image_size * 3))
    return records.shuffle(waiting, seed=epoch_seed)


def _join_distractors(
    source: PhotoSource, batch_size: int, epoch_seed: int, distractors: Distractors
) -> tf.data.Dataset:
    """Read batches whose parts each end with distractors."""
    parts, count = distractors.parts, distractors.per_batch
    landmarks = source.read_batches(_shuffle(source, batch_size, epoch_seed), batch_size - count)
    records = _shuffle(distractors.source, count, epoch_seed).repeat()
    others = distractors.source.read_batches(records, count)

    def join(own: tuple[tf.Tensor, tf.Tensor], other: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        pairs = zip(own, (other[0], tf.fill([count], distractors.label)), strict=True)
        return tuple(
            tf.reshape(
                tf.concat([tf.reshape(values, (parts, -1, *values.shape[1:])) for values in pair], axis=1),
                (batch_size, *pair[0].shape[1:]),
            )
            for pair in pairs
        )

    return tf.data.Dataset.zip((landmarks, others)).map(join)


def _resize(photos: tf.Tensor, size: int) -> tf.Tensor:
    if photos.shape[1] == size:
        return photos
    small = tf.image.resize(tf.cast(photos, tf.float32), (size, size), antialias=True)
    return tf.cast(tf.round(tf.clip_by_value(small, 0.0, 255.0)), tf.uint8)


def read_batches(
    files: Sequence[Path], image_size: int, batch_size: int, photos: int | None = None, reduced_size: int | None = None
) -> tf.data.Dataset:
    """Read batches (photos, labels) in stored order, at most `photos` photos; the last batch may be smaller.

    Photos of side `image_size` are resized to `reduced_size`, if it is given.
    """
    records = tf.data.TFRecordDataset([str(path) for path in files])
    if photos is not None:
        records = records.take(photos)
    batches = EncodedPhotos(files, image_size).read_batches(records, batch_size, drop_remainder=False)
    size = reduced_size or image_size
    return _stream(batches.map(lambda photos, labels: (_resize(photos, size), labels)))


def _stream(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch two batches on a private thread pool."""
    options = tf.data.Options()
    # The autotuning thread sleeps with exponential back-off, from 10 ms up to a minute, and an iterator waits for it to
    # close. This delayed the end of about every second epoch.
    options.autotune.enabled = False
    options.threading.private_threadpool_size = count_processors()
    return batches.prefetch(2).with_options(options)


def read_augmented_examples(
    shards: Path, params: AugmentationParams, versions: int = 15
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the first training photo, uint8 (s, s, 3), and augmented versions, uint8 (versions, s, s, 3)."""
    manifest = read_manifest(shards)
    files = [shards / shard.file for shard in manifest.splits[Split.TRAIN]]
    photos, _ = next(iter(read_batches(files, manifest.image_format.image_size, 1)))
    augmented = augment(tf.repeat(photos, versions, axis=0), params, tf.constant([0, 0], tf.int64))
    return photos[0].numpy(), augmented.numpy()


def augment(photos: tf.Tensor, params: AugmentationParams, seed: tf.Tensor, size: int | None = None) -> tf.Tensor:
    """Augment photos: random resized crop, horizontal flip, contrast, saturation and brightness.

    Args:
        photos: uint8 (n, s, s, 3).
        params: limits of each change.
        seed: integers (2,); the same seed gives the same changes.
        size: side of the results; s if None.

    Returns:
        uint8 (n, size, size, 3).
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 7))
    count = tf.shape(photos)[0]
    boxes = _draw_boxes(count, params, seeds[:5])
    side = size or photos.shape[1]
    # crops of the stored resolution; bilinear sampling alone would skip pixels where photos get smaller
    samples = -(-photos.shape[1] // side)
    cropped = tf.image.crop_and_resize(photos, boxes, tf.range(count), (side * samples, side * samples))
    if samples > 1:
        cropped = tf.nn.avg_pool2d(cropped, samples, samples, "VALID")
    coloured = _change_colours(cropped, params, seeds[5:])
    return tf.cast(tf.round(tf.raw_ops.ClipByValue(t=coloured, clip_value_min=0.0, clip_value_max=255.0)), tf.uint8)


def blend(
    photos: tf.Tensor, labels: tf.Tensor, params: AugmentationParams, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Apply mixup or CutMix to some of the batches: mix each photo with another photo of its batch.

    Args:
        photos: uint8 (n, s, s, 3).
        labels: int32 (n,).
        params: fractions of the batches that are mixed, and the shape of the mixtures.
        seed: integers (2,).

    Returns:
        photos: uint8 (n, s, s, 3).
        labels: int32 (n,), unchanged.
        others: int32 (n,), labels of the photos mixed in.
        shares: float32 (n,), weight of the photo itself in the mixture.

    References:
        Zhang et al., "mixup", 2018, equation 2; Yun et al., "CutMix", 2019, section 3.1.
    """
    choice, shape, place = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    drawn = tf.random.stateless_uniform([], choice)
    # batches are shuffled already, so the reversed batch is a random partner for each photo
    partners = tf.cast(photos[::-1], tf.float32)

    def keep() -> tuple[tf.Tensor, tf.Tensor]:
        return photos, tf.ones(tf.shape(labels), tf.float32)

    def mix(weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixed = tf.cast(photos, tf.float32) * weights + partners * (1.0 - weights)
        return tf.cast(tf.round(mixed), tf.uint8), tf.reduce_mean(weights, axis=[1, 2, 3])

    mixed, shares = tf.case(
        [
            (drawn < params.mixup_fraction, lambda: mix(_draw_shares(photos, params.mixup_alpha, shape))),
            (drawn < params.mixup_fraction + params.cutmix_fraction, lambda: mix(_draw_masks(photos, place))),
        ],
        default=keep,
    )
    return mixed, labels, labels[::-1], shares


def _draw_shares(photos: tf.Tensor, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Draw mixup shares (n, 1, 1, 1) from Beta(alpha, alpha): max(share, 1 - share), so the own label dominates."""
    # a Beta variable is a ratio of Gamma variables; TensorFlow has no stateless sampler of Beta itself
    gammas = tf.random.stateless_gamma([2, tf.shape(photos)[0], 1, 1, 1], seed, alpha)
    return tf.reduce_max(gammas, axis=0) / tf.maximum(tf.reduce_sum(gammas, axis=0), 1e-30)


def _draw_masks(photos: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw CutMix masks (n, s, s, 1): 0 in a rectangle of uniform area, clipped at the border, and 1 elsewhere."""
    drawn = tf.random.stateless_uniform([3, tf.shape(photos)[0], 1], seed)
    half = tf.sqrt(1.0 - drawn[0]) / 2.0
    side = tf.cast(tf.shape(photos)[1], tf.float32)
    places = (tf.range(side) + 0.5)[None] / side
    rows, columns = (tf.abs(places - centre) < half for centre in (drawn[1], drawn[2]))
    inside = tf.logical_and(rows[:, :, None], columns[:, None, :])
    return 1.0 - tf.cast(inside, tf.float32)[..., None]


def _draw_boxes(count: tf.Tensor, params: AugmentationParams, seeds: Sequence[tf.Tensor]) -> tf.Tensor:
    """Draw crop boxes (n, 4) as y1, x1, y2, x2 in 0..1; x1 > x2 flips the photo."""
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
    """Change contrast around the mean of a photo, then saturation around grey, then brightness.

    All three are linear, so that they are one sum: a part of the photo, a part of its grey, and a constant.
    """
    change = tf.random.stateless_uniform([3, tf.shape(photos)[0], 1, 1, 1], seeds[0], -1.0, 1.0)
    contrast, saturation = 1.0 + params.contrast * change[0], 1.0 + params.saturation * change[1]
    mean = tf.reduce_mean(photos, axis=[1, 2, 3], keepdims=True)
    grey = tf.tensordot(photos, tf.constant(_GREY)[:, None], 1)
    constant = (1.0 - contrast) * mean * (saturation + (1.0 - saturation) * sum(_GREY))
    constant += 255.0 * params.brightness * change[2]
    return photos * (contrast * saturation) + (grey * (contrast * (1.0 - saturation)) + constant)
