"""Landmark or none: how well the landmark score tells them apart, and what that does to the answers.

Photos of no landmark count as often as photos of one: of more of them the first by a hash of their ids are taken, fewer
are weighted. AUROC and the rate of false positives do not depend on their number, and take all of them.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.evaluation.gap import compute_gap
from landmarks.evaluation.metrics import Bools, Floats, compute_auroc, compute_fpr_at_tpr
from landmarks.evaluation.predictions import Predictions


def measure_separation(test: Predictions, distractors: Predictions, threshold: float) -> dict[str, float]:
    """GAP with and without photos of no landmark, AUROC, false positives, and what the threshold does.

    Args:
        test: photos of landmarks.
        distractors: photos of none; perhaps no photos, then what needs them is absent.
        threshold: of rejection, as calibrated on val.
    """
    mixture = _mix(test, distractors)
    metrics = _measure_gap(test, mixture) | _measure_rejection(mixture, threshold)
    if len(distractors.labels):
        metrics |= {
            "auroc": compute_auroc(test.scores, distractors.scores),
            "fpr_at_95_tpr": compute_fpr_at_tpr(test.scores, distractors.scores),
        }
    return metrics


def tabulate_precision(test: Predictions, distractors: Predictions) -> pd.DataFrame:
    """The precision-coverage curve.

    Returns:
        `confidence`, `coverage` (part of the landmark photos that is answered where that much is asked for) and
        `precision` (part of those answers that is right), one row per confidence that occurs.
    """
    return _tabulate_precision(_mix(test, distractors))


@dataclass(frozen=True)
class _Mixture:
    """Photos of landmarks and as many of none, each with what it counts."""

    image_ids: tuple[str, ...]
    scores: Floats
    confidences: Floats
    correct: Bools
    is_landmark: Bools
    weights: npt.NDArray[np.float64]


def _mix(test: Predictions, distractors: Predictions) -> _Mixture:
    hashes = [sha256(image_id.encode()).digest() for image_id in distractors.image_ids]
    chosen = sorted(range(len(hashes)), key=hashes.__getitem__)[: len(test.labels)]
    weight = len(test.labels) / len(chosen) if chosen else 1.0
    return _Mixture(
        image_ids=test.image_ids + tuple(distractors.image_ids[place] for place in chosen),
        scores=np.concatenate([test.scores, distractors.scores[chosen]]),
        confidences=np.concatenate([test.confidences, distractors.confidences[chosen]]),
        correct=np.concatenate([test.correct, np.zeros(len(chosen), np.bool_)]),
        is_landmark=np.arange(len(test.labels) + len(chosen)) < len(test.labels),
        weights=np.concatenate([np.ones(len(test.labels)), np.full(len(chosen), weight)]),
    )


def _measure_gap(test: Predictions, mixture: _Mixture) -> dict[str, float]:
    photos = len(test.labels)
    metrics = {"gap_without_distractors": compute_gap(test.confidences, test.correct, photos, test.image_ids)}
    if not mixture.is_landmark.all():
        metrics["gap"] = compute_gap(mixture.confidences, mixture.correct, photos, mixture.image_ids, mixture.weights)
    return metrics


def _tabulate_precision(mixture: _Mixture) -> pd.DataFrame:
    order = np.argsort(-mixture.confidences, kind="stable")
    confidences, weights = mixture.confidences[order], mixture.weights[order]
    # photos with equal scores are answered together or not at all
    last_of_equals = np.append(confidences[1:] != confidences[:-1], True)
    coverage = np.cumsum(mixture.is_landmark[order]) / mixture.is_landmark.sum()
    precision = np.cumsum(weights * mixture.correct[order]) / np.cumsum(weights)
    return pd.DataFrame({"confidence": confidences, "coverage": coverage, "precision": precision})[last_of_equals]


def _measure_rejection(mixture: _Mixture, threshold: float) -> dict[str, float]:
    """Which photos are taken for landmarks at the threshold, and how many of these are, and have the right name."""
    # in float64, as the recognizer compares one photo
    answered = mixture.scores.astype(np.float64) >= threshold
    is_landmark = mixture.is_landmark
    metrics = {"threshold": threshold, "answered_fraction": float(answered[is_landmark].mean())}
    if not is_landmark.all():
        metrics["answered_distractors_fraction"] = float(answered[~is_landmark].mean())
    if answered.any():
        answers = mixture.weights[answered].sum()
        metrics["landmark_precision"] = float(mixture.weights[answered] @ is_landmark[answered] / answers)
        metrics["answer_precision"] = float(mixture.weights[answered] @ mixture.correct[answered] / answers)
    return metrics
