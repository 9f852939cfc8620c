"""OOD detection on the test split: AUROC, FPR at 95 % TPR, GAP, and precision at the operating point.

GAP and precision depend on how many distractors (non-landmark photos) there are, so both kinds get the same total
weight: of more distractors the first by a hash of their ids are taken, fewer are weighted. AUROC and FPR do not depend
on their number, and use all.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.evaluation.gap import compute_gap
from landmarks.evaluation.metrics import Bools, Floats, compute_auroc, compute_fpr_at_tpr
from landmarks.evaluation.predictions import Predictions


def measure_ood(test: Predictions, distractors: Predictions, threshold: float) -> dict[str, float]:
    """Compute GAP with and without distractors, AUROC, FPR at 95 % TPR, and the metrics at the operating point.

    Args:
        test: landmark photos.
        distractors: distractors; without any, metrics that need them are absent.
        threshold: the operating point, calibrated on val.
    """
    mixture, photos = mix(test, distractors), len(test.labels)
    metrics = {"gap_without_distractors": compute_gap(test.confidences, test.correct, photos, test.image_ids)}
    if not mixture.is_landmark.all():
        metrics["gap"] = compute_gap(mixture.confidences, mixture.correct, photos, mixture.image_ids, mixture.weights)
    metrics |= _measure_operating_point(mixture, threshold)
    if len(distractors.labels):
        metrics |= {
            "auroc": compute_auroc(test.scores, distractors.scores),
            "fpr_at_95_tpr": compute_fpr_at_tpr(test.scores, distractors.scores),
        }
    return metrics


def tabulate_precision(test: Predictions, distractors: Predictions) -> pd.DataFrame:
    """Tabulate the precision-coverage curve.

    Returns:
        `confidence`, a threshold; `coverage`, the fraction of landmark photos at or above it; `precision`, the fraction
        of answers at or above it that is correct. One row per confidence that occurs.
    """
    mixture = mix(test, distractors)
    order = np.argsort(-mixture.confidences, kind="stable")
    confidences, weights = mixture.confidences[order], mixture.weights[order]
    # photos with equal confidences are answered together or not at all
    last_of_equals = np.append(confidences[1:] != confidences[:-1], True)
    coverage = np.cumsum(mixture.is_landmark[order]) / mixture.is_landmark.sum()
    precision = np.cumsum(weights * mixture.correct[order]) / np.cumsum(weights)
    return pd.DataFrame({"confidence": confidences, "coverage": coverage, "precision": precision})[last_of_equals]


@dataclass(frozen=True)
class Mixture:
    """Landmark photos and distractors with the same total weight."""

    image_ids: tuple[str, ...]
    scores: Floats
    confidences: Floats
    correct: Bools
    is_landmark: Bools
    weights: npt.NDArray[np.float64]


def mix(test: Predictions, distractors: Predictions) -> Mixture:
    """Put landmark photos and distractors together, with the same total weight."""
    # a hash draws the same sample on every machine, whatever the order of the shards
    hashes = [sha256(image_id.encode()).digest() for image_id in distractors.image_ids]
    chosen = sorted(range(len(hashes)), key=hashes.__getitem__)[: len(test.labels)]
    weight = len(test.labels) / len(chosen) if chosen else 1.0
    return Mixture(
        image_ids=test.image_ids + tuple(distractors.image_ids[place] for place in chosen),
        scores=np.concatenate([test.scores, distractors.scores[chosen]]),
        confidences=np.concatenate([test.confidences, distractors.confidences[chosen]]),
        correct=np.concatenate([test.correct, np.zeros(len(chosen), np.bool_)]),
        is_landmark=np.arange(len(test.labels) + len(chosen)) < len(test.labels),
        weights=np.concatenate([np.ones(len(test.labels)), np.full(len(chosen), weight)]),
    )


def _measure_operating_point(mixture: Mixture, threshold: float) -> dict[str, float]:
    """Compute the fraction of photos at or above the threshold, and how many of them show a landmark or are correct."""
    # in float64, as in `Recognizer.classify`: in float32 a photo at the threshold could fall on the other side
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
