import io
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from landmarks.photos import perceptual_hash
from landmarks.photos.decoding import decode_image
from landmarks.photos.perceptual_hash import Hashes, compute_perceptual_hash, count_near
from landmarks.schema.network_format import ImageFormat


def count_slowly(references: Hashes, queries: Hashes, max_bits: int) -> list[int]:
    return [sum((int(q) ^ int(r)).bit_count() <= max_bits for r in references) for q in queries]


def flip_bits(hashes: Hashes, count: int, seed: int) -> Hashes:
    rng = random.Random(seed)
    return np.array([int(h) ^ sum(1 << bit for bit in rng.sample(range(64), count)) for h in hashes], np.uint64)


def make_hashes(count: int, seed: int) -> Hashes:
    return np.random.default_rng(seed).integers(0, 1 << 64, count, np.uint64)


@pytest.mark.parametrize("max_bits", [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 63, 64])
def test_counts_are_exact(max_bits: int) -> None:
    references = make_hashes(150, seed=0)
    near = [flip_bits(references[:40], bits, seed=bits) for bits in range(14)]
    references = np.concatenate([references, references[:10], references[:3]])  # some hashes are repeated
    queries = np.concatenate([*near, make_hashes(50, seed=1), near[2][:5]])
    assert count_near(references, queries, max_bits).tolist() == count_slowly(references, queries, max_bits)


@pytest.mark.parametrize("max_bits", [0, 3, 7])
def test_pairs_that_match_in_several_bands_are_counted_once(max_bits: int) -> None:
    """Hashes that differ in few bits only match in several bands at once."""
    rng = np.random.default_rng(2)
    references = rng.integers(0, 1 << 6, 200).astype(np.uint64) << np.uint64(29)
    queries = rng.integers(0, 1 << 6, 100).astype(np.uint64) << np.uint64(29)
    assert count_near(references, queries, max_bits).tolist() == count_slowly(references, queries, max_bits)


@pytest.mark.parametrize("max_bits", [2, 7, 8, 20])
@pytest.mark.parametrize("most", [1, 9, 40, 1000])
def test_counts_do_not_depend_on_the_size_of_the_blocks(
    max_bits: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptual_hash, "_MAX_PAIRS", most)
    references = np.concatenate([make_hashes(20, seed=0), make_hashes(12, seed=1) % 64])
    queries = np.concatenate([flip_bits(references, 2, seed=2), make_hashes(9, seed=3) % 64])
    assert count_near(references, queries, max_bits).tolist() == count_slowly(references, queries, max_bits)


def test_blocks_of_pairs_hold_every_pair_once_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual_hash, "_MAX_PAIRS", 10)
    first = np.array([0, 5, 7, 7, 2, 100, 3])
    last = np.array([4, 12, 8, 7, 6, 103, 14])
    blocks = list(perceptual_hash._expand(first, last))
    pairs = [(int(row), int(place)) for rows, places in blocks for row, place in zip(rows, places, strict=True)]
    assert pairs == [(row, place) for row in range(7) for place in range(first[row], last[row])]
    # a range belongs to the block in which it starts
    assert [len(rows) for rows, _ in blocks] == [11, 19]


def test_bands_share_out_all_bits() -> None:
    for max_bits in range(8):
        last = np.array([(1 << 64) - 1], np.uint64)
        assert count_near(last, flip_bits(last, max_bits, seed=0), max_bits).tolist() == [1]
        assert count_near(last, flip_bits(last, max_bits + 1, seed=0), max_bits).tolist() == [0]


@pytest.mark.parametrize("max_bits", [3, 20])
def test_empty_inputs_give_no_counts(max_bits: int) -> None:
    some, none = make_hashes(5, seed=3), np.zeros(0, np.uint64)
    assert count_near(none, some, max_bits).tolist() == [0] * 5
    assert count_near(some, none, max_bits).tolist() == []


def test_many_equal_photos_are_counted_fast() -> None:
    references, queries = np.zeros(300_000, np.uint64), np.zeros(100_000, np.uint64)
    start = time.perf_counter()
    assert (count_near(references, queries, 3) == 300_000).all()
    assert time.perf_counter() - start < 5


def make_photo(seed: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def hash_photo(image: Image.Image, quality: int = 90) -> int:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return compute_perceptual_hash(decode_image(stream.getvalue(), ImageFormat(64, "crop", 10**7)))


@pytest.mark.parametrize("seed", range(8))
def test_copies_are_near_and_other_photos_far(seed: int) -> None:
    photo = make_photo(seed)
    original = hash_photo(photo)
    copies = [
        hash_photo(photo, quality=40),
        hash_photo(photo.resize((200, 150), Image.Resampling.LANCZOS)),
        hash_photo(ImageEnhance.Brightness(photo).enhance(0.9)),
        hash_photo(ImageEnhance.Contrast(photo).enhance(0.85)),
        hash_photo(ImageEnhance.Color(photo).enhance(0.8)),
    ]
    distances = sorted((original ^ copy).bit_count() for copy in copies)
    assert distances[-2] <= 3
    assert distances[-1] <= 6
    others = [hash_photo(make_photo(other)) for other in range(100, 120)]
    assert min((original ^ other).bit_count() for other in others) > 10


def compute_slowly(pixels: np.ndarray) -> int:
    """The oracle: the DCT as a sum over pixels, in floating point."""
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((32, 32), Image.Resampling.BOX), float)
    place = np.arange(32)
    waves = []
    for total in range(11):
        for row in range(total + 1):
            vertical = np.cos(np.pi * row * (2 * place + 1) / 64)
            horizontal = np.cos(np.pi * (total - row) * (2 * place + 1) / 64)
            waves.append((vertical[:, None] * horizontal * grey).sum())
    taken = waves[1:65]
    median = sorted(taken)[31]
    return int("".join("1" if wave > median else "0" for wave in taken), 2)


@pytest.mark.parametrize("seed", range(10))
def test_the_hash_agrees_with_its_definition(seed: int) -> None:
    pixels = np.asarray(make_photo(seed, (64, 64)))
    assert (
        compute_perceptual_hash(pixels) ^ compute_slowly(pixels)
    ).bit_count() <= 1  # fixed-point rounding may flip one bit


@pytest.mark.parametrize(
    ("seed", "expected"), [(590, 0xD29A6F02F593591A), (735, 0x3BA5079FAD580A36), (3107, 0x8B31C5C30673696F)]
)
def test_the_hash_of_a_photo_never_changes(seed: int, expected: int) -> None:
    """Two coefficients of these are so close to the median that another rounding would swap their bits."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
    assert compute_perceptual_hash(pixels) == expected


def test_half_of_the_bits_are_set() -> None:
    assert [hash_photo(make_photo(seed)).bit_count() for seed in range(20)] == [32] * 20


@pytest.mark.skipif("LANDMARKS_SAMPLES" not in os.environ, reason="LANDMARKS_SAMPLES is not set: no real photos")
def test_reduced_copies_of_real_photos_are_found() -> None:
    """Reduced copies of full-size photos are near their original; different photos rarely are."""
    root = Path(os.environ["LANDMARKS_SAMPLES"])
    target = ImageFormat(64, "crop", 10**8)

    def hash_all(folder: str) -> Hashes:
        paths = sorted((root / folder / "train").rglob("*.jpg"))
        return np.array(
            [compute_perceptual_hash(decode_image(p.read_bytes(), target)) for p in paths[:2000]], np.uint64
        )

    full = hash_all("fullsize")
    copies = [
        hash_photo(Image.open(p).convert("RGB").reduce(3), 80)
        for p in sorted((root / "fullsize" / "train").rglob("*.jpg"))[:40]
    ]
    distances = np.bitwise_count(full[:40] ^ np.array(copies, np.uint64))
    assert (distances <= 3).mean() > 0.9
    pairs = count_near(full, full, 3).sum() - len(full)
    assert pairs <= 0.001 * len(full) ** 2
