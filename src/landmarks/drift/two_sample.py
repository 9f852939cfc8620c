"""Whether photos that were served still look like the photos of evaluation: two-sample tests with the size of a change.

A test alone answers "are these two samples from exactly one distribution?", and with enough photos the answer is always
no. So a change counts only when it is both certain (a small p-value, corrected for the number of tests) and large (the
lower end of the bootstrap interval of its size is above a bound).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from landmarks.errors import DataError
from landmarks.params import DriftParams

SCORE, LANDMARK_SCORE, EMBEDDING = "score", "landmark_score", "embedding"
_INTERVAL_PERCENTILES = (2.5, 97.5)

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class PhotoSample:
    """What is known of some photos.

    Attributes:
        scores: float (n,), of the best answer.
        landmark_scores: float (m,), of those that have one; perhaps empty.
        embeddings: float (k, d), rows of unit length or zero; perhaps without rows.
    """

    scores: Floats
    landmark_scores: Floats
    embeddings: Floats


@dataclass(frozen=True)
class Comparison:
    """How much one quantity differs between two samples.

    Attributes:
        effect_size: of the difference, 0 (none, but for chance) to 1 (nothing in common).
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: of the test that there is none.
        min_effect: the effect size from which a difference counts.
        drifted: whether the difference is certain and large.
        reference: float (n,), what to draw of the photos of evaluation.
        served: float (m,), the same of those served.
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
    """Compare scores, landmark scores and embeddings, those that both samples have.

    Args:
        reference: the test photos of evaluation.
        served: the photos of a request log.
        params: the section `drift`.

    Returns:
        The comparisons by `score`, `landmark_score` and `embedding`.

    Raises:
        DataError: there are too few photos, or the embeddings are of different sizes.
    """
    reference, served = (_draw(sample, params) for sample in (reference, served))
    pairs = {
        SCORE: (reference.scores, served.scores),
        LANDMARK_SCORE: (reference.landmark_scores, served.landmark_scores),
        EMBEDDING: (reference.embeddings, served.embeddings),
    }
    _check_enough(pairs, params)
    known = {name: pair for name, pair in pairs.items() if len(pair[0]) and len(pair[1])}
    level = params.significance / len(known)
    return {
        name: compare_embeddings(*pair, level, params) if name == EMBEDDING else compare_scores(*pair, level, params)
        for name, pair in known.items()
    }


def compare_scores(reference: Floats, served: Floats, level: float, params: DriftParams) -> Comparison:
    """The largest difference of the distribution functions, with the two-sample Kolmogorov-Smirnov test.

    Args:
        reference: float (n,).
        served: float (m,).
        level: the p-value below which a difference is certain.
        params: the section `drift`.

    References:
        Massey, "The Kolmogorov-Smirnov Test for Goodness of Fit", JASA 46, 1951.
    """
    test = stats.ks_2samp(reference, served, method="asymp")
    generator = np.random.default_rng(params.seed)
    sizes = [
        compute_ks_distance(generator.choice(reference, len(reference)), generator.choice(served, len(served)))
        for _ in range(params.resamples)
    ]
    return _judge(float(test.statistic), sizes, float(test.pvalue), params.min_score_effect, level, reference, served)


def compute_ks_distance(first: Floats, second: Floats) -> float:
    """The largest difference of two empirical distribution functions.

    >>> compute_ks_distance(np.array([1.0, 2.0]), np.array([1.0, 3.0]))
    0.5
    """
    first, second = np.sort(first), np.sort(second)
    points = np.concatenate([first, second])
    below = [np.searchsorted(sample, points, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def compare_embeddings(reference: Floats, served: Floats, level: float, params: DriftParams) -> Comparison:
    """How many of the photos most like another are of the same sample, beyond chance, with a permutation test.

    Of samples from one distribution the neighbours of a photo belong to either by their sizes; of samples with nothing
    in common they all belong to its own. Unlike a distance of means or of energies, the part beyond chance keeps its
    meaning in hundreds of dimensions: it is 1 where nothing is alike, and about a fifth where every fifth photo served
    is of another kind. What is drawn of each photo is the cosine to the most similar other photo of evaluation.

    Args:
        reference: float (n, d), rows of unit length or zero.
        served: float (m, d), the same.
        level: the p-value below which a difference is certain.
        params: the section `drift`.

    Raises:
        DataError: the vectors are of different sizes.

    References:
        Schilling, "Multivariate Two-Sample Tests Based on Nearest Neighbors", JASA 81, 1986.
    """
    if reference.shape[1] != served.shape[1]:
        raise DataError(
            f"The embeddings in the log have {served.shape[1]} numbers, those of evaluation {reference.shape[1]}: they "
            "are of different models. Compare the log with the evaluation of the model that was served."
        )
    vectors, n = np.concatenate([reference, served]).astype(np.float32), len(reference)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    neighbours = np.argpartition(-cosines, params.neighbours, axis=1)[:, : params.neighbours]
    sides = np.arange(len(vectors)) >= n
    generator = np.random.default_rng(params.seed)
    is_own = sides[neighbours] == sides[:, None]
    effect_size = measure_separation(is_own, sides)
    by_chance = [_separate_shuffled(neighbours, generator.permutation(sides)) for _ in range(params.resamples)]
    p_value = (1 + np.count_nonzero(np.array(by_chance) >= effect_size)) / (1 + params.resamples)
    sizes = [measure_separation(is_own[rows], sides[rows]) for rows in _draw_again(sides, generator, params.resamples)]
    nearest = cosines[:, :n].max(axis=1)
    return _judge(effect_size, sizes, p_value, params.min_embedding_effect, level, nearest[:n], nearest[n:])


def measure_separation(is_own: npt.NDArray[np.bool_], sides: npt.NDArray[np.bool_]) -> float:
    """The part of neighbours from the own sample beyond chance; 1 where there are no others.

    Of the two samples' the larger one counts: photos that spread wider than the others, as dull or blurred ones may,
    have few neighbours of their own, but the others have all the more.

    Args:
        is_own: bool (n, k), whether each neighbour of a photo is of the photo's sample.
        sides: bool (n,), the sample of each photo.
    """
    found = []
    for is_member in (sides, ~sides):
        chance = (is_member.sum() - 1) / (len(sides) - 1)
        found.append((is_own[is_member].mean() - chance) / (1 - chance))
    return float(max(found))


def _separate_shuffled(neighbours: npt.NDArray[np.integer], sides: npt.NDArray[np.bool_]) -> float:
    return measure_separation(sides[neighbours] == sides[:, None], sides)


def _draw_again(
    sides: npt.NDArray[np.bool_], generator: np.random.Generator, resamples: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of both samples, each drawn with replacement to its size."""
    samples = [np.flatnonzero(~sides), np.flatnonzero(sides)]
    for _ in range(resamples):
        yield np.concatenate([generator.choice(rows, len(rows)) for rows in samples])


def _judge(
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


def _draw(sample: PhotoSample, params: DriftParams) -> PhotoSample:
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
            if len(values) < params.min_photos and (len(values) or name == SCORE):
                raise DataError(
                    f"Only {len(values)} {whose} a {name}, at least {params.min_photos} are needed for a comparison "
                    "(drift.min_photos). Collect more of them."
                )
