"""OOD detection and confidence: two logistic models on the same evidence about a photo and its prediction.

The landmark score says whether the photo shows a landmark at all, the confidence whether the prediction is correct.
Softmax probabilities alone detect distractors poorly, because the classifier must choose one of its landmarks.
Similarity to the gallery alone rejects confident, correct predictions. The models combine both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landmarks.recognizer.format import LogisticCoefficients, ScorerCoefficients
from landmarks.recognizer.logistic import LogisticModel, compute_probability
from landmarks.recognizer.similarity_index import SimilarityIndex

NEIGHBOURS = 10  # gallery photos and distractors that count as nearest
_SMALLEST = 1e-6  # probabilities of 0 and 1 have infinite log-odds
_SMALLEST_REST = 1e-5  # above the rounding of a sum of probabilities
PIECES = 6  # features of the scorer's models

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """Evidence about n photos and their predictions; all float32 (n,) but `nearest`.

    Attributes:
        log_odds: log-odds of the most likely landmark, from its softmax probability.
        similarity: cosine to the nearest gallery photo.
        agreement: fraction of the nearest gallery photos that show the most likely landmark.
        distractor_similarity: mean cosine to the nearest known distractors; 0 if none are known.
        probe: log-odds of the linear probe, landmarks against known distractors; 0 without a probe.
        none: log-odds of the class "none"; the same for all photos if the network has no such class.
        nearest: int64 (n,), row of the nearest gallery photo; -1 if the embedding is zero.
    """

    log_odds: Floats
    similarity: Floats
    agreement: Floats
    distractor_similarity: Floats
    probe: Floats
    none: Floats
    nearest: Rows

    def as_features(self) -> npt.NDArray[np.float64]:
        """Return the features of the scorer's models, float64 (n, 6)."""
        columns = (self.log_odds, self.similarity, self.agreement, self.distractor_similarity, self.probe, self.none)
        return np.column_stack(columns).astype(np.float64)


@dataclass(frozen=True)
class ScorerModels:
    """The fitted models of the scorer.

    Attributes:
        landmark: from evidence to the log-odds that the photo shows a landmark.
        answer: from evidence to the log-odds that the most likely landmark is correct.
        probe: linear probe, from embedding to log-odds; None without known distractors.
    """

    landmark: LogisticModel
    answer: LogisticModel
    probe: LogisticModel | None = None

    @classmethod
    def from_coefficients(cls, coefficients: ScorerCoefficients, embedding_dim: int) -> "ScorerModels":
        """Build the models from the coefficients in `index.json`.

        Raises:
            ValueError: a model has a wrong number of weights.
        """
        probe = coefficients.probe
        return cls(
            _build_model(coefficients.landmark, PIECES),
            _build_model(coefficients.answer, PIECES),
            None if probe is None else _build_model(probe, embedding_dim),
        )

    def as_coefficients(self) -> ScorerCoefficients:
        """Return the coefficients for `index.json`."""
        return ScorerCoefficients(
            landmark=_list_coefficients(self.landmark),
            answer=_list_coefficients(self.answer),
            probe=None if self.probe is None else _list_coefficients(self.probe),
        )


class LandmarkScorer:
    """Computes landmark score and confidence from evidence.

    References:
        Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022 (similarity as evidence).
        Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2017 (the probe).
        Henkel and Singer, "Supporting large-scale image recognition with out-of-domain samples", 2020, section 3.3
        (the penalty for similarity to distractors; here its weight is fitted).
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
        """Collect the evidence about photos from the outputs of the network.

        Args:
            probabilities: float32 (n, L); what they lack to 1 is the probability of no landmark.
            embeddings: float32 (n, d), rows of unit length, or zeros where all features of the network are zero.
        """
        evidence = collect_evidence(self._gallery, self._labels, self._distractors, probabilities, embeddings)
        if self._models.probe is not None:
            seen = embeddings.any(axis=1)
            evidence.probe[seen] = self._models.probe.score(embeddings[seen])
        return evidence

    def score(self, evidence: Evidence) -> Floats:
        """Compute the landmark score, the estimated probability that a photo shows a landmark, float32 (n,)."""
        return compute_probability(self._models.landmark.score(evidence.as_features())).astype(np.float32)

    def confidence(self, evidence: Evidence) -> Floats:
        """Compute the estimated probability that the most likely landmark is correct, float32 (n,)."""
        return compute_probability(self._models.answer.score(evidence.as_features())).astype(np.float32)


def collect_evidence(
    gallery: SimilarityIndex,
    gallery_labels: Ints,
    distractors: SimilarityIndex | None,
    probabilities: Floats,
    embeddings: Floats,
) -> Evidence:
    """Collect evidence before a scorer is fitted: as `LandmarkScorer.collect`, without the probe."""
    rest = 1.0 - probabilities.sum(axis=1, dtype=np.float64)  # that the photo shows none of the landmarks
    evidence = Evidence(
        log_odds=_compute_log_odds(probabilities.max(axis=1), _SMALLEST),
        similarity=np.zeros(len(embeddings), np.float32),
        agreement=np.zeros(len(embeddings), np.float32),
        distractor_similarity=np.zeros(len(embeddings), np.float32),
        probe=np.zeros(len(embeddings), np.float32),
        none=_compute_log_odds(rest, _SMALLEST_REST),
        nearest=np.full(len(embeddings), -1),
    )
    seen = embeddings.any(axis=1)
    projected = gallery.project(embeddings[seen])  # once: both galleries have the same PCA
    if seen.any() and len(gallery):
        similarities, rows = gallery.search_projected(projected, NEIGHBOURS)
        evidence.similarity[seen], evidence.nearest[seen] = similarities[:, 0], rows[:, 0]
        predicted = probabilities[seen].argmax(axis=1)
        evidence.agreement[seen] = np.mean(gallery_labels[rows] == predicted[:, None], axis=1)
    if seen.any() and distractors is not None:
        evidence.distractor_similarity[seen] = distractors.search_projected(projected, NEIGHBOURS)[0].mean(axis=1)
    return evidence


def _compute_log_odds(probabilities: npt.NDArray[np.floating], smallest: float) -> Floats:
    clipped = probabilities.astype(np.float64).clip(smallest, 1 - smallest)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float32)


def _build_model(coefficients: LogisticCoefficients, length: int) -> LogisticModel:
    if len(coefficients.weights) != length:
        raise ValueError(f"expected {length} weights, received {len(coefficients.weights)}")
    return LogisticModel(np.array(coefficients.weights, np.float64), coefficients.bias)


def _list_coefficients(model: LogisticModel) -> LogisticCoefficients:
    return LogisticCoefficients(weights=tuple(model.weights.tolist()), bias=model.bias)
