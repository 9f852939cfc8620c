"""Logistic regression: its solution has no slope, agrees with a general optimiser, and probabilities stay finite."""

import numpy as np
import pytest
from scipy.optimize import minimize

from landmarks.export.fitting import fit_logistic
from landmarks.recognizer.logistic import compute_probability


def make_data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.normal([5, -2, 100], [2, 0.1, 30], (300, 3))
    is_positive = features @ np.array([1, 4, -0.03]) + random.normal(0, 1, 300) > -6
    return features, is_positive


def measure_loss(solution: np.ndarray, features: np.ndarray, target: np.ndarray, weights: np.ndarray) -> float:
    """The penalised mean loss, written out, on features of mean 0 and variance 1."""
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    log_odds = scaled @ solution[:-1] + solution[-1]
    losses = np.log1p(np.exp(-np.where(target, log_odds, -log_odds)))
    return float((weights * losses).sum() / weights.sum() + 0.5 * 0.01 * (solution[:-1] ** 2).sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_it_agrees_with_a_general_optimiser(weighted: bool) -> None:
    features, is_positive = make_data()
    weights = np.random.default_rng(1).uniform(0.5, 3, 300) if weighted else np.ones(300)
    model = fit_logistic(features, is_positive, 0.01, weights if weighted else None)
    found = minimize(measure_loss, np.zeros(4), (features, is_positive, weights), method="BFGS", tol=1e-10).x
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    np.testing.assert_allclose(model.score(features), scaled @ found[:-1] + found[-1], atol=1e-3)


def test_separable_classes_are_separated_with_finite_weights() -> None:
    features = np.array([[0.0], [1.0], [10.0], [11.0]])
    model = fit_logistic(features, np.array([False, False, True, True]), 0.01)
    assert np.isfinite(model.weights).all()
    assert (model.score(features) > 0).tolist() == [False, False, True, True]


def test_a_feature_that_never_changes_is_left_out() -> None:
    features, is_positive = make_data()
    constant = np.column_stack([features, np.full(300, 7.0)])
    assert fit_logistic(constant, is_positive, 0.01).weights[3] == 0


@pytest.mark.parametrize(
    ("features", "kinds"),
    [([[1.0], [2.0]], [True, True]), ([[1.0], [2.0]], [False, False]), ([[1.0], [np.nan]], [True, False])],
)
def test_what_cannot_be_fitted_is_refused(features: list[list[float]], kinds: list[bool]) -> None:
    with pytest.raises(ValueError, match="Two classes with finite features are needed, received"):
        fit_logistic(np.array(features), np.array(kinds), 0.01)


def test_probabilities_are_finite_and_rise() -> None:
    values = compute_probability(np.array([-1e300, -3.0, 0.0, 3.0, 1e300]))
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    assert values[3] == pytest.approx(1 / (1 + np.exp(-3)))
