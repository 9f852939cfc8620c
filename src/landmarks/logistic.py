"""Logistic regression with an L2 penalty: small enough to be ours, and the same on every machine. NumPy only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_MOST_STEPS = 50
_TOLERANCE = 1e-8
_LARGEST_EXPONENT = 500.0


@dataclass(frozen=True)
class LogisticModel:
    """A line between two kinds.

    Attributes:
        weights: float64 (d,), for features as they come.
        bias: of the log-odds.
    """

    weights: npt.NDArray[np.float64]
    bias: float

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Log-odds of being of the positive kind, float64 (n,), for features (n, d), each as if it were alone."""
        # a matrix product would add up in another order for many rows than for one
        return np.asarray((features.astype(np.float64) * self.weights).sum(axis=1) + self.bias)


def compute_probability(log_odds: Floats) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-x)), finite for every finite x.

    >>> compute_probability(np.array([-1e9, 0.0])).round(3).tolist()
    [0.0, 0.5]
    """
    clipped = np.clip(log_odds.astype(np.float64), -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
    return np.asarray(1.0 / (1.0 + np.exp(-clipped)))


def fit_logistic(
    features: Floats, is_positive: npt.NDArray[np.bool_], penalty: float, weights: Floats | None = None
) -> LogisticModel:
    """Fit by Newton's method; features are brought to mean 0 and variance 1 first, and the bias is not penalised.

    Args:
        features: float (n, d).
        is_positive: bool (n,), both kinds among them.
        penalty: of half the squared weights of those features, beside the mean loss of a photo.
        weights: float (n,), how much each photo counts; all the same where None.

    Raises:
        ValueError: there is only one kind, or a feature is not finite.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.3.
    """
    if is_positive.all() or not is_positive.any() or not np.isfinite(features).all():
        raise ValueError(f"Two kinds with finite features are needed, received {is_positive.sum()} of {len(features)}.")
    values = features.astype(np.float64)
    centre, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread < 1e-12] = 1.0
    design = np.column_stack([(values - centre) / spread, np.ones(len(values))])
    counts = np.ones(len(values)) if weights is None else weights.astype(np.float64)
    solved = _iterate(design, is_positive.astype(np.float64), counts / counts.sum(), penalty)
    scaled = solved[:-1] / spread
    return LogisticModel(scaled, float(solved[-1] - scaled @ centre))


def fit_balanced(positives: Floats, negatives: Floats, penalty: float) -> LogisticModel:
    """As `fit_logistic`; both kinds count the same, however many photos there are.

    Args:
        positives: float (n, d), features.
        negatives: float (m, d).
        penalty: as in `fit_logistic`.

    Raises:
        ValueError: there is only one kind, or a feature is not finite.
    """
    is_positive = np.arange(len(positives) + len(negatives)) < len(positives)
    weights = np.where(is_positive, 1 / max(len(positives), 1), 1 / max(len(negatives), 1))
    return fit_logistic(np.concatenate([positives, negatives]), is_positive, penalty, weights)


def _iterate(
    design: npt.NDArray[np.float64], target: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], penalty: float
) -> npt.NDArray[np.float64]:
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0.0
    solution = np.zeros(design.shape[1])
    loss = _measure(design, target, shares, ridge, solution)
    for _ in range(_MOST_STEPS):
        probability = compute_probability(design @ solution)
        gradient = design.T @ (shares * (probability - target)) + ridge * solution
        curvature = shares * probability * (1.0 - probability)
        hessian = (design * curvature[:, None]).T @ design + np.diag(ridge + 1e-12)
        step = np.linalg.solve(hessian, gradient)
        # halved until it helps: far from the solution a whole step may overshoot
        scale = 1.0
        while (new := _measure(design, target, shares, ridge, solution - scale * step)) > loss and scale > 1e-6:
            scale /= 2.0
        solution, change, loss = solution - scale * step, loss - new, new
        if change < _TOLERANCE:
            break
    return solution


def _measure(
    design: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
    ridge: npt.NDArray[np.float64],
    solution: npt.NDArray[np.float64],
) -> float:
    log_odds = design @ solution
    losses = np.logaddexp(0.0, log_odds) - target * log_odds
    return float(shares @ losses + 0.5 * ridge @ solution**2)
