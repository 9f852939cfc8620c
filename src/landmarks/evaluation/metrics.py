"""Metrics on arrays: accuracy, calibration (ECE) and OOD detection (AUROC, FPR at 95 % TPR).

NumPy only, and without I/O. `scores` are float (n,) without NaN, where higher means more certain.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ReliabilityBins:
    """Photos grouped by confidence into bins of equal width.

    Attributes:
        edges: float64 (bins + 1,), from 0 to 1; bin i holds confidences above edge i, up to and including edge i + 1.
        photos: float64 (bins,), their number, or the sum of their weights.
        confidence: float64 (bins,), mean confidence; NaN in empty bins.
        accuracy: float64 (bins,), fraction of correct answers; NaN in empty bins.
    """

    edges: npt.NDArray[np.float64]
    photos: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error (ECE): the mean of |accuracy - confidence| over bins, weighted by photos.

        References:
            Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 3.
        """
        filled = self.photos > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(gaps @ self.photos[filled] / self.photos.sum())


def compute_ranks(probabilities: Floats, labels: Ints) -> npt.NDArray[np.int64]:
    """Compute the rank of the true label among all labels, from 0; of equal probabilities the lower label comes first.

    Args:
        probabilities: float (n, L).
        labels: int (n,).

    Returns:
        ranks: int64 (n,); the true label is among the best k if the rank is below k.

    >>> compute_ranks(np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]), np.array([2, 1])).tolist()
    [1, 1]
    """
    own = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), axis=1)
    is_lower_label = np.arange(probabilities.shape[1]) < labels[:, None]
    # counted, not sorted: sorting every row takes L log L and leaves ties to the algorithm
    ranks: npt.NDArray[np.int64] = np.sum((probabilities > own) | ((probabilities == own) & is_lower_label), axis=1)
    return ranks


def compute_macro_recall(correct: Bools, labels: Ints) -> float:
    """Compute the mean recall over the labels that have photos.

    Raises:
        ValueError: there are no photos.

    >>> compute_macro_recall(np.array([True, True, False, False]), np.array([7, 7, 7, 9]))
    0.3333333333333333
    """
    if not len(labels):
        raise ValueError("Macro recall needs at least one photo, received none.")
    photos = np.bincount(labels)
    right = np.bincount(labels, weights=correct)
    return float(np.mean(right[photos > 0] / photos[photos > 0]))


def compute_accuracies(ranks: Ints, labels: Ints) -> dict[str, float]:
    """Compute `top1`, `top5` and `macro_recall`.

    Args:
        ranks: int (n,), from `compute_ranks`.
        labels: int (n,), the true labels.

    Raises:
        ValueError: there are no photos.

    >>> compute_accuracies(np.array([0, 3, 7]), np.array([0, 0, 1]))["macro_recall"]
    0.25
    """
    return {
        "top1": float(np.mean(ranks < 1)),
        "top5": float(np.mean(ranks < 5)),
        "macro_recall": compute_macro_recall(np.asarray(ranks < 1), labels),
    }


def compute_negative_log_likelihood(probabilities: Floats, labels: Ints) -> float:
    """Compute the mean of -log p(true label); a probability of 0 counts as the smallest normal float32.

    >>> compute_negative_log_likelihood(np.array([[0.5, 0.5]]), np.array([0]))
    0.6931471805599453
    """
    own = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), axis=1)[:, 0].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def compute_reliability(
    confidences: Floats, correct: Bools, bins: int, weights: Floats | None = None
) -> ReliabilityBins:
    """Compare confidence with accuracy in bins of confidence.

    Args:
        confidences: float (n,), between 0 and 1.
        correct: bool (n,).
        bins: number of bins, of equal width.
        weights: float (n,); 1 for each photo if None.

    >>> round(compute_reliability(np.array([0.9, 0.9, 0.4]), np.array([True, False, False]), 2).error, 6)
    0.4
    """
    # not linspace, whose inner edges differ from i / bins in the last digit
    edges = np.arange(bins + 1) / bins
    own_bin = np.searchsorted(edges[1:-1], confidences, side="left")
    own = np.ones(len(confidences)) if weights is None else weights
    photos = np.bincount(own_bin, weights=own, minlength=bins).astype(np.float64)
    sums = (np.bincount(own_bin, weights=own * values, minlength=bins) for values in (confidences, correct))
    confidence, accuracy = (np.divide(total, photos, np.full(bins, np.nan), where=photos > 0) for total in sums)
    return ReliabilityBins(edges, photos, confidence, accuracy)


def simulate_calibration_error(
    confidences: Floats, bins: int, samples: int, seed: int, weights: Floats | None = None
) -> tuple[float, float]:
    """Compute the range of the calibration error of a perfectly calibrated model with these confidences.

    Of finitely many photos even its error is above zero: each answer is drawn correct with its confidence as the
    probability, and the error is measured, again and again.

    Args:
        confidences: float (n,), between 0 and 1.
        bins: as for `compute_reliability`.
        samples: how often it is drawn.
        seed: of the draws.
        weights: as for `compute_reliability`.

    Returns:
        The ends of the interval that has 95 % of the errors.

    References:
        Vaicenavicius et al., "Evaluating Model Calibration in Classification", 2019, section 4 (resampling).
    """
    generator = np.random.default_rng(seed)
    errors = [
        compute_reliability(confidences, generator.random(len(confidences)) < confidences, bins, weights).error
        for _ in range(samples)
    ]
    low, high = np.percentile(errors, (2.5, 97.5))
    return float(low), float(high)


def compute_auroc(positives: Floats, negatives: Floats) -> float:
    """Compute the AUROC: the probability that a random positive scores higher than a random negative.

    Ties count half. This is exact: the Mann-Whitney statistic U / (n m).

    Raises:
        ValueError: one of the two is empty.

    References:
        Hanley and McNeil, "The Meaning and Use of the Area under a ROC Curve", 1982.

    >>> compute_auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
    0.875
    """
    _require_both(positives, negatives)
    ordered = np.sort(negatives)
    twice_beaten = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return int(twice_beaten.sum()) / (2 * len(positives) * len(negatives))


def compute_fpr_at_tpr(positives: Floats, negatives: Floats, percent: int = 95) -> float:
    """Compute the false-positive rate at the highest threshold with a true-positive rate of at least `percent` %.

    Raises:
        ValueError: one of the two is empty.

    >>> compute_fpr_at_tpr(np.arange(20.0), np.array([0.5, 1.0, 2.0, -1.0]))
    0.5
    """
    _require_both(positives, negatives)
    needed = -(-percent * len(positives) // 100)  # rounded up, in integers: 0.95 is not a binary fraction
    threshold = np.sort(positives)[len(positives) - needed]
    return int(np.sum(negatives >= threshold)) / len(negatives)


def _require_both(positives: Floats, negatives: Floats) -> None:
    if not len(positives) or not len(negatives):
        raise ValueError(
            f"AUROC and FPR need both classes, received {len(positives)} positives, {len(negatives)} negatives."
        )
