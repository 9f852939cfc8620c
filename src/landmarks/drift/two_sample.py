"""Two-sample tests with effect sizes: do served photos come from the distribution of the test photos?

With enough photos, a significance test detects any difference, however small. Drift is therefore reported only if the
difference is both significant (p-value, Bonferroni-corrected) and relevant (the lower end of the bootstrap confidence
interval of the effect size reaches a minimum).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from landmarks.errors import DataError
from landmarks.params import DriftParams

SCORE, LANDMARK_SCORE, EMBEDDING = "score", "landmark_score", "embedding"
_INTERVAL_PERCENTILES = (2.5, 97.5)  # a 95 % confidence interval

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class PhotoSample:
    """Scores and embeddings of a sample of photos.

    Attributes:
        scores: float (n,), of the top prediction.
        landmark_scores: float (m,), of the photos that have one; may be empty.
        embeddings: float (k, d), rows of unit length or zero; may be empty.
    """

    scores: Floats
    landmark_scores: Floats
    embeddings: Floats


@dataclass(frozen=True)
class Comparison:
    """The comparison of one quantity between two samples.

    Attributes:
        effect_size: 0 for equal distributions up to chance, 1 for disjoint ones.
        low: lower end of the 95 % confidence interval of the effect size.
        high: upper end.
        p_value: of the null hypothesis that the distributions are equal.
        min_effect: minimum effect size of a relevant difference.
        drifted: whether the difference is significant and relevant.
        reference: float (n,), values of the test photos to plot.
        served: float (m,), values of the served photos to plot.
    """

    effect_size: float
    low: float
    high: float
    p_value: float
    min_effect: float
    drifted: bool
    reference: Floats
    served: Floats


def compare_samples(reference: PhotoSample, served: PhotoSample, params: DriftParams) -> dict[str, Comparison]:
    """Compare scores, landmark scores and embeddings, as far as both samples have them.

    Args:
        reference: the test photos of the evaluation.
        served: the photos of a request log.
        params: the section `drift`.

    Returns:
        The comparisons by `score`, `landmark_score` and `embedding`.

    Raises:
        DataError: there are too few photos, or the embeddings have different lengths.
    """
    reference, served = (_subsample(sample, params) for sample in (reference, served))
    pairs = {
        SCORE: (reference.scores, served.scores),
        LANDMARK_SCORE: (reference.landmark_scores, served.landmark_scores),
        EMBEDDING: (reference.embeddings, served.embeddings),
    }
    _check_enough(pairs, params)
    known = {name: pair for name, pair in pairs.items() if len(pair[0]) and len(pair[1])}
    level = params.significance / len(known)  # Bonferroni correction
    return {
        name: compare_embeddings(*pair, level, params) if name == EMBEDDING else compare_scores(*pair, level, params)
        for name, pair in known.items()
    }


def compare_scores(reference: Floats, served: Floats, level: float, params: DriftParams) -> Comparison:
    """Compare two samples of scores with the Kolmogorov-Smirnov test; the effect size is its statistic.

    Args:
        reference: float (n,).
        served: float (m,).
        level: the p-value below which a difference is significant.
        params: the section `drift`.

    References:
        Massey, "The Kolmogorov-Smirnov Test for Goodness of Fit", JASA 46, 1951.
    """
    test = stats.ks_2samp(reference, served, method="asymp")  # the exact p-value is slow for thousands of photos
    generator = np.random.default_rng(params.seed)
    sizes = [
        compute_ks_distance(generator.choice(reference, len(reference)), generator.choice(served, len(served)))
        for _ in range(params.resamples)
    ]
    statistic, p_value = float(test.statistic), float(test.pvalue)
    return _build_comparison(statistic, sizes, p_value, params.min_score_effect, level, reference, served)


def compute_ks_distance(first: Floats, second: Floats) -> float:
    """Return the largest difference of two empirical distribution functions.

    >>> compute_ks_distance(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    0.5
    """
    first, second = np.sort(first), np.sort(second)
    points = np.concatenate([first, second])
    below = [np.searchsorted(sample, points, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def compare_embeddings(reference: Floats, served: Floats, level: float, params: DriftParams) -> Comparison:
    """Compare two samples of embeddings with the nearest-neighbour test, as a permutation test.

    The statistic is the fraction of nearest neighbours from the same sample. For equal distributions it depends only on
    the sample sizes; for disjoint ones it is 1. The effect size is its excess over chance. Unlike the distance of the
    means or the energy distance, it is interpretable in hundreds of dimensions: 1 if nothing is similar, about 0.2 if
    every fifth served photo is of a new kind. The plotted values are cosines to the most similar other test photo.

    Args:
        reference: float (n, d), rows of unit length or zero.
        served: float (m, d), rows of unit length or zero.
        level: the p-value below which a difference is significant.
        params: the section `drift`.

    Raises:
        DataError: the embeddings have different lengths.

    References:
        Schilling, "Multivariate Two-Sample Tests Based on Nearest Neighbors", JASA 81, 1986.
    """
    if reference.shape[1] != served.shape[1]:
        raise DataError(
            f"The embeddings in the log have {served.shape[1]} numbers, those of the evaluation {reference.shape[1]}: "
            "they belong to different models. Compare the log with the evaluation of the model that was served."
        )
    vectors, n = np.concatenate([reference, served]).astype(np.float32), len(reference)
    cosines = vectors @ vectors.T  # quadratic memory, bounded by drift.max_embeddings
    np.fill_diagonal(cosines, -np.inf)  # a photo is not its own neighbour
    neighbours = np.argpartition(-cosines, params.neighbours, axis=1)[:, : params.neighbours]
    sides = np.arange(len(vectors)) >= n
    generator = np.random.default_rng(params.seed)
    is_own = sides[neighbours] == sides[:, None]
    effect_size = compute_neighbour_excess(is_own, sides)
    shuffled = (generator.permutation(sides) for _ in range(params.resamples))
    by_chance = [compute_neighbour_excess(labels[neighbours] == labels[:, None], labels) for labels in shuffled]
    # The observed labelling counts as one permutation, which keeps the p-value above 0.
    p_value = (1 + np.count_nonzero(np.array(by_chance) >= effect_size)) / (1 + params.resamples)
    sizes = [
        compute_neighbour_excess(is_own[rows], sides[rows]) for rows in _bootstrap(sides, generator, params.resamples)
    ]
    nearest = cosines[:, :n].max(axis=1)
    return _build_comparison(effect_size, sizes, p_value, params.min_embedding_effect, level, nearest[:n], nearest[n:])


def compute_neighbour_excess(is_own: npt.NDArray[np.bool_], sides: npt.NDArray[np.bool_]) -> float:
    """Return the excess of same-sample neighbours over chance, scaled so that 1 means no other neighbours.

    The larger of the two samples' values counts. Photos that are more spread out than the other sample, such as blurred
    ones, have few same-sample neighbours; then those of the other sample have all the more.

    Args:
        is_own: bool (n, k), whether each neighbour of a photo is of the same sample.
        sides: bool (n,), the sample of each photo.
    """
    excess = []
    for is_member in (sides, ~sides):
        chance = (is_member.sum() - 1) / (len(sides) - 1)
        excess.append((is_own[is_member].mean() - chance) / (1 - chance))
    return float(max(excess))


def _bootstrap(
    sides: npt.NDArray[np.bool_], generator: np.random.Generator, resamples: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield bootstrap samples of rows, stratified: both samples keep their sizes."""
    samples = [np.flatnonzero(~sides), np.flatnonzero(sides)]
    for _ in range(resamples):
        yield np.concatenate([generator.choice(rows, len(rows)) for rows in samples])


def _build_comparison(
    effect_size: float,
    sizes: Floats | list[float],
    p_value: float,
    min_effect: float,
    level: float,
    reference: Floats,
    served: Floats,
) -> Comparison:
    low, high = np.percentile(sizes, _INTERVAL_PERCENTILES)
    drifted = bool(p_value < level and low >= min_effect)
    return Comparison(effect_size, float(low), float(high), p_value, min_effect, drifted, reference, served)


def _subsample(sample: PhotoSample, params: DriftParams) -> PhotoSample:
    generator = np.random.default_rng(params.seed)
    return PhotoSample(
        _draw_rows(sample.scores, params.max_scores, generator),
        _draw_rows(sample.landmark_scores, params.max_scores, generator),
        _draw_rows(sample.embeddings, params.max_embeddings, generator),
    )


def _draw_rows(values: Floats, most: int, generator: np.random.Generator) -> Floats:
    if len(values) <= most:
        return values
    return values[np.sort(generator.choice(len(values), most, replace=False))]


def _check_enough(pairs: Mapping[str, tuple[Floats, Floats]], params: DriftParams) -> None:
    for name, (reference, served) in pairs.items():
        for whose, values in (("test photos have", reference), ("served photos have", served)):
            # Landmark scores and embeddings are optional; only scores must be there.
            if len(values) < params.min_photos and (len(values) or name == SCORE):
                raise DataError(
                    f"Only {len(values)} {whose} a {name}, at least {params.min_photos} are needed for a comparison "
                    "(drift.min_photos). Collect more photos."
                )
