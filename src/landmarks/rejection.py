"""Whether a photo shows a landmark at all, and whether its name is right: two fusions of the same evidence.

The classifier alone is no good witness, since it must choose among the landmarks it knows; similarity alone rejects
answers that are sure and right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from landmarks.logistic import LogisticModel, compute_probability, fit_balanced, fit_logistic
from landmarks.retrieval.index import SimilarityIndex

NEIGHBOURS = 10
_SMALLEST = 1e-6
_PENALTY = 0.01
_PROBE_PENALTY = 0.1
_FOLDS = 5
_PIECES = 5  # of evidence

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """What speaks for the answers to n photos. All float32 (n,).

    Attributes:
        log_odds: of the most likely landmark, by the classifier.
        similarity: the cosine to the nearest gallery photo.
        agreement: of the nearest gallery photos, the part that shows the most likely landmark.
        distractor_similarity: mean cosine to the nearest known photos of no landmark; 0 where none are known.
        probe: log-odds of a line through the embeddings between landmarks and known photos of none; 0 without these.
        nearest: int64 (n,), the row of the nearest gallery photo; -1 where the network finds nothing.
    """

    log_odds: Floats
    similarity: Floats
    agreement: Floats
    distractor_similarity: Floats
    probe: Floats
    nearest: Rows

    def as_features(self) -> npt.NDArray[np.float64]:
        """The evidence as columns, float64 (n, 5)."""
        columns = (self.log_odds, self.similarity, self.agreement, self.distractor_similarity, self.probe)
        return np.column_stack(columns).astype(np.float64)


@dataclass(frozen=True)
class ScorerModels:
    """What was learned about the evidence.

    Attributes:
        landmark: from evidence to the log-odds that the photo shows a landmark.
        answer: from evidence to the log-odds that the most likely landmark is right.
        probe: from embedding to a piece of evidence; None where no photos of no landmark were known.
    """

    landmark: LogisticModel
    answer: LogisticModel
    probe: LogisticModel | None = None


class LandmarkScorer:
    """Weighs the evidence, twice: does the photo show a landmark, and is the most likely landmark right?

    References:
        Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022 (similarity as evidence).
        Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2017 (the probe).
        Henkel and Singer, "Supporting large-scale image recognition with out-of-domain samples", 2020, section 3.3
        (the penalty for similarity to photos of no landmark; here its weight is fitted).
    """

    def __init__(
        self,
        gallery: SimilarityIndex,
        gallery_labels: Sequence[int] | Ints,
        distractors: SimilarityIndex | None,
        models: ScorerModels,
    ) -> None:
        self._gallery = gallery
        self._labels = np.asarray(gallery_labels, np.int64)
        self._distractors = distractors
        self._models = models

    def collect(self, probabilities: Floats, embeddings: Floats) -> Evidence:
        """The evidence for photos.

        Args:
            probabilities: float32 (n, L).
            embeddings: float32 (n, d), rows of unit length, or of zeros where the network finds nothing.
        """
        evidence = collect_evidence(self._gallery, self._labels, self._distractors, probabilities, embeddings)
        if self._models.probe is not None:
            seen = embeddings.any(axis=1)
            evidence.probe[seen] = self._models.probe.score(embeddings[seen])
        return evidence

    def score(self, evidence: Evidence) -> Floats:
        """The estimated chance that photos show a landmark, float32 (n,)."""
        return compute_probability(self._models.landmark.score(evidence.as_features())).astype(np.float32)

    def trust(self, evidence: Evidence) -> Floats:
        """The estimated chance that the most likely landmark is right, float32 (n,)."""
        return compute_probability(self._models.answer.score(evidence.as_features())).astype(np.float32)


def collect_evidence(
    gallery: SimilarityIndex,
    gallery_labels: Ints,
    distractors: SimilarityIndex | None,
    probabilities: Floats,
    embeddings: Floats,
) -> Evidence:
    """As `LandmarkScorer.collect`, while there is no scorer yet; without the probe."""
    best = probabilities.max(axis=1).clip(_SMALLEST, 1 - _SMALLEST).astype(np.float64)
    evidence = Evidence(
        log_odds=np.log(best / (1 - best)).astype(np.float32),
        similarity=np.zeros(len(embeddings), np.float32),
        agreement=np.zeros(len(embeddings), np.float32),
        distractor_similarity=np.zeros(len(embeddings), np.float32),
        probe=np.zeros(len(embeddings), np.float32),
        nearest=np.full(len(embeddings), -1),
    )
    seen = embeddings.any(axis=1)
    if seen.any() and len(gallery):
        similarities, rows = gallery.search(embeddings[seen], NEIGHBOURS)
        evidence.similarity[seen], evidence.nearest[seen] = similarities[:, 0], rows[:, 0]
        predicted = probabilities[seen].argmax(axis=1)
        evidence.agreement[seen] = np.mean(gallery_labels[rows] == predicted[:, None], axis=1)
    if seen.any() and distractors is not None:
        evidence.distractor_similarity[seen] = distractors.search(embeddings[seen], NEIGHBOURS)[0].mean(axis=1)
    return evidence


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
        return LogisticModel(np.eye(1, _PIECES)[0], 0.0)
    return fit_logistic(evidence.as_features(), is_so, _PENALTY, weights)


def describe_models(models: ScorerModels) -> dict[str, Any]:
    """A scorer's models as JSON holds them."""
    return {
        name: None if model is None else {"weights": model.weights.tolist(), "bias": model.bias}
        for name, model in vars(models).items()
    }


def read_models(facts: dict[str, Any], dimension: int) -> ScorerModels:
    """What `describe_models` gave; `dimension` is that of the embeddings.

    Raises:
        KeyError, TypeError, ValueError: it is not such.
    """
    probe = facts["probe"]
    return ScorerModels(
        _read_model(facts["landmark"], _PIECES),
        _read_model(facts["answer"], _PIECES),
        None if probe is None else _read_model(probe, dimension),
    )


def _read_model(facts: dict[str, Any], length: int) -> LogisticModel:
    weights, bias = np.asarray(facts["weights"], np.float64), float(facts["bias"])
    if weights.shape != (length,) or not np.isfinite([*weights, bias]).all():
        raise ValueError(f"expected {length} finite weights and a bias, received {facts!r:.200}")
    return LogisticModel(weights, bias)
