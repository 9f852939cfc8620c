"""Evaluate predictions for the test split: metrics and tables from arrays, without I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.errors import DataError
from landmarks.evaluation.metrics import (
    Bools,
    Ints,
    compute_accuracies,
    compute_negative_log_likelihood,
    compute_ranks,
    compute_reliability,
    simulate_calibration_error,
)
from landmarks.evaluation.ood import measure_ood, mix, tabulate_precision
from landmarks.evaluation.predictions import Predictions
from landmarks.params import EvaluateParams
from landmarks.schema.vocabulary import Landmark

EMBEDDINGS_FILE = "test_embeddings.npy"
TABLES = ("per_landmark", "confusions", "predictions", "reliability", "precision_coverage")
_INTERVAL_PERCENTILES = (2.5, 97.5)  # of a 95 % interval


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a recognizer, with tables of details.

    Attributes:
        metrics: by flat names; a metric that is not defined for these photos is absent.
        precision_coverage: the precision-coverage curve, as `ood.tabulate_precision` returns it.
        per_landmark: one row per label: `photos`, `recall`, `precision`, `most_frequent_wrong_answer`, ….
        confusions: `actual`, `predicted`, `photos`; the most frequent first.
        predictions: one row per test photo.
        reliability: one row per bin of the confidence that users see, with the weights of photos as `photos`;
            distractors count as much as landmark photos.
    """

    metrics: dict[str, float]
    per_landmark: pd.DataFrame
    confusions: pd.DataFrame
    predictions: pd.DataFrame
    reliability: pd.DataFrame
    precision_coverage: pd.DataFrame


def evaluate(
    test: Predictions,
    distractors: Predictions,
    near_duplicates: Bools,
    threshold: float,
    landmarks: Sequence[Landmark],
    params: EvaluateParams,
) -> Evaluation:
    """Compute the metrics and tables of the test split.

    Args:
        test: predictions for landmark photos.
        distractors: predictions for distractors (non-landmark photos); may be empty.
        near_duplicates: bool (n,), whether a test photo is a near-duplicate of a training photo.
        threshold: the operating point, calibrated on val.
        landmarks: the vocabulary, by label.
        params: the section `evaluate`.

    Raises:
        DataError: there are no test photos, or a probability is NaN or infinite.
    """
    _check(test)
    _check(distractors, may_be_empty=True)
    bins = params.calibration_bins
    shown = mix(test, distractors)  # the confidence is fitted to both
    reliability = compute_reliability(shown.confidences, shown.correct, bins, shown.weights)
    low, high = simulate_calibration_error(
        shown.confidences, bins, params.bootstrap_samples, params.seed, shown.weights
    )
    metrics = {
        **_measure_accuracy(test, near_duplicates, params),
        "ece": reliability.error,
        "ece_if_calibrated_low": low,
        "ece_if_calibrated_high": high,
        "ece_without_distractors": compute_reliability(test.confidences, test.correct, bins).error,
        "softmax_ece": compute_reliability(test.probabilities.max(axis=1), test.correct, bins).error,
        "nll": compute_negative_log_likelihood(test.probabilities, test.labels),
        **measure_ood(test, distractors, threshold),
        "test_photos": float(len(test.labels)),
        "test_distractors": float(len(distractors.labels)),
    }
    names = list_names(landmarks)
    confusions = count_confusions(test, names)
    return Evaluation(
        metrics=metrics,
        per_landmark=_tabulate_landmarks(test, landmarks, names, confusions),
        confusions=confusions.head(params.confusions),
        predictions=_tabulate_predictions(test, near_duplicates, names),
        reliability=pd.DataFrame(
            {
                "confidence_above": reliability.edges[:-1],
                "confidence_to": reliability.edges[1:],
                "photos": reliability.photos,
                "confidence": reliability.confidence,
                "accuracy": reliability.accuracy,
            }
        ),
        precision_coverage=tabulate_precision(test, distractors),
    )


def list_names(landmarks: Sequence[Landmark]) -> list[str]:
    """List a unique name for each label: the name of the landmark, with its landmark_id if the name is not unique.

    >>> list_names([Landmark(0, 7, "Colosseum", 1, 0, 0), Landmark(1, 8, "", 1, 0, 0)])
    ['Colosseum', 'landmark 8']
    """
    names = [landmark.name or f"landmark {landmark.landmark_id}" for landmark in landmarks]
    repeated = pd.Series(names, dtype=str).duplicated(keep=False)
    return [
        f"{name} ({landmark.landmark_id})" if again else name
        for name, landmark, again in zip(names, landmarks, repeated, strict=True)
    ]


def count_confusions(answers: Predictions, names: Sequence[str]) -> pd.DataFrame:
    """Count wrong predictions by actual and predicted label.

    Returns:
        `actual_label`, `predicted_label`, `actual`, `predicted`, `photos`; most photos first, then by label.
    """
    wrong = ~answers.correct
    pairs = pd.DataFrame({"actual_label": answers.labels[wrong], "predicted_label": answers.predicted[wrong]})
    counts = pairs.value_counts(sort=False).rename("photos").reset_index()
    counts = counts.sort_values(["photos", "actual_label", "predicted_label"], ascending=[False, True, True])
    for column in ("predicted", "actual"):
        counts.insert(2, column, [names[label] for label in counts[f"{column}_label"]])
    return counts.reset_index(drop=True)


def compute_intervals(ranks: Ints, labels: Ints, samples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Compute 95 % bootstrap intervals of the accuracies, by the percentile method over photos.

    Macro recall of a resample is the mean over the labels in that resample.

    Args:
        ranks: int (n,), rank of the true label, from 0.
        labels: int (n,).
        samples: number of resamples.
        seed: of the resampling.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    generator = np.random.default_rng(seed)
    drawn = np.empty((samples, 3))  # top1, top5 and macro recall of each resample
    for row in drawn:
        chosen = generator.integers(len(ranks), size=len(ranks))
        row[:] = list(compute_accuracies(ranks[chosen], labels[chosen]).values())
    low, high = np.percentile(drawn, _INTERVAL_PERCENTILES, axis=0)
    names = compute_accuracies(ranks, labels)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}


def _check(answers: Predictions, may_be_empty: bool = False) -> None:
    if not (may_be_empty or len(answers.labels)):
        raise DataError("There are no test photos to evaluate. Raise select.test_fraction or select more photos.")
    if not (np.isfinite(answers.probabilities).all() and np.isfinite([answers.scores, answers.confidences]).all()):
        raise DataError("The network returned NaN or infinite values. Train again with a lower train.learning_rate.")


def _measure_accuracy(test: Predictions, near_duplicates: Bools, params: EvaluateParams) -> dict[str, float]:
    ranks = compute_ranks(test.probabilities, test.labels)
    metrics = compute_accuracies(ranks, test.labels)
    intervals = compute_intervals(ranks, test.labels, params.bootstrap_samples, params.seed)
    for name, (low, high) in intervals.items():
        metrics |= {f"{name}_low": low, f"{name}_high": high}
    metrics["macro_recall_labels"] = float(len(np.unique(test.labels)))
    metrics["near_duplicates"] = float(near_duplicates.sum())
    if not near_duplicates.all():
        metrics["top1_without_near_duplicates"] = float(np.mean(ranks[~near_duplicates] < 1))
    return metrics


def _tabulate_landmarks(
    test: Predictions, landmarks: Sequence[Landmark], names: Sequence[str], confusions: pd.DataFrame
) -> pd.DataFrame:
    photos, answers = (np.bincount(values, minlength=len(names)) for values in (test.labels, test.predicted))
    right = np.bincount(test.labels[test.correct], minlength=len(names))
    worst = confusions.drop_duplicates("actual_label").set_index("actual_label")
    return pd.DataFrame(
        {
            "label": range(len(names)),
            "landmark_id": [landmark.landmark_id for landmark in landmarks],
            "name": names,
            "train_photos": [landmark.train for landmark in landmarks],
            "photos": photos,
            "recall": _divide(right, photos),
            "precision": _divide(right, answers),
            "most_frequent_wrong_answer": worst["predicted"].reindex(range(len(names))).to_numpy(),
            "wrong_photos": worst["photos"].reindex(range(len(names)), fill_value=0).to_numpy(),
        }
    )


def _divide(part: Ints, whole: Ints) -> npt.NDArray[np.float64]:
    """Divide elementwise; NaN where the whole is zero."""
    return np.asarray(np.divide(part, whole, np.full(len(part), np.nan), where=whole > 0))


def _tabulate_predictions(test: Predictions, near_duplicates: Bools, names: Sequence[str]) -> pd.DataFrame:
    own = np.take_along_axis(test.probabilities, test.labels[:, None].astype(np.int64), axis=1)[:, 0]
    return pd.DataFrame(
        {
            "image_id": test.image_ids,
            "actual": [names[label] for label in test.labels],
            "predicted": [names[label] for label in test.predicted],
            "score": test.probabilities.max(axis=1),
            "landmark_score": test.scores,
            "confidence": test.confidences,
            "actual_probability": own,
            "rank": compute_ranks(test.probabilities, test.labels) + 1,
            "near_duplicate": near_duplicates,
        }
    )
