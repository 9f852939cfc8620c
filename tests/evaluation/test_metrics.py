"""Every metric against a slow, obvious oracle."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.evaluation.metrics import (
    compute_accuracies,
    compute_auroc,
    compute_fpr_at_tpr,
    compute_macro_recall,
    compute_negative_log_likelihood,
    compute_ranks,
    compute_reliability,
    simulate_calibration_error,
)
from landmarks.export.calibration import OperatingPoint, choose_operating_point

# few values, so that many of them are equal
SCORES = st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=40)
ANSWERS = st.lists(
    st.tuples(st.integers(0, 10).map(lambda tenths: tenths / 10), st.booleans()), min_size=1, max_size=40
)


@given(SCORES, SCORES)
def test_auroc_is_the_part_of_pairs_in_the_right_order(positives: list[float], negatives: list[float]) -> None:
    points = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives]
    assert compute_auroc(np.array(positives), np.array(negatives)) == pytest.approx(
        sum(points) / len(points), abs=1e-12
    )


@given(SCORES, SCORES)
def test_auroc_of_the_opposite_question_is_the_rest(positives: list[float], negatives: list[float]) -> None:
    auroc = compute_auroc(np.array(positives), np.array(negatives))
    assert auroc + compute_auroc(np.array(negatives), np.array(positives)) == pytest.approx(1)


@given(SCORES, SCORES, st.integers(1, 100))
def test_false_positive_rate_at_the_highest_threshold_that_keeps_enough(
    positives: list[float], negatives: list[float], percent: int
) -> None:
    enough = [t for t in positives if 100 * sum(p >= t for p in positives) >= percent * len(positives)]
    expected = sum(n >= max(enough) for n in negatives) / len(negatives)
    assert compute_fpr_at_tpr(np.array(positives), np.array(negatives), percent) == expected


@pytest.mark.parametrize("measure", [compute_auroc, compute_fpr_at_tpr])
def test_ood_metrics_of_an_empty_class_are_refused(measure: object) -> None:
    assert callable(measure)
    for positives, negatives in ((np.empty(0), np.ones(2)), (np.ones(2), np.empty(0))):
        with pytest.raises(ValueError, match=f"received {len(positives)} positives, {len(negatives)} negatives"):
            measure(positives, negatives)


@given(ANSWERS, st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]))
def test_threshold_is_the_lowest_that_is_precise_enough(answers: list[tuple[float, bool]], target: float) -> None:
    def describe(threshold: float) -> OperatingPoint:
        given_answers = [right for score, right in answers if score >= threshold]
        return OperatingPoint(threshold, sum(given_answers) / len(given_answers), len(given_answers) / len(answers))

    possible = [describe(score) for score, _ in answers]
    best = max(calibration.precision for calibration in possible)
    expected = min(
        (calibration for calibration in possible if calibration.precision >= min(target, best)),
        key=lambda calibration: calibration.threshold,
    )
    scores, correct = np.array([score for score, _ in answers]), np.array([right for _, right in answers])
    assert choose_operating_point(scores, correct, target) == expected


def test_threshold_of_an_unreachable_target_is_the_most_precise_one() -> None:
    scores, correct = np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, True, True, False])
    assert choose_operating_point(scores, correct, 0.99) == OperatingPoint(0.7, 2 / 3, 0.75)


def test_threshold_when_nothing_is_right_answers_as_it_must() -> None:
    assert choose_operating_point(np.array([0.9, 0.3]), np.array([False, False]), 0.9) == OperatingPoint(0.3, 0.0, 1.0)


def test_threshold_found_on_float32_scores_lets_the_same_scores_pass() -> None:
    scores = np.random.default_rng(0).random(50, dtype=np.float32)
    calibration = choose_operating_point(scores, scores > 0.5, 0.8)
    assert sum(float(score) >= calibration.threshold for score in scores) == round(calibration.answered_fraction * 50)


def test_photos_may_count_more_than_others() -> None:
    scores, correct = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, True])
    weights = np.array([1.0, 3.0, 1.0, 4.0])
    assert choose_operating_point(scores, correct, 0.6, weights) == OperatingPoint(0.1, 6 / 9, 1.0)
    assert choose_operating_point(scores, correct, 0.7, weights) == OperatingPoint(0.9, 1.0, 1 / 9)
    assert choose_operating_point(scores, correct, 0.7) == OperatingPoint(0.1, 0.75, 1.0)


def test_with_groups_nine_of_ten_samples_reach_the_target() -> None:
    """Wrong answers come in kinds; the threshold must hold when other kinds are drawn."""
    random = np.random.default_rng(1)
    kinds = np.arange(60) % 6
    scores = np.concatenate([random.normal(2, 1, 200), random.normal(0, 1, 60) + kinds - 3])
    correct = np.arange(260) < 200
    weights = np.where(correct, 1.0, 200 / 60)
    groups = [*(f"photo {row}" for row in range(200)), *(f"kind {kind}" for kind in kinds)]
    plain, careful = (choose_operating_point(scores, correct, 0.9, weights, names) for names in (None, groups))
    assert careful.threshold > plain.threshold
    assert careful.precision > plain.precision >= 0.9

    def draw_precision(threshold: float) -> float:
        seen = scores >= threshold
        drawn = random.integers(0, 6, 6)
        passed = [np.mean(seen[200:][kinds == kind]) for kind in drawn]
        own = np.mean(seen[:200][random.integers(0, 200, 200)])
        return float(own / (own + np.mean(passed)))

    reached = {
        point: np.mean([draw_precision(point.threshold) >= 0.9 for _ in range(3000)]) for point in (plain, careful)
    }
    assert reached[careful] == pytest.approx(0.9, abs=0.06)
    assert reached[plain] < 0.75
    assert choose_operating_point(scores, correct, 0.9, weights, groups) == careful


def test_threshold_refuses_no_scores_and_nan() -> None:
    with pytest.raises(ValueError, match="received 0 scores"):
        choose_operating_point(np.empty(0), np.empty(0, bool), 0.9)
    with pytest.raises(ValueError, match="without NaN, received 2 scores"):
        choose_operating_point(np.array([0.1, np.nan]), np.array([True, True]), 0.9)


@given(ANSWERS, st.integers(2, 15))
def test_reliability_is_the_mean_of_each_bin(answers: list[tuple[float, bool]], bins: int) -> None:
    confidences, correct = np.array([score for score, _ in answers]), np.array([right for _, right in answers])
    reliability = compute_reliability(confidences, correct, bins)
    error = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        own = [(c, r) for c, r in answers if low < c <= high or (number == 0 and c == 0)]
        assert reliability.photos[number] == len(own)
        if own:
            confidence, accuracy = sum(c for c, _ in own) / len(own), sum(r for _, r in own) / len(own)
            assert reliability.confidence[number] == pytest.approx(confidence)
            assert reliability.accuracy[number] == pytest.approx(accuracy)
            error += len(own) / len(answers) * abs(accuracy - confidence)
        else:
            assert math.isnan(reliability.confidence[number])
            assert math.isnan(reliability.accuracy[number])
    assert reliability.error == pytest.approx(error, abs=1e-12)


def test_perfectly_calibrated_answers_have_no_error() -> None:
    confidences = np.repeat([0.25, 0.75], 4)
    correct = np.array([True, False, False, False, True, True, True, False])
    assert compute_reliability(confidences, correct, 10).error == 0


@given(ANSWERS, st.integers(2, 15), st.integers(0, 9))
def test_a_weight_of_two_counts_like_two_photos(answers: list[tuple[float, bool]], bins: int, seed: int) -> None:
    confidences, correct = np.array([score for score, _ in answers]), np.array([right for _, right in answers])
    weights = np.random.default_rng(seed).integers(1, 4, len(answers))
    weighted = compute_reliability(confidences, correct, bins, weights.astype(float))
    repeated = compute_reliability(np.repeat(confidences, weights), np.repeat(correct, weights), bins)
    assert weighted.error == pytest.approx(repeated.error, abs=1e-12)


def test_a_calibrated_model_falls_into_its_simulated_range_and_another_does_not() -> None:
    random = np.random.default_rng(0)
    confidences = random.random(400)
    low, high = simulate_calibration_error(confidences, 10, 500, seed=1)
    assert 0 < low < high < 0.1
    inside = [
        low <= compute_reliability(confidences, random.random(400) < confidences, 10).error <= high for _ in range(300)
    ]
    assert 0.9 < np.mean(inside) < 0.99
    overconfident = compute_reliability(confidences, random.random(400) < confidences**2, 10).error
    assert overconfident > high
    assert simulate_calibration_error(confidences, 10, 500, seed=1) == (low, high)


@given(st.data(), st.integers(1, 6), st.integers(1, 20))
def test_rank_is_the_place_in_the_sorted_answers(data: st.DataObject, labels: int, photos: int) -> None:
    row = st.lists(st.sampled_from([0.0, 0.2, 0.5]), min_size=labels, max_size=labels)
    probabilities = data.draw(st.lists(row, min_size=photos, max_size=photos))
    truth = data.draw(st.lists(st.integers(0, labels - 1), min_size=photos, max_size=photos))
    expected = [
        sorted(range(labels), key=lambda label: (-own[label], label)).index(actual)
        for own, actual in zip(probabilities, truth, strict=True)
    ]
    assert compute_ranks(np.array(probabilities), np.array(truth, np.int32)).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=50))
def test_macro_recall_is_the_mean_of_recalls(answers: list[tuple[int, bool]]) -> None:
    recalls = []
    for label in {label for label, _ in answers}:
        own = [right for other, right in answers if other == label]
        recalls.append(sum(own) / len(own))
    labels, correct = np.array([label for label, _ in answers]), np.array([right for _, right in answers])
    assert compute_macro_recall(correct, labels) == pytest.approx(sum(recalls) / len(recalls))


def test_macro_recall_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        compute_macro_recall(np.empty(0, bool), np.empty(0, np.int32))


def test_negative_log_likelihood_by_hand_and_of_a_zero() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]], np.float32)
    expected = -(math.log(0.25) + math.log(np.float32(0.8))) / 2
    assert compute_negative_log_likelihood(probabilities, np.array([1, 1])) == pytest.approx(expected)
    assert compute_negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(87.336544)


def test_the_fifth_answer_counts_for_top5_and_the_sixth_does_not() -> None:
    ranks = np.array([0, 1, 4, 5, 6])
    found = compute_accuracies(ranks, np.zeros(5, np.int64))
    assert (found["top1"], found["top5"]) == (0.2, 0.6)


@pytest.mark.parametrize(("percent", "negatives", "expected"), [(95, [5.0, 4.9], 0.5), (99, [1.0, 0.9, 0.0], 1 / 3)])
def test_the_rate_of_true_positives_is_of_a_hundred_parts(
    percent: int, negatives: list[float], expected: float
) -> None:
    found = compute_fpr_at_tpr(np.arange(100.0), np.array(negatives), percent)
    assert found == pytest.approx(expected)
