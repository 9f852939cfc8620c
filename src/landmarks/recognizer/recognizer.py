"""The recognizer: photos in, named landmarks and similar photos out. Used by the CLI, the service and evaluation.

It reads a recognizer directory (docs/pipeline.md) and needs neither TensorFlow nor Keras.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from landmarks.errors import ArtifactError, ImageError, LandmarksError
from landmarks.photos.decoding import ORIENTATION_TAG, decode_image, fit_image
from landmarks.photos.walk import read_photo
from landmarks.recognizer.format import BUNDLE_FOLDER, INDEX_FOLDER, REBUILD, check_recognizer
from landmarks.recognizer.gallery import Gallery
from landmarks.recognizer.scorer import Evidence
from landmarks.recognizer.serving_network import BATCH, ServingNetwork
from landmarks.schema.network_format import Floats, ImageFormat, Pixels
from landmarks.schema.vocabulary import VOCABULARY_FILE, Landmark, read_vocabulary

NOTHING_FOUND = "The network finds nothing in this photo, so no photo is similar. Send another one."
Photo = str | Path | bytes | Image.Image


@dataclass(frozen=True)
class Prediction:
    """A landmark with its softmax probability."""

    landmark_id: int
    name: str
    score: float


@dataclass(frozen=True)
class Recognition:
    """Answer for one photo: its predictions, whether it shows a landmark at all, and the evidence.

    Attributes:
        predictions: from most to least likely.
        is_landmark: whether the photo shows a landmark: its landmark score is at least the threshold.
        landmark_score: estimated probability that the photo shows a landmark.
        confidence: estimated probability that the first prediction is correct.
        threshold: the operating point, calibrated on val.
        nearest: the most similar photo of the gallery; None if the embedding is zero.
        agreement: fraction of the nearest gallery photos that show the first prediction.
        distractor_similarity: mean cosine to the nearest known distractors; 0 if none are known.
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
    """A photo of the gallery; `similarity` is the cosine.

    `author`, `license` and `url` attribute the photo; they are empty if unknown.
    """

    image_id: str
    landmark_id: int
    name: str
    similarity: float
    author: str
    license: str
    url: str


class Recognizer:
    """A trained network with its vocabulary, its gallery and its operating point.

    It is safe to call from several threads; the network runs one batch at a time. The answer for a photo does not
    depend on the other photos of the call.
    """

    def __init__(self, network: ServingNetwork, landmarks: tuple[Landmark, ...], gallery: Gallery) -> None:
        self.network = network
        self.landmarks = landmarks
        self.gallery = gallery

    @classmethod
    def load(cls, folder: str | Path, threads: int | None = None, verify: bool = True) -> "Recognizer":
        """Read a recognizer directory.

        Args:
            folder: in the format of docs/pipeline.md.
            threads: maximum number of threads of a call; one per processor if None.
            verify: compare every file with its digest first; leave it out only where that was just done.

        Raises:
            ArtifactError: a file is missing, damaged or of another format, or the parts do not belong together.
        """
        folder = Path(folder)
        if verify:
            check_recognizer(folder, with_keras=False)
        network = ServingNetwork.load(folder / BUNDLE_FOLDER, threads)
        landmarks = read_vocabulary(folder / BUNDLE_FOLDER / VOCABULARY_FILE)
        if len(landmarks) != network.labels:
            raise ArtifactError(f"{folder} names {len(landmarks)} landmarks, its network {network.labels}. {REBUILD}")
        return cls(network, landmarks, Gallery.load(folder / INDEX_FOLDER, network, threads))

    def classify(self, photos: Sequence[Photo], k: int = 5) -> list[Recognition]:
        """Recognize the landmarks in photos, with the k most likely, or all if there are fewer.

        Args:
            photos: paths, encoded bytes, or images of Pillow, which are turned as their Exif data say.
            k: how many landmarks to name.

        Raises:
            ImageError: a photo cannot be read or decoded.
            LandmarksError: k is below 1.
            TypeError: one photo is given in place of several, or it is none of these.
        """
        return [answer for pixels in self._decode(photos) for answer in self.classify_pixels(pixels, k)]

    def classify_pixels(self, pixels: Pixels, k: int = 5) -> list[Recognition]:
        """Classify decoded images, uint8 (n, image_size, image_size, 3)."""
        return self.classify_outputs(*self.network.run(pixels), k)

    def classify_outputs(self, probabilities: Floats, embeddings: Floats, k: int) -> list[Recognition]:
        """Classify by the outputs of `ServingNetwork.run`."""
        _check_k(k)
        evidence = self.gallery.scorer.collect(probabilities, embeddings)
        scores = np.column_stack([self.gallery.scorer.score(evidence), self.gallery.scorer.confidence(evidence)])
        return [self._recognize(probabilities[row], evidence, scores[row], row, k) for row in range(len(scores))]

    def search(self, photos: Sequence[Photo], k: int = 10) -> list[list[Neighbour]]:
        """Find the k most similar gallery photos of each photo, best first; photos are as for `classify`.

        Raises:
            ImageError: a photo cannot be read or decoded, or its embedding is zero.
            LandmarksError: k is below 1.
        """
        return [answer for pixels in self._decode(photos) for answer in self.search_pixels(pixels, k)]

    def search_pixels(self, pixels: Pixels, k: int = 10) -> list[list[Neighbour]]:
        """Search for decoded images, uint8 (n, image_size, image_size, 3)."""
        return self.search_embeddings(self.network.run(pixels)[1], k)

    def search_embeddings(self, embeddings: Floats, k: int) -> list[list[Neighbour]]:
        """Search for embeddings from `ServingNetwork.run`."""
        _check_k(k)
        if not embeddings.any(axis=1).all():
            raise ImageError(NOTHING_FOUND, "empty_embedding")
        similarities, rows = self.gallery.index.search(embeddings, k)
        return [
            [self._neighbour(int(row), float(similarity)) for row, similarity in zip(*pair, strict=True)]
            for pair in zip(rows, similarities, strict=True)
        ]

    def _decode(self, photos: Sequence[Photo]) -> Iterator[Pixels]:
        if isinstance(photos, str | bytes | Path | Image.Image):
            raise TypeError("Several photos are expected: put a single one into a list, as in classify([photo]).")
        for start in range(0, len(photos), BATCH):
            # decoded batch by batch: many large photos would not fit in memory at once
            yield np.stack([_decode_photo(photo, self.network.image_format) for photo in photos[start : start + BATCH]])

    def _recognize(self, probabilities: Floats, evidence: Evidence, scores: Floats, row: int, k: int) -> Recognition:
        best = np.argsort(-probabilities, kind="stable")[:k]  # stable: of equal probabilities the lower label first
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


def _decode_photo(photo: Photo, target: ImageFormat) -> Pixels:
    if isinstance(photo, Image.Image):
        return fit_image(photo, target, photo.getexif().get(ORIENTATION_TAG, 1))
    if isinstance(photo, str | Path):
        return decode_image(read_photo(Path(photo)), target)
    if isinstance(photo, bytes):
        return decode_image(photo, target)
    raise TypeError(f"A photo is a path, encoded bytes or an image of Pillow, received {type(photo).__name__}.")


def _check_k(k: int) -> None:
    if k < 1:
        raise LandmarksError(f"k must be at least 1, received {k}.")
