"""The two-sample tests of drift: against slow oracles, and on samples with and without a difference."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from landmarks.drift import two_sample
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


def compare_slowly(reference: Floats, served: Floats, params: DriftParams) -> dict[str, Any]:
    """The nearest-neighbour test as loops over photos, with the same draws of permutations and of bootstrap samples."""
    vectors = np.concatenate([reference, served]).astype(np.float32)
    sides = np.array([False] * len(reference) + [True] * len(served))
    cosines = vectors @ vectors.T
    neighbours = []
    for row in range(len(vectors)):
        order = np.argsort(-cosines[row], kind="stable").tolist()
        neighbours.append([other for other in order if other != row][: params.neighbours])

    def measure(rows: Any, labels: Any) -> float:
        excess = []
        for side in (True, False):
            members = [row for row in rows if labels[row] == side]
            own = np.mean([labels[other] == side for row in members for other in neighbours[row]])
            chance = (len(members) - 1) / (len(rows) - 1)
            excess.append((own - chance) / (1 - chance))
        return float(max(excess))

    generator = np.random.default_rng(params.seed)
    everyone = range(len(vectors))
    effect_size = measure(everyone, sides)
    by_chance = [measure(everyone, generator.permutation(sides)) for _ in range(params.resamples)]
    samples = [np.flatnonzero(~sides), np.flatnonzero(sides)]
    again = [
        measure(np.concatenate([generator.choice(rows, len(rows)) for rows in samples]), sides)
        for _ in range(params.resamples)
    ]
    nearest = [max(cosines[row, other] for other in everyone if other != row and not sides[other]) for row in everyone]
    return {
        "effect_size": effect_size,
        "p_value": (1 + sum(size >= effect_size for size in by_chance)) / (1 + params.resamples),
        "low": np.percentile(again, 2.5),
        "high": np.percentile(again, 97.5),
        "reference": nearest[: len(reference)],
        "served": nearest[len(reference) :],
    }


@pytest.mark.parametrize("noise", [0.5, 0.9])
def test_embeddings_are_compared_as_by_loops(noise: float) -> None:
    generator = np.random.default_rng(4)
    centres = make_centres(generator, 3)
    reference, served = make_embeddings(generator, 30, centres), make_embeddings(generator, 20, centres, noise)
    params = PARAMS.model_copy(update={"resamples": 100, "neighbours": 3})
    found = two_sample.compare_embeddings(reference, served, 0.05, params)
    for name, expected in compare_slowly(reference, served, params).items():
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-6, err_msg=name)
    assert found.min_effect == params.min_embedding_effect


def test_the_lowest_p_value_counts_the_observed_labels_as_a_permutation() -> None:
    generator = np.random.default_rng(0)
    parts = [make_embeddings(generator, 40, make_centres(generator, 2), 0.1) for _ in range(2)]
    params = PARAMS.model_copy(update={"resamples": 100})
    assert two_sample.compare_embeddings(parts[0], parts[1], 0.05, params).p_value == 1 / 101


def test_photos_without_an_embedding_are_compared_too() -> None:
    generator = np.random.default_rng(0)
    part = make_embeddings(generator, 20, make_centres(generator, 3))
    part[3:6] = 0
    found = two_sample.compare_embeddings(part, part[::-1], 0.05, PARAMS.model_copy(update={"resamples": 100}))
    assert found.reference[3] == 0
    assert np.isfinite([found.effect_size, found.low, found.high]).all()


@pytest.mark.parametrize(
    ("p_value", "low", "drifted"), [(0.049, 0.1, True), (0.05, 0.1, False), (0.049, 0.0999, False), (0.05, 0.2, False)]
)
def test_drift_is_a_p_value_below_the_level_and_an_interval_from_the_minimum(
    p_value: float, low: float, drifted: bool
) -> None:
    values = np.zeros(3)
    assert two_sample._build_comparison(0.5, [low] * 3, p_value, 0.1, 0.05, values, values).drifted == drifted


def test_the_level_of_significance_is_shared_by_the_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[float] = []

    def note(*arguments: Any) -> Any:
        levels.append(arguments[4])
        return build(*arguments)

    build = two_sample._build_comparison
    monkeypatch.setattr(two_sample, "_build_comparison", note)
    generator = np.random.default_rng(0)
    scores, embeddings = make_scores(generator, 60), make_embeddings(generator, 60, make_centres(generator, 3))
    params = PARAMS.model_copy(update={"significance": 0.06, "resamples": 100})
    compare_samples(PhotoSample(scores, scores, embeddings), PhotoSample(scores, scores, embeddings), params)
    assert levels == [0.02] * 3
    levels.clear()
    compare_samples(PhotoSample(scores, NONE.ravel(), NONE), PhotoSample(scores, scores, NONE), params)
    assert levels == [0.06]


def test_larger_samples_are_drawn_without_repetition_and_in_order() -> None:
    generator = np.random.default_rng(0)
    values = np.arange(50.0)
    drawn = two_sample._draw_rows(values, 49, generator)
    assert len(set(drawn)) == 49
    assert (np.diff(drawn) > 0).all()
    assert two_sample._draw_rows(values, 50, generator) is values


def test_few_landmark_scores_are_refused_and_none_are_not_compared() -> None:
    generator = np.random.default_rng(0)
    whole = PhotoSample(make_scores(generator, 60), make_scores(generator, 60), NONE)
    few = PhotoSample(whole.scores, whole.scores[:1], NONE)
    with pytest.raises(DataError, match="Only 1 served photos have a landmark_score, at least 50"):
        compare_samples(whole, few, PARAMS)
    with pytest.raises(DataError, match="Only 0 served photos have a score"):
        compare_samples(whole, PhotoSample(NONE.ravel(), NONE.ravel(), NONE), PARAMS)


def test_scores_are_compared_as_by_scipy() -> None:
    generator = np.random.default_rng(0)
    reference, served = make_scores(generator, 70), make_scores(generator, 50, a=4)
    params = PARAMS.model_copy(update={"resamples": 100})
    found = two_sample.compare_scores(reference, served, 0.05, params)
    again, sizes = np.random.default_rng(params.seed), []
    for _ in range(100):
        parts = [again.choice(sample, len(sample)) for sample in (reference, served)]
        sizes.append(stats.ks_2samp(*parts, method="asymp").statistic)
    expected = stats.ks_2samp(reference, served, method="asymp")
    assert (found.effect_size, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(sizes, (2.5, 97.5))))
    assert found.min_effect == params.min_score_effect
