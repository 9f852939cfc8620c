"""The recognizer: photos in, named landmarks and similar photos out. Used by the CLI, the service and evaluation.

It reads the recognizer directory of docs/pipeline.md and needs neither TensorFlow nor Keras.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from landmarks.data.images import Pixels, decode_image
from landmarks.data.recognizer_files import (
    DISTRACTORS_FILE,
    EMBEDDINGS_FILE,
    ITEMS_FILE,
    MEND,
    PROJECTION_FILE,
    Credit,
    check_files,
    read_index_facts,
    read_items,
)
from landmarks.data.vocabulary import VOCABULARY_FILE, Landmark, read_vocabulary
from landmarks.errors import ArtifactError, ImageError, LandmarksError
from landmarks.rejection import Evidence, LandmarkScorer, ScorerModels, read_models
from landmarks.retrieval.index import SimilarityIndex
from landmarks.retrieval.projection import Projection
from landmarks.retrieval.thumbnails import OFFSETS_FILE, THUMBNAILS_FILE, Thumbnails
from landmarks.serving_network import BATCH, Floats, ServingNetwork


@dataclass(frozen=True)
class Prediction:
    """One landmark a photo may show, with the probability the classifier gives it."""

    landmark_id: int
    name: str
    score: float


@dataclass(frozen=True)
class Recognition:
    """The answer for one photo: landmarks from best to worst, whether the best is worth believing, and why.

    Attributes:
        predictions: from most to least likely.
        is_landmark: whether the photo shows a landmark at all: its score reaches the threshold.
        landmark_score: the estimated chance that it does.
        confidence: the estimated chance that the first prediction is right.
        threshold: as calibrated on val.
        nearest: the most similar photo of the gallery; None where the network finds nothing.
        agreement: of the nearest gallery photos, the part that shows the first prediction.
        distractor_similarity: mean cosine to the nearest known photos of no landmark; 0 where none are known.
    """

    predictions: tuple[Prediction, ...]
    is_landmark: bool
    landmark_score: float
    confidence: float
    threshold: float
    nearest: "Neighbour | None"
    agreement: float
    distractor_similarity: float


@dataclass(frozen=True)
class Neighbour:
    """A photo of the gallery; `similarity` is the cosine, higher is closer.

    `author`, `license` and `url` tell where the photo is from; they are empty where that is not known.
    """

    image_id: str
    landmark_id: int
    name: str
    similarity: float
    author: str
    license: str
    url: str


class Recognizer:
    """A trained network, its vocabulary, its gallery and its rejection threshold.

    Safe to call from several threads; the network runs one batch at a time. The answer for a photo does not depend
    on the photos beside it.
    """

    def __init__(self, network: "ServingNetwork", landmarks: tuple[Landmark, ...], gallery: "Gallery") -> None:
        self.network = network
        self.landmarks = landmarks
        self.gallery = gallery

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> "Recognizer":
        """Read a recognizer directory.

        Args:
            folder: as docs/pipeline.md describes it.
            threads: most threads a call may use; all the processor has when None.

        Raises:
            ArtifactError: a file is missing, damaged, of another format, or the parts do not belong together.
        """
        network = ServingNetwork.load(folder / "bundle", threads)
        landmarks = read_vocabulary(folder / "bundle" / VOCABULARY_FILE)
        if len(landmarks) != network.labels:
            raise ArtifactError(f"{folder} names {len(landmarks)} landmarks, its network {network.labels}. {MEND}")
        return cls(network, landmarks, Gallery.load(folder / "index", network, threads))

    def classify(self, photos: Sequence[bytes], k: int = 5) -> list[Recognition]:
        """Name the landmarks in encoded photos: the k most likely, or all where there are fewer.

        Raises:
            ImageError: a photo cannot be decoded.
            LandmarksError: k is below 1.
        """
        return [answer for pixels in self._decode(photos) for answer in self.classify_pixels(pixels, k)]

    def classify_pixels(self, pixels: Pixels, k: int = 5) -> list[Recognition]:
        """As `classify`, for images already decoded: uint8 (n, image_size, image_size, 3)."""
        return self.classify_outputs(*self.network.run(pixels), k)

    def classify_outputs(self, probabilities: Floats, embeddings: Floats, k: int) -> list[Recognition]:
        """As `classify`, for what the network gave already, as `ServingNetwork.run` gives it."""
        _check_k(k)
        evidence = self.gallery.scorer.collect(probabilities, embeddings)
        scores = np.column_stack([self.gallery.scorer.score(evidence), self.gallery.scorer.trust(evidence)])
        return [self._recognize(probabilities[row], evidence, scores[row], row, k) for row in range(len(scores))]

    def search(self, photos: Sequence[bytes], k: int = 10) -> list[list[Neighbour]]:
        """The k most similar gallery photos of each encoded photo, best first.

        Raises:
            ImageError: a photo cannot be decoded, or shows nothing that could be similar to anything.
            LandmarksError: k is below 1.
        """
        return [answer for pixels in self._decode(photos) for answer in self.search_pixels(pixels, k)]

    def search_pixels(self, pixels: Pixels, k: int = 10) -> list[list[Neighbour]]:
        """As `search`, for images already decoded: uint8 (n, image_size, image_size, 3)."""
        return self.search_embeddings(self.network.run(pixels)[1], k)

    def search_embeddings(self, embeddings: Floats, k: int) -> list[list[Neighbour]]:
        """As `search`, for what the network gave already, as `ServingNetwork.run` gives it."""
        _check_k(k)
        if not embeddings.any(axis=1).all():
            raise ImageError("The network finds nothing in this photo, so no photo is similar. Send another one.")
        similarities, rows = self.gallery.index.search(embeddings, k)
        return [
            [self._neighbour(int(row), float(similarity)) for row, similarity in zip(*pair, strict=True)]
            for pair in zip(rows, similarities, strict=True)
        ]

    def _decode(self, photos: Sequence[bytes]) -> Iterator[Pixels]:
        for start in range(0, len(photos), BATCH):
            yield np.stack([decode_image(photo, self.network.image_format) for photo in photos[start : start + BATCH]])

    def _recognize(self, probabilities: Floats, evidence: Evidence, scores: Floats, row: int, k: int) -> Recognition:
        best = np.argsort(-probabilities, kind="stable")[:k]
        predictions = tuple(
            Prediction(self.landmarks[label].landmark_id, self.landmarks[label].name, float(probabilities[label]))
            for label in best
        )
        place, (score, confidence) = int(evidence.nearest[row]), scores.tolist()
        return Recognition(
            predictions,
            score >= self.gallery.threshold,
            score,
            confidence,
            self.gallery.threshold,
            self._neighbour(place, float(evidence.similarity[row])) if place >= 0 else None,
            float(evidence.agreement[row]),
            float(evidence.distractor_similarity[row]),
        )

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        landmark = self.landmarks[self.gallery.labels[row]]
        image_id, credit = self.gallery.image_ids[row], self.gallery.credits[row]
        return Neighbour(image_id, landmark.landmark_id, landmark.name, similarity, *credit)


@dataclass(frozen=True)
class Gallery:
    """The training photos as embeddings, and how a photo of no landmark is known, calibrated on val."""

    index: SimilarityIndex
    scorer: LandmarkScorer
    image_ids: tuple[str, ...]
    labels: tuple[int, ...]
    credits: tuple[Credit, ...]
    threshold: float
    precision_target: float
    thumbnails: Thumbnails | None = None

    @classmethod
    def load(cls, folder: Path, network: ServingNetwork, threads: int | None = None) -> "Gallery":
        """Read the index folder made with a network.

        Raises:
            ArtifactError: a file is missing, damaged, of another format, or belongs to another bundle.
        """
        facts = read_index_facts(folder)
        check_files(folder, facts.get("files", {}), (ITEMS_FILE, EMBEDDINGS_FILE))
        if facts["bundle_fingerprint"] != network.fingerprint:
            raise ArtifactError(f"{folder} was made with another bundle. Run the index stage again: `dvc repro`.")
        items = read_items(folder / ITEMS_FILE)
        projection = _load_projection(folder, facts, network)
        index = SimilarityIndex.load(folder / EMBEDDINGS_FILE, projection, threads)
        photos = len(items.image_ids)
        if not len(index) == photos == facts["photos"]:
            raise ArtifactError(
                f"{folder} has {len(index)} embeddings and {photos} photos, expected {facts['photos']}. {MEND}"
            )
        if index.dimension != network.embedding_dim or not set(items.labels) <= set(range(network.labels)):
            raise ArtifactError(f"{folder} does not fit its network: other dimensions or labels. {MEND}")
        known = _load_distractors(folder, facts, network, projection, threads)
        scorer = LandmarkScorer(index, items.labels, known, _read(facts, network.embedding_dim))
        return cls(
            index, scorer, *items, float(facts["threshold"]), facts["precision_target"], _load_thumbnails(folder, facts)
        )

    def find_thumbnail(self, image_id: str) -> bytes | None:
        """A small JPEG of a gallery photo; None where there is no such photo, or no thumbnails."""
        row = self._rows.get(image_id) if self.thumbnails else None
        return None if self.thumbnails is None or row is None else self.thumbnails.read(row)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.image_ids)}


def _check_k(k: int) -> None:
    if k < 1:
        raise LandmarksError(f"k must be at least 1, received {k}.")


def _load_projection(folder: Path, facts: dict[str, Any], network: ServingNetwork) -> Projection | None:
    if PROJECTION_FILE not in facts["files"]:
        return None
    check_files(folder, facts["files"], (PROJECTION_FILE,))
    projection = Projection.load(folder / PROJECTION_FILE)
    if projection.directions.shape[0] != network.embedding_dim:
        raise ArtifactError(f"{folder / PROJECTION_FILE} does not fit its network: other dimensions. {MEND}")
    return projection


def _load_distractors(
    folder: Path, facts: dict[str, Any], network: ServingNetwork, projection: Projection | None, threads: int | None
) -> SimilarityIndex | None:
    if DISTRACTORS_FILE not in facts["files"]:
        return None
    check_files(folder, facts["files"], (DISTRACTORS_FILE,))
    distractors = SimilarityIndex.load(folder / DISTRACTORS_FILE, projection, threads)
    if distractors.dimension != network.embedding_dim:
        raise ArtifactError(f"{folder / DISTRACTORS_FILE} does not fit its network: other dimensions. {MEND}")
    return distractors


def _read(facts: dict[str, Any], dimension: int) -> ScorerModels:
    try:
        return read_models(facts["scorer"], dimension)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"The index does not say how its scores are made ({error}). {MEND}") from error


def _load_thumbnails(folder: Path, facts: dict[str, Any]) -> Thumbnails | None:
    if THUMBNAILS_FILE not in facts["files"]:
        return None
    check_files(folder, facts["files"], (THUMBNAILS_FILE, OFFSETS_FILE))
    thumbnails = Thumbnails.load(folder)
    if len(thumbnails) != facts["photos"]:
        raise ArtifactError(f"{folder} has {len(thumbnails)} thumbnails, expected {facts['photos']}. {MEND}")
    return thumbnails
