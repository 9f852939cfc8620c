"""Logistic regression with an L2 penalty, by scikit-learn."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from landmarks.recognizer.logistic import LogisticModel

_MAX_STEPS = 200
_TOLERANCE = 1e-9  # so small that the result does not depend on where the solver happens to stop

Floats = npt.NDArray[np.floating]


def fit_logistic(
    features: Floats, is_positive: npt.NDArray[np.bool_], penalty: float, weights: Floats | None = None
) -> LogisticModel:
    """Fit a logistic model on standardised features; the bias is not penalised.

    Args:
        features: float (n, d).
        is_positive: bool (n,), with both classes.
        penalty: factor of half the squared norm of the weights, added to the mean loss per photo.
        weights: float (n,), weight of each photo; 1 each if None.

    Raises:
        ValueError: there is only one class, or a feature is not finite.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.3.
    """
    if is_positive.all() or not is_positive.any() or not np.isfinite(features).all():
        raise ValueError(
            "Two classes with finite features are needed, "
            f"received {is_positive.sum()} positives of {len(features)} samples."
        )
    values = features.astype(np.float64)
    centre, spread = values.mean(axis=0), values.std(axis=0)
    spread[spread < 1e-12] = 1.0  # constant features, which must not be divided by zero
    counts = np.ones(len(values)) if weights is None else weights.astype(np.float64)
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=_TOLERANCE, max_iter=_MAX_STEPS)
    # several threads would wait for each other many times a step: beside a busy process 64 s in place of 2
    with threadpool_limits(1, user_api="blas"):
        model.fit((values - centre) / spread, is_positive, counts / counts.sum())
    # moved into weights and bias, so that the model takes features as they are
    scaled = np.asarray(model.coef_[0], np.float64) / spread
    return LogisticModel(scaled, float(model.intercept_[0] - scaled @ centre))


def fit_balanced(positives: Floats, negatives: Floats, penalty: float) -> LogisticModel:
    """Fit with `fit_logistic`, with the same total weight for both classes.

    Args:
        positives: float (n, d), features.
        negatives: float (m, d), features.
        penalty: as in `fit_logistic`.

    Raises:
        ValueError: a class is empty, or a feature is not finite.
    """
    is_positive = np.arange(len(positives) + len(negatives)) < len(positives)
    weights = np.where(is_positive, 1 / max(len(positives), 1), 1 / max(len(negatives), 1))
    return fit_logistic(np.concatenate([positives, negatives]), is_positive, penalty, weights)
