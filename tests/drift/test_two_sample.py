"""The two-sample tests of drift: against slow oracles, and on samples with and without a difference."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.drift.two_sample import PhotoSample, compare_samples, compute_ks_distance, compute_neighbour_excess
from landmarks.errors import DataError
from landmarks.params import DriftParams, read_params

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "experiments" / "default.yaml").drift.model_copy(update={"resamples": 300})
NONE = np.empty((0, 0), np.float32)
DIMENSIONS = 32

Floats = npt.NDArray[np.float64]


def make_embeddings(generator: np.random.Generator, photos: int, centres: Floats, noise: float = 0.5) -> Floats:
    """Draw unit vectors around centres, all equally likely."""
    chosen = centres[generator.integers(len(centres), size=photos)]
    vectors = chosen + noise * generator.normal(size=chosen.shape) / np.sqrt(DIMENSIONS)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def make_centres(generator: np.random.Generator, landmarks: int) -> Floats:
    centres = generator.normal(size=(landmarks, DIMENSIONS))
    return np.asarray(centres / np.linalg.norm(centres, axis=1, keepdims=True))


def make_scores(generator: np.random.Generator, photos: int, a: float = 5) -> Floats:
    return generator.beta(a, 2, photos)


def compare_scores(reference: Floats, served: Floats, **changes: Any) -> bool:
    params = PARAMS.model_copy(update=changes)
    samples = [PhotoSample(scores, NONE[:, 0:0].ravel(), NONE) for scores in (reference, served)]
    return compare_samples(samples[0], samples[1], params)["score"].drifted


def compare_embeddings(reference: Floats, served: Floats, params: DriftParams = PARAMS) -> bool:
    generator = np.random.default_rng(1)
    samples = [PhotoSample(make_scores(generator, 200), NONE.ravel(), part) for part in (reference, served)]
    return compare_samples(samples[0], samples[1], params)["embedding"].drifted


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_the_ks_distance_agrees_with_its_definition(first: list[int], second: list[int]) -> None:
    expected = max(
        abs(sum(x <= point for x in first) / len(first) - sum(y <= point for y in second) / len(second))
        for point in range(6)
    )
    assert compute_ks_distance(np.array(first, float), np.array(second, float)) == pytest.approx(expected)


def test_the_neighbour_excess_agrees_with_a_count_by_hand() -> None:
    # samples of 3 and 2 photos, with two neighbours each
    sides = np.array([False, False, False, True, True])
    is_own = np.array([[True, True], [True, False], [True, True], [True, False], [False, False]])
    first = (5 / 6 - 2 / 4) / (1 - 2 / 4)
    second = (1 / 4 - 1 / 4) / (1 - 1 / 4)
    assert compute_neighbour_excess(is_own, sides) == pytest.approx(max(first, second))
    assert compute_neighbour_excess(np.ones((5, 2), bool), sides) == 1


@pytest.mark.parametrize("photos", [60, 400, 3000])
@pytest.mark.parametrize("seed", range(5))
def test_scores_of_one_distribution_are_no_drift(photos: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    assert not compare_scores(make_scores(generator, 800), make_scores(generator, photos))


@pytest.mark.parametrize("photos", [60, 400, 3000])
def test_much_lower_scores_are_drift(photos: int) -> None:
    generator = np.random.default_rng(0)
    assert compare_scores(make_scores(generator, 800), make_scores(generator, photos, a=2))


@pytest.mark.slow
def test_a_significant_difference_is_drift_only_if_it_is_large() -> None:
    generator = np.random.default_rng(0)
    reference, served = make_scores(generator, 50_000), make_scores(generator, 50_000, a=4.5)
    assert not compare_scores(reference, served, max_scores=50_000)
    assert compare_scores(reference, served, max_scores=50_000, min_score_effect=0.02)


@pytest.mark.parametrize("photos", [60, 400])
@pytest.mark.parametrize("seed", range(5))
def test_embeddings_of_one_distribution_are_no_drift(photos: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    centres = make_centres(generator, 12)
    reference = make_embeddings(generator, 400, centres)
    assert not compare_embeddings(reference, make_embeddings(generator, photos, centres))


@pytest.mark.parametrize("photos", [60, 400])
def test_photos_of_other_things_are_drift(photos: int) -> None:
    generator = np.random.default_rng(0)
    centres, others = make_centres(generator, 12), make_centres(generator, 12)
    reference = make_embeddings(generator, 400, centres)
    half = np.concatenate(
        [make_embeddings(generator, photos // 2, centres), make_embeddings(generator, photos // 2, others)]
    )
    assert compare_embeddings(reference, make_embeddings(generator, photos, others))
    assert compare_embeddings(reference, half)
    # More spread out around the same centres: served photos have no same-sample neighbours.
    assert compare_embeddings(reference, make_embeddings(generator, photos, centres, noise=1.5))


def test_a_subset_of_the_landmarks_is_drift() -> None:
    generator = np.random.default_rng(0)
    centres = make_centres(generator, 12)
    assert compare_embeddings(make_embeddings(generator, 400, centres), make_embeddings(generator, 400, centres[:4]))


def test_identical_embeddings_are_no_drift() -> None:
    generator = np.random.default_rng(0)
    reference = make_embeddings(generator, 300, make_centres(generator, 12))
    assert not compare_embeddings(reference, reference.copy())


def test_quantities_missing_in_one_sample_are_not_compared() -> None:
    generator = np.random.default_rng(0)
    whole = PhotoSample(
        make_scores(generator, 100),
        make_scores(generator, 100),
        make_embeddings(generator, 100, make_centres(generator, 3)),
    )
    assert list(compare_samples(whole, whole, PARAMS)) == ["score", "landmark_score", "embedding"]
    assert list(compare_samples(whole, replace(whole, embeddings=NONE), PARAMS)) == ["score", "landmark_score"]
    assert list(compare_samples(whole, PhotoSample(whole.scores, NONE.ravel(), NONE), PARAMS)) == ["score"]


def test_too_few_photos_are_refused() -> None:
    generator = np.random.default_rng(0)
    few = PhotoSample(make_scores(generator, 49), NONE.ravel(), NONE)
    many = PhotoSample(make_scores(generator, 50), NONE.ravel(), NONE)
    with pytest.raises(DataError, match="Only 49 served photos have a score, at least 50 are needed"):
        compare_samples(many, few, PARAMS)
    with pytest.raises(DataError, match="Only 49 test photos have a score"):
        compare_samples(few, many, PARAMS)


def test_embeddings_of_another_model_are_refused() -> None:
    generator = np.random.default_rng(0)
    embeddings = make_embeddings(generator, 60, make_centres(generator, 3))
    with pytest.raises(DataError, match="in the log have 31 numbers, those of the evaluation 32"):
        compare_embeddings(embeddings, embeddings[:, 1:])


def test_the_comparison_is_deterministic() -> None:
    generator = np.random.default_rng(0)
    centres = make_centres(generator, 3)
    samples = [
        PhotoSample(make_scores(generator, 90), NONE.ravel(), make_embeddings(generator, 90, centres)) for _ in range(2)
    ]
    first, second = (compare_samples(samples[0], samples[1], PARAMS) for _ in range(2))
    for name, found in first.items():
        assert (found.effect_size, found.low, found.p_value) == (
            second[name].effect_size,
            second[name].low,
            second[name].p_value,
        )
