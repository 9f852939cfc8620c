"""Whether a photo shows a known landmark at all: a fusion of what classifier, neighbours and known distractors say.

The classifier alone is no good witness, since it must choose among the landmarks it knows; similarity alone rejects
answers that are sure and right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from landmarks.logistic import LogisticModel, compute_probability, fit_logistic
from landmarks.retrieval.index import SimilarityIndex

NEIGHBOURS = 10
_SMALLEST = 1e-6
_PENALTY = 0.01

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
        nearest: int64 (n,), the row of the nearest gallery photo; -1 where the network finds nothing.
    """

    log_odds: Floats
    similarity: Floats
    agreement: Floats
    distractor_similarity: Floats
    nearest: Rows

    def as_features(self) -> npt.NDArray[np.float64]:
        """The evidence as columns, float64 (n, 4)."""
        columns = (self.log_odds, self.similarity, self.agreement, self.distractor_similarity)
        return np.column_stack(columns).astype(np.float64)


class LandmarkScorer:
    """Weighs the evidence: the landmark score is the estimated chance that the most likely landmark is right.

    References:
        Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022 (similarity as evidence).
        Henkel and Singer, "Supporting large-scale image recognition with out-of-domain samples", 2020, section 3.3
        (the penalty for similarity to photos of no landmark; here its weight is fitted).
    """

    def __init__(
        self,
        gallery: SimilarityIndex,
        gallery_labels: Sequence[int] | Ints,
        distractors: SimilarityIndex | None,
        model: LogisticModel,
    ) -> None:
        self._gallery = gallery
        self._labels = np.asarray(gallery_labels, np.int64)
        self._distractors = distractors
        self._model = model

    def collect(self, probabilities: Floats, embeddings: Floats) -> Evidence:
        """The evidence for photos.

        Args:
            probabilities: float32 (n, L).
            embeddings: float32 (n, d), rows of unit length, or of zeros where the network finds nothing.
        """
        return collect_evidence(self._gallery, self._labels, self._distractors, probabilities, embeddings)

    def score(self, evidence: Evidence) -> Floats:
        """The landmark score of photos, float32 (n,), from 0 to 1."""
        return compute_probability(self._model.score(evidence.as_features())).astype(np.float32)


def collect_evidence(
    gallery: SimilarityIndex,
    gallery_labels: Ints,
    distractors: SimilarityIndex | None,
    probabilities: Floats,
    embeddings: Floats,
) -> Evidence:
    """As `LandmarkScorer.collect`, while there is no scorer yet."""
    best = probabilities.max(axis=1).clip(_SMALLEST, 1 - _SMALLEST).astype(np.float64)
    evidence = Evidence(
        log_odds=np.log(best / (1 - best)).astype(np.float32),
        similarity=np.zeros(len(embeddings), np.float32),
        agreement=np.zeros(len(embeddings), np.float32),
        distractor_similarity=np.zeros(len(embeddings), np.float32),
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


def fit_scorer_model(evidence: Evidence, correct: Bools) -> LogisticModel:
    """Find how much each piece of evidence counts, on photos that were not trained on.

    Where all answers are right, or none, the classifier's own odds are the answer.

    Args:
        evidence: of n photos, those of no landmark among them.
        correct: bool (n,), whether the most likely landmark is right; never for photos of no landmark.

    Raises:
        ValueError: the evidence is not finite.
    """
    if correct.all() or not correct.any():
        return LogisticModel(np.array([1.0, 0.0, 0.0, 0.0]), 0.0)
    return fit_logistic(evidence.as_features(), correct, _PENALTY)


def describe_model(model: LogisticModel) -> dict[str, Any]:
    """A scorer's model as JSON holds it."""
    return {"weights": model.weights.tolist(), "bias": model.bias}


def read_model(facts: dict[str, Any]) -> LogisticModel:
    """What `describe_model` gave.

    Raises:
        KeyError, TypeError, ValueError: it is not such.
    """
    weights, bias = np.asarray(facts["weights"], np.float64), float(facts["bias"])
    if weights.shape != (4,) or not np.isfinite([*weights, bias]).all():
        raise ValueError(f"expected four finite weights and a bias, received {facts!r:.200}")
    return LogisticModel(weights, bias)
