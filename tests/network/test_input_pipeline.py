"""Batches: every photo once an epoch, the order and the changes settled by seed and epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from landmarks.network.input_pipeline import (
    Distractors,
    _change_colours,
    augment,
    blend,
    choose_image_size,
    read_batches,
    read_training_batches,
)
from landmarks.network.photo_source import DecodedPhotos, EncodedPhotos
from landmarks.params import AugmentationParams, ResizingStep, read_params
from landmarks.shards.format import Record, encode_png, write_shard

ROOT = Path(__file__).parents[2]

SIZE = 32
NOTHING = AugmentationParams(
    flip=False,
    min_crop_area_fraction=1.0,
    max_aspect_ratio=1.0,
    center_crop=1.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    mixup_fraction=0.0,
    mixup_alpha=0.2,
    cutmix_fraction=0.0,
)
STRONG = {
    "flip": True, "min_crop_area_fraction": 0.5, "max_aspect_ratio": 1.3,
    "brightness": 0.2, "contrast": 0.3, "saturation": 0.3, "mixup_fraction": 0.4, "cutmix_fraction": 0.4,
}  # fmt: skip


def make_params(**changes: object) -> AugmentationParams:
    return AugmentationParams.model_validate(NOTHING.model_dump() | changes)


def make_photos(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    photos = make_photos(50)
    paths = [folder / f"{i}.tfrecord" for i in range(3)]
    for i, path in enumerate(paths):
        rows = range(i, 50, 3)
        write_shard(path, [Record(f"{row:016x}", row, encode_png(photos[row]), SIZE) for row in rows])
    return paths


def read_epoch(shards: list[Path], *args: Any, **options: Any) -> tf.data.Dataset:
    return read_training_batches(EncodedPhotos(shards, SIZE), *args, **options)


def collect_labels(dataset: tf.data.Dataset) -> list[int]:
    return [int(label) for _, labels in dataset.as_numpy_iterator() for label in labels]


def test_an_epoch_shows_every_photo_once_in_a_new_order(shards: list[Path]) -> None:
    first = collect_labels(read_epoch(shards, 10, seed=1, epoch=0))
    assert sorted(first) == list(range(50))
    assert collect_labels(read_epoch(shards, 10, seed=1, epoch=0)) == first
    assert collect_labels(read_epoch(shards, 10, seed=1, epoch=1)) != first
    assert collect_labels(read_epoch(shards, 10, seed=2, epoch=0)) != first


def test_no_thread_of_autotuning_can_hold_up_the_end_of_an_epoch(shards: list[Path]) -> None:
    for batches in (read_epoch(shards, 10, seed=0, epoch=0), read_batches(shards, SIZE, 16)):
        assert batches.options().autotune.enabled is False


def test_the_incomplete_last_batch_is_left_out_of_training_alone(shards: list[Path]) -> None:
    assert len(collect_labels(read_epoch(shards, 16, seed=1, epoch=0))) == 48
    assert len(collect_labels(read_batches(shards, SIZE, 16))) == 50
    assert len(collect_labels(read_batches(shards, SIZE, 16, photos=7))) == 7


def test_photos_arrive_as_they_were_stored(shards: list[Path]) -> None:
    photos = make_photos(50)
    for batch, labels in read_epoch(shards, 10, seed=0, epoch=0).as_numpy_iterator():
        np.testing.assert_array_equal(batch, photos[labels])


def test_augmented_epochs_repeat_exactly_and_differ_from_each_other(shards: list[Path]) -> None:
    strong = make_params(**STRONG)
    once, again, later = (
        np.concatenate([b for b, *_ in read_epoch(shards, 10, 3, epoch, strong).as_numpy_iterator()])
        for epoch in (0, 0, 1)
    )
    np.testing.assert_array_equal(once, again)
    assert (once != later).mean() > 0.5


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five distractors, each of one grey."""
    path = tmp_path_factory.mktemp("others") / "0.tfrecord"
    greys = [np.full((SIZE, SIZE, 3), 10 * number, np.uint8) for number in range(5)]
    write_shard(path, [Record(f"{number:016x}", -1, encode_png(grey), SIZE) for number, grey in enumerate(greys)])
    return path


@pytest.mark.parametrize("is_decoded", [True, False])
def test_every_part_of_a_batch_ends_with_its_distractors(
    shards: list[Path], others: Path, tmp_path: Path, is_decoded: bool
) -> None:
    source = DecodedPhotos([others], [5], SIZE, tmp_path) if is_decoded else EncodedPhotos([others], SIZE)
    distractors = Distractors(source, per_part=2, parts=2, label=99)
    photos, seen, greys = make_photos(50), [], []
    epochs = [
        list(read_epoch(shards, 14, 1, epoch, distractors=distractors).as_numpy_iterator()) for epoch in (0, 0, 1)
    ]
    assert [len(batches) for batches in epochs] == [5, 5, 5]
    for batch, labels in epochs[0]:
        for part, own in zip(np.split(batch, 2), np.split(labels, 2), strict=True):
            assert own[-2:].tolist() == [99, 99]
            np.testing.assert_array_equal(part[:-2], photos[own[:-2]])
            greys += [int(photo[0, 0, 0]) for photo in part[-2:] if (photo == photo[0, 0, 0]).all()]
            seen += own[:-2].tolist()
    assert sorted(seen) == list(range(50))
    assert len(greys) == 20
    assert {greys.count(grey) for grey in (0, 10, 20, 30, 40)} == {4}  # again and again, all as often
    for (one, _), (again, _), (later, _) in zip(*epochs, strict=True):
        np.testing.assert_array_equal(one, again)
        assert (one != later).any()


@pytest.mark.parametrize(("params", "reduced_size"), [(None, None), (STRONG, None), (STRONG, 16)])
def test_decoded_photos_make_the_same_epoch_and_leave_no_file(
    shards: list[Path], tmp_path: Path, params: dict[str, object] | None, reduced_size: int | None
) -> None:
    decoded = DecodedPhotos(shards, [17, 17, 16], SIZE, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []
    augmentation = make_params(**params) if params else None
    for epoch in range(2):
        epochs = [
            list(read_training_batches(source, 8, 3, epoch, augmentation, reduced_size).as_numpy_iterator())
            for source in (EncodedPhotos(shards, SIZE), decoded)
        ]
        assert [len(batches) for batches in epochs] == [6, 6]
        for one, other in zip(*epochs, strict=True):
            for expected, found in zip(one, other, strict=True):
                np.testing.assert_array_equal(found, expected)


def test_colours_change_one_after_the_other() -> None:
    """The one sum that is computed is contrast, then saturation, then brightness."""
    photos = make_photos(6).astype(np.float32)
    params, seed = make_params(contrast=0.4, saturation=0.5, brightness=0.3), tf.constant([1, 2])
    change = tf.random.stateless_uniform([3, 6, 1, 1, 1], seed, -1.0, 1.0).numpy()
    mean = photos.mean(axis=(1, 2, 3), keepdims=True)
    expected = mean + (photos - mean) * (1 + 0.4 * change[0])
    grey = tf.image.rgb_to_grayscale(expected).numpy()
    expected = grey + (expected - grey) * (1 + 0.5 * change[1]) + 255 * 0.3 * change[2]
    np.testing.assert_allclose(_change_colours(tf.constant(photos), params, [seed]), expected, atol=2e-3)


def change(photos: np.ndarray, seed: int = 0, **changes: object) -> np.ndarray:
    changed: np.ndarray = augment(tf.constant(photos), make_params(**changes), tf.constant([seed, 0], tf.int64)).numpy()
    assert changed.dtype == np.uint8
    return changed


def test_no_change_is_no_change() -> None:
    photos = make_photos(4)
    np.testing.assert_array_equal(change(photos), photos)


def test_flip_mirrors_about_half_and_changes_nothing_else() -> None:
    photos = make_photos(200)
    flipped = change(photos, flip=True)
    mirrored = (flipped == photos[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (flipped == photos).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 70 < mirrored.sum() < 130


def test_crops_stay_inside_and_keep_at_least_the_given_area() -> None:
    ramp = np.linspace(0, 255, SIZE)[None, :, None] * np.ones((SIZE, 1, 3))
    wide = change(np.repeat(ramp[None].astype(np.uint8), 300, axis=0), min_crop_area_fraction=0.5, max_aspect_ratio=1.5)
    seen = (wide[:, 0, -1, 0].astype(int) - wide[:, 0, 0, 0]) / 255
    assert seen.min() >= 0.5 / 1.0 - 0.05
    assert seen.min() < 0.7
    assert seen.max() > 0.95


def test_brightness_shifts_within_its_bound() -> None:
    grey = np.full((300, SIZE, SIZE, 3), 128, np.uint8)
    shift = change(grey, brightness=0.2)[:, 0, 0, 0].astype(int) - 128
    assert -52 <= shift.min() < -40
    assert 40 < shift.max() <= 52


def test_saturation_leaves_grey_alone_and_contrast_keeps_the_mean() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(60, 190, (8, SIZE, SIZE, 1)).astype(np.uint8), 3, axis=3)
    assert np.abs(change(grey, saturation=0.5).astype(int) - grey).max() <= 1
    contrasted = change(grey, contrast=0.3)
    assert np.abs(contrasted.mean(axis=(1, 2, 3)) - grey.mean(axis=(1, 2, 3))).max() < 0.6
    assert np.abs(contrasted.std(axis=(1, 2, 3)) / grey.std(axis=(1, 2, 3)) - 1).max() > 0.1


def mix(photos: np.ndarray, labels: np.ndarray, seed: int = 0, **changes: object) -> list[np.ndarray]:
    params = make_params(**changes)
    mixed = blend(tf.constant(photos), tf.constant(labels), params, tf.constant([seed, 1], tf.int64))
    return [part.numpy() for part in mixed]


def test_mixup_blends_each_photo_with_its_partner_by_its_share() -> None:
    photos, labels = make_photos(40), np.arange(40, dtype=np.int32)
    mixed, own, others, shares = mix(photos, labels, mixup_fraction=1.0, mixup_alpha=0.5)
    np.testing.assert_array_equal(own, labels)
    np.testing.assert_array_equal(others, labels[::-1])
    assert (shares >= 0.5).all()
    assert shares.min() < 0.9
    weights = shares[:, None, None, None]
    expected = photos * weights + photos[::-1] * (1 - weights)
    np.testing.assert_allclose(mixed, expected, atol=0.51)


def test_cutmix_replaces_a_rectangle_of_the_area_it_tells() -> None:
    photos, labels = make_photos(60), np.arange(60, dtype=np.int32)
    mixed, _, _, shares = mix(photos, labels, cutmix_fraction=1.0)
    from_partner = (mixed == photos[::-1]).all(axis=3) & (photos != photos[::-1]).any(axis=3)
    assert ((mixed == photos).all(axis=3) | from_partner).all()
    for mask, share in zip(from_partner, shares, strict=True):
        assert abs(1 - mask.mean() - share) < 0.02
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.98
    assert shares.min() < 0.4
    assert shares.max() > 0.9


def test_the_given_fractions_of_the_batches_are_mixed() -> None:
    photos, labels = make_photos(4), np.arange(4, dtype=np.int32)
    kinds = []
    for seed in range(200):
        mixed, _, _, shares = mix(photos, labels, seed, mixup_fraction=0.3, cutmix_fraction=0.2)
        kept = (shares == 1).all()
        kinds.append("kept" if kept and (mixed == photos).all() else "mixed")
    assert 70 < kinds.count("mixed") < 130
    assert (mix(photos, labels)[0] == photos).all()


def test_photos_are_smaller_in_the_epochs_that_the_params_name(shards: list[Path]) -> None:
    steps = (ResizingStep(until=0.5, image_size=32), ResizingStep(until=0.75, image_size=48))
    params = read_params(ROOT / "experiments" / "default.yaml").train.model_copy(
        update={"epochs": 8, "resizing": steps}
    )
    assert [choose_image_size(64, params, epoch) for epoch in range(8)] == [32] * 4 + [48] * 2 + [64] * 2
    assert choose_image_size(40, params, 4) == 40
    for augmentation in (None, make_params(**STRONG)):
        photos, *_ = next(iter(read_epoch(shards, 10, 0, 0, augmentation, reduced_size=16)))
        assert photos.shape == (10, 16, 16, 3)


def test_a_smaller_photo_is_the_photo_averaged(shards: list[Path]) -> None:
    photos = make_photos(50).astype(float)
    small, labels = next(iter(read_epoch(shards, 10, 0, 0, reduced_size=16)))
    averaged = photos[labels].reshape(10, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    # the filter is wider than its block
    assert np.corrcoef(small.numpy().ravel(), averaged.ravel())[0, 1] > 0.9


def test_a_crop_that_gets_smaller_uses_every_pixel() -> None:
    # stripes of one pixel: a sample of every other pixel would be all black or all white
    photos = np.zeros((1, 64, 64, 3), np.uint8)
    photos[:, ::2] = 255
    small = augment(photos, make_params(), tf.constant([0, 0], tf.int64), 32).numpy()
    assert small.shape == (1, 32, 32, 3)
    assert 120 < small.min() <= small.max() < 135


def test_validation_photos_are_as_small_as_those_of_the_epoch(shards: list[Path]) -> None:
    photos = make_photos(50).astype(float)
    batches = list(read_batches(shards, SIZE, 16, reduced_size=16).as_numpy_iterator())
    assert [batch.shape for batch, _ in batches] == [(16, 16, 16, 3)] * 3 + [(2, 16, 16, 3)]
    small, labels = (np.concatenate([batch[part] for batch in batches]) for part in (0, 1))
    averaged = photos[labels].reshape(50, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.corrcoef(small.ravel(), averaged.ravel())[0, 1] > 0.9
