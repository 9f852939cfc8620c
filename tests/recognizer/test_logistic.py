"""Logistic models: log-odds are a weighted sum for each row alone, and probabilities never overflow."""

import numpy as np
import pytest

from landmarks.export.fitting import fit_balanced, fit_logistic
from landmarks.recognizer.logistic import LogisticModel, compute_probability


def test_log_odds_are_a_weighted_sum_of_each_row() -> None:
    model = LogisticModel(np.array([2.0, -1.0]), 0.25)
    features = np.array([[1, 2], [3, 4], [0, 0]], np.float32)
    assert model.score(features).tolist() == [0.25, 2.25, 0.25]
    assert model.score(features).dtype == np.float64


def test_the_score_of_a_row_does_not_depend_on_the_others() -> None:
    generator = np.random.default_rng(0)
    model = LogisticModel(generator.normal(size=7), 0.1)
    features = generator.normal(size=(100, 7)).astype(np.float32)
    alone = [float(model.score(features[row : row + 1])[0]) for row in range(100)]
    assert model.score(features).tolist() == alone


@pytest.mark.parametrize("log_odds", [-40.0, -3.0, -0.5, 0.0, 0.5, 3.0, 30.0])
def test_probabilities_follow_their_definition(log_odds: float) -> None:
    found = compute_probability(np.array([log_odds]))
    assert found[0] == pytest.approx(1 / (1 + np.exp(-log_odds)), rel=1e-12)


def test_probabilities_are_exact_up_to_the_largest_exponent() -> None:
    lowest = compute_probability(np.array([-499.5, -500.0, -501.0, -1e9]))
    np.testing.assert_allclose(lowest, np.exp([-499.5, -500, -500, -500]), rtol=1e-9)
    assert compute_probability(np.array([500.0, 1e9])).tolist() == [1.0, 1.0]


def test_both_classes_have_the_same_weight() -> None:
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(1, 1, (20, 2)), generator.normal(0, 1, (60, 2))
    found = fit_balanced(positives, negatives, 0.1)
    weights = np.repeat([1 / 20, 1 / 60], [20, 60])
    expected = fit_logistic(np.concatenate([positives, negatives]), np.arange(80) < 20, 0.1, weights)
    np.testing.assert_allclose([*found.weights, found.bias], [*expected.weights, expected.bias], rtol=1e-6)
    # three copies of the few are as good as the weights
    copies = fit_logistic(np.concatenate([positives] * 3 + [negatives]), np.arange(120) < 60, 0.1)
    np.testing.assert_allclose(np.sign(found.score(positives)), np.sign(copies.score(positives)))


@pytest.mark.parametrize(("positives", "negatives"), [(0, 3), (3, 0)])
def test_an_empty_class_is_refused(positives: int, negatives: int) -> None:
    with pytest.raises(ValueError, match=f"received {positives} positives of 3 samples"):
        fit_balanced(np.ones((positives, 2)), np.ones((negatives, 2)), 0.1)


def test_a_single_photo_of_each_class_is_enough() -> None:
    found = fit_balanced(np.array([[1.0]]), np.array([[0.0]]), 0.1)
    assert found.score(np.array([[1.0], [0.0]])) @ [1, -1] > 0
    assert found.score(np.array([[0.5]]))[0] == pytest.approx(0, abs=1e-6)
