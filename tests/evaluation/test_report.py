"""The evaluation as a whole, on answers small enough to count by hand, and its intervals."""

import dataclasses
import json
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import DataError
from landmarks.evaluation.predictions import Predictions
from landmarks.evaluation.report import Evaluation, compute_intervals, count_confusions, evaluate, list_names
from landmarks.params import EvaluateParams
from landmarks.schema.vocabulary import Landmark

PARAMS = EvaluateParams(bootstrap_samples=200, calibration_bins=5, gallery_photos=4, confusions=2, queries=3, seed=3)
LANDMARKS = (
    Landmark(0, 7, "Colosseum", 5, 1, 3),
    Landmark(1, 11, "Hagia Sophia", 4, 1, 2),
    Landmark(2, 40, "", 3, 1, 1),
    Landmark(3, 41, "Never Asked", 2, 1, 0),
)


def make_answers(labels: list[int], probabilities: list[list[float]]) -> Predictions:
    values = np.array(probabilities, np.float32).reshape(len(labels), 4 if not labels else len(probabilities[0]))
    scores = values.max(axis=1) if len(labels) else np.empty(0, np.float32)
    kind = "d" if -1 in labels else "0"
    image_ids = tuple(f"{kind}{i:015x}" for i in range(len(labels)))
    return Predictions(image_ids, np.array(labels, np.int32), values, scores, scores)


TEST = make_answers(
    [0, 0, 0, 1, 1, 2],
    [
        [0.9, 0.1, 0.0, 0.0],
        [0.2, 0.5, 0.2, 0.1],
        [0.1, 0.6, 0.2, 0.1],
        [0.0, 0.3, 0.7, 0.0],
        [0.1, 0.8, 0.1, 0.0],
        [0.4, 0.4, 0.2, 0.0],
    ],
)
DISTRACTORS = make_answers([-1, -1], [[0.3, 0.3, 0.2, 0.2], [0.1, 0.0, 0.9, 0.0]])
NO_DISTRACTORS = make_answers([], [])
NEAR_DUPLICATES = np.array([True, False, False, False, False, False])


def evaluate_all(**changes: Any) -> Evaluation:
    arguments: dict[str, Any] = {
        "test": TEST,
        "distractors": DISTRACTORS,
        "near_duplicates": NEAR_DUPLICATES,
        "threshold": 0.6,
        "landmarks": LANDMARKS,
        "params": PARAMS,
    }
    return evaluate(**(arguments | changes))


def test_metrics_counted_by_hand() -> None:
    metrics = evaluate_all().metrics
    assert metrics["top1"] == pytest.approx(2 / 6)
    assert metrics["top5"] == 1
    assert metrics["macro_recall"] == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert metrics["macro_recall_labels"] == 3
    assert metrics["near_duplicates"] == 1
    assert metrics["top1_without_near_duplicates"] == pytest.approx(1 / 5)
    own = [0.9, 0.2, 0.1, 0.3, 0.8, 0.2]
    assert metrics["nll"] == pytest.approx(-np.log(own).mean(), rel=1e-6)
    # five bins, two wrong answers in each of the third and fourth and two right ones in the last
    # these answers have the softmax as their confidence
    assert metrics["ece_without_distractors"] == metrics["softmax_ece"]
    assert metrics["ece_if_calibrated_low"] < metrics["ece_if_calibrated_high"]
    # with three times the weight, the two distractors, of 0.3 and 0.9, stand beside six photos
    assert metrics["ece"] == pytest.approx((3 * 0.3 + 2 * 0.45 + 2 * 0.65 + (4.4 - 2)) / 12)
    assert metrics["softmax_ece"] == pytest.approx((0.45 + 0.65 + 0.15) / 3)
    assert metrics["auroc"] == pytest.approx((6 + 0.5) / 12)
    assert metrics["fpr_at_95_tpr"] == 1 / 2
    assert metrics["threshold"] == 0.6
    assert (metrics["test_photos"], metrics["test_distractors"]) == (6, 2)


def test_rejection_counted_by_hand() -> None:
    metrics = evaluate_all(threshold=0.65).metrics
    assert metrics["answered_fraction"] == pytest.approx(3 / 6)
    assert metrics["answered_distractors_fraction"] == 1 / 2
    # two distractors stand for six
    assert metrics["answer_precision"] == pytest.approx(2 / (3 + 3))
    assert metrics["landmark_precision"] == pytest.approx(3 / (3 + 3))


def test_gap_counted_by_hand() -> None:
    metrics = evaluate_all().metrics
    assert metrics["gap_without_distractors"] == pytest.approx((1 + 2 / 2) / 6)
    # equal scores go by id; the distractor with the second one counts three times
    assert metrics["gap"] == pytest.approx((1 + 2 / (1 + 3 + 1)) / 6)
    as_many = make_answers([-1] * 9, [[0.9 if i < 3 else 0.1, 0.1, 0.0, 0.0] for i in range(9)])
    more = evaluate_all(distractors=as_many).metrics["gap"]
    chosen = sorted(range(9), key=lambda i: sha256(as_many.image_ids[i].encode()).digest())[:6]
    before = sum(place < 3 for place in chosen)
    assert more == pytest.approx((1 + 2 / (2 + before)) / 6)


def test_answers_are_ranked_by_confidence_and_landmarks_by_their_score() -> None:
    metrics, turned = evaluate_all().metrics, dataclasses.replace(TEST, scores=1 - TEST.scores)
    assert evaluate_all(test=turned).metrics["gap"] == metrics["gap"]
    assert evaluate_all(test=turned).metrics["auroc"] != metrics["auroc"]
    unsure = dataclasses.replace(TEST, confidences=1 - TEST.confidences)
    assert evaluate_all(test=unsure).metrics["gap"] < metrics["gap"]
    assert evaluate_all(test=unsure).metrics["auroc"] == metrics["auroc"]


def test_precision_over_coverage_ends_with_all_photos() -> None:
    curve = evaluate_all().precision_coverage
    assert curve["confidence"].is_monotonic_decreasing
    assert curve["confidence"].is_unique
    assert curve["coverage"].tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])
    assert curve["precision"].iloc[0] == pytest.approx(1 / 4)
    assert curve["precision"].iloc[-1] == pytest.approx(2 / 12)


def test_a_score_equal_to_the_threshold_is_answered() -> None:
    threshold = float(np.float32(0.9))
    assert evaluate_all(threshold=threshold).metrics["answered_fraction"] == pytest.approx(1 / 6)
    above = float(np.nextafter(threshold, 1))
    assert evaluate_all(threshold=above).metrics["answered_fraction"] == 0


def test_undefined_metrics_are_absent_and_the_rest_is_json() -> None:
    metrics = evaluate_all(distractors=NO_DISTRACTORS, near_duplicates=np.ones(6, bool), threshold=0.95).metrics
    absent = {"auroc", "gap", "fpr_at_95_tpr", "answered_distractors_fraction"}
    absent |= {"answer_precision", "landmark_precision"}
    assert not {*absent, "top1_without_near_duplicates"} & set(metrics)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert set(evaluate_all().metrics) - set(metrics) == {*absent, "top1_without_near_duplicates"}


def test_table_of_landmarks() -> None:
    table = evaluate_all().per_landmark.set_index("landmark_id")
    assert table["photos"].tolist() == [3, 2, 1, 0]
    assert table["train_photos"].tolist() == [5, 4, 3, 2]
    np.testing.assert_allclose(table["recall"], [1 / 3, 1 / 2, 0, np.nan])
    np.testing.assert_allclose(table["precision"], [1 / 2, 1 / 3, 0, np.nan])
    assert table["most_frequent_wrong_answer"].fillna("").tolist() == ["Hagia Sophia", "landmark 40", "Colosseum", ""]
    assert table["wrong_photos"].tolist() == [2, 1, 1, 0]


def test_table_of_confusions_is_cut_but_ordered() -> None:
    expected = [("Colosseum", "Hagia Sophia", 2), ("Hagia Sophia", "landmark 40", 1), ("landmark 40", "Colosseum", 1)]
    every = count_confusions(TEST, list_names(LANDMARKS))
    assert list(every[["actual", "predicted", "photos"]].itertuples(index=False, name=None)) == expected
    pd.testing.assert_frame_equal(evaluate_all().confusions, every.head(2))


def test_table_of_predictions() -> None:
    table = evaluate_all().predictions
    assert table["image_id"].tolist() == list(TEST.image_ids)
    assert table["actual"].tolist() == ["Colosseum"] * 3 + ["Hagia Sophia"] * 2 + ["landmark 40"]
    assert table["predicted"].tolist()[3:] == ["landmark 40", "Hagia Sophia", "Colosseum"]
    assert table["rank"].tolist() == [1, 2, 3, 2, 1, 3]
    np.testing.assert_allclose(table["score"], [0.9, 0.5, 0.6, 0.7, 0.8, 0.4])
    np.testing.assert_allclose(table["actual_probability"], [0.9, 0.2, 0.1, 0.3, 0.8, 0.2])
    assert table["near_duplicate"].tolist() == NEAR_DUPLICATES.tolist()


def test_all_right_leaves_no_confusions() -> None:
    right = make_answers([0, 1], [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    evaluation = evaluate_all(test=right, near_duplicates=np.zeros(2, bool))
    assert evaluation.confusions.empty
    assert evaluation.per_landmark["most_frequent_wrong_answer"].isna().all()
    assert [evaluation.metrics[name] for name in ("top1", "top1_low", "top1_high", "macro_recall")] == [1, 1, 1, 1]
    assert evaluation.metrics["ece_without_distractors"] == 0


def test_one_photo_of_one_label() -> None:
    metrics = evaluate_all(test=make_answers([1], [[0.1, 0.2, 0.6, 0.1]]), near_duplicates=np.zeros(1, bool)).metrics
    assert (metrics["top1"], metrics["top1_high"], metrics["top5"], metrics["macro_recall_labels"]) == (0, 0, 1, 1)


def test_refuses_no_test_photos_and_numbers_that_are_none() -> None:
    with pytest.raises(DataError, match="no test photos"):
        evaluate_all(test=NO_DISTRACTORS, near_duplicates=np.empty(0, bool))
    broken = dataclasses.replace(TEST, probabilities=np.full_like(TEST.probabilities, np.nan))
    with pytest.raises(DataError, match="NaN or infinite values"):
        evaluate_all(test=broken)


def test_names_are_told_apart() -> None:
    same = [
        Landmark(0, 5, "Town Hall", 1, 0, 0),
        Landmark(1, 6, "Opera", 1, 0, 0),
        Landmark(2, 9, "Town Hall", 1, 0, 0),
    ]
    assert list_names(same) == ["Town Hall (5)", "Opera", "Town Hall (9)"]


def test_intervals_are_the_percentiles_of_resampled_accuracies() -> None:
    generator = np.random.default_rng(8)
    ranks, labels = generator.integers(0, 8, 60), generator.integers(0, 5, 60)
    intervals = compute_intervals(ranks, labels, samples=150, seed=4)
    draws: dict[str, list[float]] = {"top1": [], "top5": [], "macro_recall": []}
    again = np.random.default_rng(4)
    for _ in range(150):
        chosen = again.integers(60, size=60)
        draws["top1"].append(sum(ranks[i] == 0 for i in chosen) / 60)
        draws["top5"].append(sum(ranks[i] < 5 for i in chosen) / 60)
        held = sorted({labels[i] for i in chosen})
        recalls = []
        for label in held:
            own = [ranks[i] == 0 for i in chosen if labels[i] == label]
            recalls.append(sum(own) / len(own))
        draws["macro_recall"].append(sum(recalls) / len(recalls))
    for name, values in draws.items():
        assert intervals[name] == pytest.approx((np.quantile(values, 0.025), np.quantile(values, 0.975)))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """300 test sets of 80 photos from a recognizer that is right with chance 0.6."""
    generator = np.random.default_rng(0)
    labels = np.zeros(80, np.int32)
    held = 0
    for _ in range(300):
        low, high = compute_intervals((generator.random(80) > 0.6).astype(np.int32), labels, 200, 0)["top1"]
        held += low <= 0.6 <= high
    assert 0.90 <= held / 300 <= 0.98


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 1000))
def test_intervals_enclose_the_accuracies_and_fractions_are_fractions(photos: int, labels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(labels), photos).tolist()
    answers = make_answers(generator.integers(0, labels, photos).tolist(), probabilities)
    landmarks = tuple(Landmark(label, label, f"name {label}", 1, 1, 1) for label in range(labels))
    metrics = evaluate_all(
        test=answers, distractors=NO_DISTRACTORS, near_duplicates=np.zeros(photos, bool), landmarks=landmarks
    ).metrics
    for name in ("top1", "top5"):
        assert 0 <= metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"] <= 1
    assert 0 <= metrics["ece"] <= 1
    assert metrics["top1"] == metrics["top1_without_near_duplicates"] <= metrics["top5"]
