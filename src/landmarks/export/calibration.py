"""Calibration on val: fit the landmark scorer, and choose its operating point for OOD detection."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from landmarks.errors import DataError
from landmarks.export.fitting import fit_balanced, fit_logistic
from landmarks.export.predict import Outputs
from landmarks.params import IndexParams
from landmarks.recognizer.format import DISTRACTORS_FILE
from landmarks.recognizer.logistic import LogisticModel
from landmarks.recognizer.pca import PCA
from landmarks.recognizer.scorer import (
    PIECES,
    Evidence,
    LandmarkScorer,
    ScorerModels,
    collect_evidence,
)
from landmarks.recognizer.similarity_index import SimilarityIndex
from landmarks.schema.network_format import Floats

_PENALTY = 0.01  # L2 penalty of the scorer, which has 6 features
_PROBE_PENALTY = 0.1  # the probe has as many features as the embedding, and needs more regularisation
_FOLDS = 5  # of the cross-validation of the probe
_RESAMPLES = 200  # of the bootstrap of the operating point
_RISK = 0.1  # that the precision on other photos misses its target

Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, with its precision and coverage on the photos that it was chosen on.

    Attributes:
        threshold: photos with at least this score are answered.
        precision: fraction of these answers that is correct.
        answered_fraction: fraction of all photos that is answered.
    """

    threshold: float
    precision: float
    answered_fraction: float


@dataclass(frozen=True)
class Calibration:
    """A fitted scorer with its operating point.

    Attributes:
        models: the logistic models of the scorer.
        operating_point: chosen on val.
        auroc: AUROC of the landmark score, val photos against val distractors; None without distractors.
    """

    models: ScorerModels
    operating_point: OperatingPoint
    auroc: float | None


def calibrate(
    folder: Path,
    gallery: SimilarityIndex,
    gallery_labels: npt.NDArray[np.integer],
    val: Outputs,
    distractors: Outputs,
    categories: Sequence[str],
    known: Floats,
    params: IndexParams,
    pca: PCA | None = None,
) -> Calibration:
    """Fit the scorer and choose its operating point, on val photos and val distractors (non-landmark photos).

    An answer for a distractor is never correct, and both kinds of photos have the same total weight. With
    `params.distractor_penalty` the distractors of train are saved as `distractors.npy`, since a photo that resembles
    them is probably a distractor too, and a linear probe is fitted on their embeddings. Those of val are of other
    kinds, as the ones met in service are. Without distractors in val, the landmark score is the probability that the
    answer is correct.

    Args:
        folder: the index folder; gets `distractors.npy`.
        gallery: embeddings of the training photos.
        gallery_labels: int (n,), by row of the gallery.
        val: outputs of the network for the val photos.
        distractors: outputs for the val distractors.
        categories: of the val distractors.
        known: float32 (m, d), embeddings of the distractors of train.
        params: the section `index`.
        pca: of the gallery.

    Raises:
        DataError: there are no val photos.
    """
    if not len(val.labels) + len(distractors.labels):
        raise DataError("There are no val photos to calibrate the threshold on. Raise select.val_fraction.")
    known = known[known.any(axis=1)] if params.distractor_penalty else known[:0]
    saved = _write_distractors(folder, known, pca)
    landmarks, others = (
        collect_evidence(gallery, gallery_labels, saved, outputs.probabilities, outputs.embeddings)
        for outputs in (val, distractors)
    )
    probe = _add_probe(val.embeddings, landmarks, distractors.embeddings, others, known)
    evidence = Evidence(
        *(np.concatenate([getattr(part, field.name) for part in (landmarks, others)]) for field in fields(Evidence))
    )
    correct = np.concatenate([val.correct, distractors.correct])
    is_landmark = np.arange(len(correct)) < len(val.labels)
    wanted = correct if is_landmark.all() else is_landmark
    # both kinds get the same total weight, so that the threshold does not depend on how many distractors were collected
    weights = np.where(is_landmark, 1.0, len(val.labels) / max(len(distractors.labels), 1) or 1.0)
    models = ScorerModels(
        fit_scorer_model(evidence, wanted, weights), fit_scorer_model(evidence, correct, weights), probe
    )
    scores = LandmarkScorer(gallery, gallery_labels, saved, models).score(evidence)
    groups = [*val.image_ids, *categories] if len(distractors.labels) else None
    operating_point = choose_operating_point(scores, wanted, params.precision_target, weights, groups)
    has_both = not is_landmark.all() and is_landmark.any()
    return Calibration(models, operating_point, float(roc_auc_score(is_landmark, scores)) if has_both else None)


def fit_probe(landmarks: Floats, distractors: Floats) -> tuple[LogisticModel, npt.NDArray[np.float64]]:
    """Fit the linear probe, and compute its out-of-fold log-odds for the landmark photos by cross-validation.

    Args:
        landmarks: float32 (n, d), embeddings of landmark photos, rows of unit length, at least two.
        distractors: float32 (m, d), embeddings of distractors, rows of unit length.

    Returns:
        The probe fitted on all photos, and the out-of-fold log-odds, float64 (n,).
    """
    folds = min(_FOLDS, len(landmarks))
    own = np.arange(len(landmarks)) % folds
    held_out = np.zeros(len(landmarks))
    for fold in range(folds):
        probe = fit_balanced(landmarks[own != fold], distractors, _PROBE_PENALTY)
        held_out[own == fold] = probe.score(landmarks[own == fold])
    return fit_balanced(landmarks, distractors, _PROBE_PENALTY), held_out


def fit_scorer_model(evidence: Evidence, is_positive: Bools, weights: npt.NDArray[np.float64]) -> LogisticModel:
    """Fit one logistic model of the scorer on evidence from val.

    If all targets are equal, the model returns the log-odds of the classifier unchanged.

    Args:
        evidence: of n photos, distractors included.
        is_positive: bool (n,), the target: shows a landmark, or is answered correctly.
        weights: float64 (n,), weight of each photo.

    Raises:
        ValueError: the evidence is not finite.
    """
    if is_positive.all() or not is_positive.any():
        return LogisticModel(np.eye(1, PIECES)[0], 0.0)  # weight 1 for `Evidence.log_odds`, 0 for the rest
    return fit_logistic(evidence.as_features(), is_positive, _PENALTY, weights)


def choose_operating_point(
    scores: npt.NDArray[np.floating],
    correct: Bools,
    precision_target: float,
    weights: npt.NDArray[np.floating] | None = None,
    groups: Sequence[str] | None = None,
) -> OperatingPoint:
    """Choose the lowest threshold that reaches a target precision.

    Photos with equal scores are answered together or not at all, so only scores that occur are thresholds. If no
    threshold reaches the target, choose the one with the highest precision, and the lowest of several.

    With `groups` the target must be reached in nine of ten bootstrap samples, since precision on other photos differs:
    most of all on distractors of other kinds. Correct and wrong answers are drawn apart, each group as a whole.

    Args:
        scores: float (n,).
        correct: bool (n,), whether answering the photo would be correct; False for distractors.
        precision_target: wanted fraction of correct answers.
        weights: float (n,), weight of each photo; 1 each if None.
        groups: names of what is drawn as a whole, such as the categories of distractors, one per photo.

    Raises:
        ValueError: there are no photos, or a score is NaN.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3 (percentiles).

    >>> choose_operating_point(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]), 0.6)
    OperatingPoint(threshold=0.7, precision=0.6666666666666666, answered_fraction=0.75)
    """
    if not len(scores) or np.isnan(scores).any():
        missing = int(np.isnan(scores).sum())
        raise ValueError(f"A threshold needs scores without NaN, received {len(scores)} scores, {missing} of them NaN.")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    counts = np.ones(len(scores)) if weights is None else weights[order].astype(np.float64)

    def measure(own_counts: Doubles) -> Doubles:
        answered = np.cumsum(own_counts)[last_of_equals]
        right = np.cumsum(own_counts * correct[order])[last_of_equals]
        return np.asarray(np.divide(right, answered, out=np.ones(len(answered)), where=answered > 0))

    precisions = lowest = measure(counts)
    if groups is not None:
        samples = _draw_samples(counts, correct[order], np.asarray(groups, object)[order])
        lowest = np.quantile([measure(sample).astype(np.float32) for sample in samples], _RISK, axis=0)
    chosen = np.flatnonzero(lowest >= min(precision_target, lowest.max()))[-1]
    threshold = ordered[last_of_equals][chosen]
    answered = np.cumsum(counts)[last_of_equals]
    return OperatingPoint(float(threshold), float(precisions[chosen]), float(answered[chosen] / answered[-1]))


def _draw_samples(counts: Doubles, correct: Bools, groups: npt.NDArray[np.object_]) -> Iterator[Doubles]:
    """Draw bootstrap samples as weights of the photos, float64 (n,); correct and wrong ones keep their total weight."""
    random = np.random.default_rng(0)
    kinds = [np.flatnonzero(correct == kind) for kind in (True, False)]
    numbers = [np.unique(groups[rows].astype(str), return_inverse=True)[1] for rows in kinds]
    for _ in range(_RESAMPLES):
        sample = np.zeros(len(counts))
        for rows, own in zip(kinds, numbers, strict=True):
            if len(rows):
                number = int(own.max()) + 1
                drawn = counts[rows] * random.multinomial(number, np.full(number, 1 / number))[own]
                sample[rows] = drawn * (counts[rows].sum() / drawn.sum())
        yield sample


def _add_probe(
    embeddings: Floats, landmarks: Evidence, distractors: Floats, others: Evidence, known: Floats
) -> LogisticModel | None:
    """Add the log-odds of the probe to the evidence, and return the probe; None if it cannot be fitted."""
    seen, seen_distractors = embeddings.any(axis=1), distractors.any(axis=1)
    if seen.sum() < 2 or not len(known):
        return None
    probe, landmarks.probe[seen] = fit_probe(embeddings[seen], known)
    others.probe[seen_distractors] = probe.score(distractors[seen_distractors])
    return probe


def _write_distractors(folder: Path, known: Floats, pca: PCA | None) -> SimilarityIndex | None:
    if not len(known):
        return None
    # saved and loaded again, so that calibration sees the rounding to float16 that serving sees
    np.save(folder / DISTRACTORS_FILE, (pca.apply(known) if pca else known).astype(np.float16))
    return SimilarityIndex.load(folder / DISTRACTORS_FILE, pca)
