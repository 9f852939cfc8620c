"""Applying logistic models, with NumPy alone; `landmarks.export.fitting` fits them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_LARGEST_EXPONENT = 500.0


@dataclass(frozen=True)
class LogisticModel:
    """A fitted model: log-odds = weights · features + bias.

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
