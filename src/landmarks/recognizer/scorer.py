"""Whether a photo shows a landmark at all, and whether its name is right: two fusions of the same evidence.

The classifier alone is no good witness, since it must choose among the landmarks it knows; similarity alone rejects
answers that are sure and right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landmarks.recognizer.format import LogisticCoefficients, ScorerCoefficients
from landmarks.recognizer.logistic import LogisticModel, compute_probability
from landmarks.recognizer.similarity_index import SimilarityIndex

NEIGHBOURS = 10
_SMALLEST = 1e-6
PIECES = 5  # of evidence

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

    @classmethod
    def from_coefficients(cls, coefficients: ScorerCoefficients, embedding_dim: int) -> "ScorerModels":
        """Build the models from what `index.json` holds.

        Raises:
            ValueError: a model has another number of weights than features.
        """
        probe = coefficients.probe
        return cls(
            _build_model(coefficients.landmark, PIECES),
            _build_model(coefficients.answer, PIECES),
            None if probe is None else _build_model(probe, embedding_dim),
        )

    def as_coefficients(self) -> ScorerCoefficients:
        """The models as `index.json` holds them."""
        return ScorerCoefficients(
            landmark=_list_coefficients(self.landmark),
            answer=_list_coefficients(self.answer),
            probe=None if self.probe is None else _list_coefficients(self.probe),
        )


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

    def confidence(self, evidence: Evidence) -> Floats:
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


def _build_model(coefficients: LogisticCoefficients, length: int) -> LogisticModel:
    if len(coefficients.weights) != length:
        raise ValueError(f"expected {length} weights, received {len(coefficients.weights)}")
    return LogisticModel(np.array(coefficients.weights, np.float64), coefficients.bias)


def _list_coefficients(model: LogisticModel) -> LogisticCoefficients:
    return LogisticCoefficients(weights=tuple(model.weights.tolist()), bias=model.bias)
