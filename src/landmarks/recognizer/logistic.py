"""Logistic models in NumPy; `landmarks.export.fitting` fits them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_LARGEST_EXPONENT = 500.0  # exp overflows float64 above 709


@dataclass(frozen=True)
class LogisticModel:
    """A fitted logistic model: log-odds = weights · features + bias.

    Attributes:
        weights: float64 (d,), for features that are not standardised.
        bias: added to the log-odds.
    """

    weights: npt.NDArray[np.float64]
    bias: float

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Compute the log-odds of the positive class, float64 (n,), for features (n, d); rows are independent."""
        # a matrix product sums in another order for many rows than for one, which changes the last digits
        return np.asarray((features.astype(np.float64) * self.weights).sum(axis=1) + self.bias)


def compute_probability(log_odds: Floats) -> npt.NDArray[np.float64]:
    """Compute 1 / (1 + exp(-x)) without overflow.

    >>> compute_probability(np.array([-1e9, 0.0])).round(3).tolist()
    [0.0, 0.5]
    """
    clipped = np.clip(log_odds.astype(np.float64), -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
    return np.asarray(1.0 / (1.0 + np.exp(-clipped)))
