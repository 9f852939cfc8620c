"""Fitting the landmark scorer on val, and choosing its operating point: the least score of a landmark."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import compress
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
    NEIGHBOURS,
    PIECES,
    Evidence,
    LandmarkScorer,
    ScorerModels,
    collect_evidence,
)
from landmarks.recognizer.similarity_index import SimilarityIndex
from landmarks.schema.network_format import Floats

_PENALTY = 0.01
_PROBE_PENALTY = 0.1
_FOLDS = 5

Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, with what it brings on the photos it was chosen on.

    Attributes:
        threshold: photos with this score or a higher one are answered.
        precision: of those answers, the part that is right.
        answered_fraction: of all photos, the part that is answered.
    """

    threshold: float
    precision: float
    answered_fraction: float


@dataclass(frozen=True)
class Calibration:
    """A fitted scorer with its operating point.

    Attributes:
        models: of the scorer.
        operating_point: chosen on val.
        auroc: how well the landmark score separates val photos from val distractors; None without distractors.
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
    params: IndexParams,
    pca: PCA | None = None,
) -> Calibration:
    """Fit the scorer and choose its operating point, on val photos and val distractors.

    A distractor is never right, and all distractors together weigh as much as all landmark photos together. Where
    `params.distractor_penalty` is on, the distractors are kept as `distractors.npy`, since what resembles them is
    probably no landmark either, and a probe learns what sets them apart. This needs two categories at least: with one,
    nothing is known about how those of others look. Without distractors, the landmark score is the chance that the
    answer is right.

    Args:
        folder: gets `distractors.npy`.
        gallery: the embeddings of the training photos.
        gallery_labels: int (n,), by row of the gallery.
        val: what the network gives for the val photos.
        distractors: the same for the val distractors.
        categories: of the distractors; not used where `params.distractor_penalty` is off.
        params: the section `index`.
        pca: of the gallery.

    Raises:
        DataError: there are no val photos.
    """
    if not len(val.labels) + len(distractors.labels):
        raise DataError("There are no val photos to calibrate the threshold on. Raise select.val_fraction.")
    categories = categories if params.distractor_penalty else []
    shorter = pca.apply(distractors.embeddings) if pca else distractors.embeddings
    known = _write_distractors(folder, shorter, categories, pca)
    landmarks = collect_evidence(gallery, gallery_labels, known, val.probabilities, val.embeddings)
    others = collect_evidence(gallery, gallery_labels, None, distractors.probabilities, distractors.embeddings)
    probe = None
    if known is not None:
        others.distractor_similarity[:] = compute_distractor_similarity(shorter, categories)
        probe = _add_probe(val.embeddings, landmarks, distractors.embeddings, others, categories)
    evidence = Evidence(
        *(np.concatenate([getattr(part, field.name) for part in (landmarks, others)]) for field in fields(Evidence))
    )
    correct = np.concatenate([val.correct, distractors.correct])
    is_landmark = np.arange(len(correct)) < len(val.labels)
    wanted = correct if is_landmark.all() else is_landmark
    # both kinds weigh the same, however many photos there are
    weights = np.where(is_landmark, 1.0, len(val.labels) / max(len(distractors.labels), 1) or 1.0)
    models = ScorerModels(
        fit_scorer_model(evidence, wanted, weights), fit_scorer_model(evidence, correct, weights), probe
    )
    scores = LandmarkScorer(gallery, gallery_labels, known, models).score(evidence)
    operating_point = choose_operating_point(scores, wanted, params.precision_target, weights)
    return Calibration(models, operating_point, _compute_auroc(scores, is_landmark))


def compute_distractor_similarity(embeddings: Floats, categories: Sequence[str]) -> Floats:
    """`Evidence.distractor_similarity` of known distractors, each measured against those of other categories.

    Photos of one category resemble each other; what comes later is of categories that nobody knew.

    Args:
        embeddings: float32 (n, d), rows of unit length, or of zeros where the network finds nothing.
        categories: of the n photos.
    """
    found = np.zeros(len(embeddings), np.float32)
    kinds = np.asarray(categories, object)
    for kind in sorted(set(categories)):
        own = kinds == kind
        others = embeddings[~own & embeddings.any(axis=1)]
        asked = own & embeddings.any(axis=1)
        if len(others) and asked.any():
            found[asked] = SimilarityIndex.from_embeddings(others).search(embeddings[asked], NEIGHBOURS)[0].mean(axis=1)
    return found


def fit_probe(
    landmarks: Floats, distractors: Floats, categories: Sequence[str]
) -> tuple[LogisticModel, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit the probe, and tell what it says of the photos it was fitted on when they were not.

    A photo is scored by a probe that was fitted without its fold; photos of one category are in one fold, since what
    comes later is of categories that nobody knew.

    Args:
        landmarks: float32 (n, d), embeddings of landmark photos, rows of unit length.
        distractors: float32 (m, d), of photos of no landmark.
        categories: of the m photos, at least two of them different.

    Returns:
        The probe fitted on all, and log-odds float64 (n,) and (m,) by those that were not.
    """
    kinds = {kind: place for place, kind in enumerate(sorted(set(categories)))}
    folds = min(_FOLDS, len(kinds), len(landmarks))
    own = np.arange(len(landmarks)) % folds
    other = np.array([kinds[kind] % folds for kind in categories])
    held_out, held_out_distractors = np.zeros(len(landmarks)), np.zeros(len(distractors))
    for fold in range(folds):
        probe = fit_balanced(landmarks[own != fold], distractors[other != fold], _PROBE_PENALTY)
        held_out[own == fold] = probe.score(landmarks[own == fold])
        held_out_distractors[other == fold] = probe.score(distractors[other == fold])
    return fit_balanced(landmarks, distractors, _PROBE_PENALTY), held_out, held_out_distractors


def fit_scorer_model(evidence: Evidence, is_so: Bools, weights: npt.NDArray[np.float64]) -> LogisticModel:
    """Find how much each piece of evidence counts, on photos that were not trained on.

    Where all are so, or none, the classifier's own odds are the answer.

    Args:
        evidence: of n photos, those of no landmark among them.
        is_so: bool (n,), whether it is as the model shall say: a landmark, or a right answer.
        weights: float64 (n,), what each photo counts.

    Raises:
        ValueError: the evidence is not finite.
    """
    if is_so.all() or not is_so.any():
        return LogisticModel(np.eye(1, PIECES)[0], 0.0)
    return fit_logistic(evidence.as_features(), is_so, _PENALTY, weights)


def choose_operating_point(
    scores: npt.NDArray[np.floating],
    correct: Bools,
    precision_target: float,
    weights: npt.NDArray[np.floating] | None = None,
) -> OperatingPoint:
    """Find the lowest threshold at which the answers are precise enough.

    Photos with equal scores are answered together or not at all, so thresholds are scores that occur. Where no
    threshold reaches the target, it is the one with the highest precision there is, of these the lowest.

    Args:
        scores: float (n,).
        correct: bool (n,), whether answering the photo would be right; never for one that shows no landmark.
        precision_target: of the answers, this part is to be right.
        weights: float (n,), what each photo counts; all the same where None.

    Raises:
        ValueError: there are no photos, or a score is NaN.

    >>> choose_operating_point(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]), 0.6)
    OperatingPoint(threshold=0.7, precision=0.6666666666666666, answered_fraction=0.75)
    """
    if not len(scores) or np.isnan(scores).any():
        raise ValueError(f"A threshold needs scores without NaN, received {len(scores)} scores.")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    counts = np.ones(len(scores)) if weights is None else weights[order]
    answered = np.cumsum(counts)[last_of_equals]
    precisions = np.cumsum(counts * correct[order])[last_of_equals] / answered
    chosen = np.flatnonzero(precisions >= min(precision_target, precisions.max()))[-1]
    threshold = ordered[last_of_equals][chosen]
    return OperatingPoint(float(threshold), float(precisions[chosen]), float(answered[chosen] / answered[-1]))


def _compute_auroc(scores: Floats, is_landmark: Bools) -> float | None:
    return None if is_landmark.all() or not is_landmark.any() else float(roc_auc_score(is_landmark, scores))


def _add_probe(
    embeddings: Floats, landmarks: Evidence, distractors: Floats, others: Evidence, categories: Sequence[str]
) -> LogisticModel | None:
    """Add the probe's log-odds to the evidence, and return the probe; None with too few photos to fit it on.

    The distractors are known ones: the network finds something in at least two of their categories.
    """
    seen, seen_distractors = np.asarray(embeddings.any(axis=1)), np.asarray(distractors.any(axis=1))
    if seen.sum() < 2:
        return None
    kinds = list(compress(categories, seen_distractors.tolist()))
    probe, landmarks.probe[seen], others.probe[seen_distractors] = fit_probe(
        embeddings[seen], distractors[seen_distractors], kinds
    )
    return probe


def _write_distractors(
    folder: Path, embeddings: Floats, categories: Sequence[str], pca: PCA | None
) -> SimilarityIndex | None:
    is_seen = np.asarray(embeddings.any(axis=1))
    if len(set(compress(categories, is_seen.tolist()))) < 2:
        return None
    np.save(folder / DISTRACTORS_FILE, embeddings[is_seen].astype(np.float16))
    return SimilarityIndex.load(folder / DISTRACTORS_FILE, pca)
