"""Fitting logistic models with an L2 penalty, through scikit-learn."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from landmarks.recognizer.logistic import LogisticModel

_MAX_STEPS = 200
_TOLERANCE = 1e-9

Floats = npt.NDArray[np.floating]


def fit_logistic(
    features: Floats, is_positive: npt.NDArray[np.bool_], penalty: float, weights: Floats | None = None
) -> LogisticModel:
    """Fit with scikit-learn; features are standardised first, and the bias is not penalised.

    Args:
        features: float (n, d).
        is_positive: bool (n,), both kinds among them.
        penalty: of half the squared weights of the standardised features, beside the mean loss of a photo.
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
    counts = np.ones(len(values)) if weights is None else weights.astype(np.float64)
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=_TOLERANCE, max_iter=_MAX_STEPS)
    model.fit((values - centre) / spread, is_positive, counts / counts.sum())
    scaled = np.asarray(model.coef_[0], np.float64) / spread
    return LogisticModel(scaled, float(model.intercept_[0] - scaled @ centre))


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
