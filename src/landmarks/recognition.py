"""The recognizer: photos in, named landmarks and similar photos out. Used by the CLI, the service and evaluation.

It reads the recognizer directory of docs/pipeline.md and needs neither TensorFlow nor Keras.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from landmarks.data.images import ImageFormat, Pixels, decode_image
from landmarks.data.vocabulary import VOCABULARY_FILE, Landmark, read_vocabulary
from landmarks.errors import ArtifactError
from landmarks.files import compute_sha256, read_json
from landmarks.retrieval.index import SimilarityIndex

BUNDLE_FORMAT = 1
INDEX_FORMAT = 1
SERVING_MODEL_FILE = "serving.tflite"
_BATCH = 32

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """One landmark a photo may show, with the probability the classifier gives it."""

    landmark_id: int
    name: str
    score: float


@dataclass(frozen=True)
class Recognition:
    """The answer for one photo: landmarks from best to worst, and whether the best is worth believing."""

    predictions: tuple[Prediction, ...]
    is_landmark: bool
    threshold: float


@dataclass(frozen=True)
class Neighbour:
    """A photo of the gallery; `similarity` is the cosine, higher is closer."""

    image_id: str
    landmark_id: int
    name: str
    similarity: float


class Recognizer:
    """A trained network, its vocabulary, its gallery and its rejection threshold.

    Safe to call from several threads; the network itself runs one call at a time.
    """

    def __init__(self, network: "ServingNetwork", landmarks: tuple[Landmark, ...], gallery: "Gallery") -> None:
        self.network = network
        self.landmarks = landmarks
        self.gallery = gallery

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> "Recognizer":
        """Read a recognizer directory.

        Raises:
            ArtifactError: a file is missing, damaged, of another format, or the index belongs to another bundle.
        """
        network = ServingNetwork.load(folder / "bundle", threads)
        gallery = Gallery.load(folder / "index", network.fingerprint)
        return cls(network, read_vocabulary(folder / "bundle" / VOCABULARY_FILE), gallery)

    def classify(self, photos: Sequence[bytes], k: int = 5) -> list[Recognition]:
        """Name the landmarks in encoded photos.

        Raises:
            ImageError: a photo cannot be decoded.
        """
        return self.classify_pixels(self._decode(photos), k)

    def classify_pixels(self, pixels: Pixels, k: int = 5) -> list[Recognition]:
        """As `classify`, for images already decoded: uint8 (n, image_size, image_size, 3)."""
        probabilities, _ = self.network.run(pixels)
        return [self._recognize(row, k) for row in probabilities]

    def search(self, photos: Sequence[bytes], k: int = 10) -> list[list[Neighbour]]:
        """The most similar gallery photos of each encoded photo, best first.

        Raises:
            ImageError: a photo cannot be decoded.
        """
        return self.search_pixels(self._decode(photos), k)

    def search_pixels(self, pixels: Pixels, k: int = 10) -> list[list[Neighbour]]:
        """As `search`, for images already decoded."""
        _, embeddings = self.network.run(pixels)
        similarities, rows = self.gallery.index.search(embeddings, k)
        return [
            [self._neighbour(int(row), float(similarity)) for row, similarity in zip(*pair, strict=True)]
            for pair in zip(rows, similarities, strict=True)
        ]

    def _decode(self, photos: Sequence[bytes]) -> Pixels:
        size = self.network.image_format.image_size
        decoded = [decode_image(photo, self.network.image_format) for photo in photos]
        return np.stack(decoded) if decoded else np.empty((0, size, size, 3), np.uint8)

    def _recognize(self, probabilities: Floats, k: int) -> Recognition:
        best = np.argsort(-probabilities, kind="stable")[:k]
        predictions = tuple(
            Prediction(self.landmarks[label].landmark_id, self.landmarks[label].name, float(probabilities[label]))
            for label in best
        )
        threshold = self.gallery.threshold
        return Recognition(predictions, bool(compute_landmark_scores(probabilities[None])[0] >= threshold), threshold)

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        landmark = self.landmarks[self.gallery.labels[row]]
        return Neighbour(self.gallery.image_ids[row], landmark.landmark_id, landmark.name, similarity)


class ServingNetwork:
    """The exported network: `bundle/serving.tflite` under LiteRT."""

    def __init__(self, interpreter: Interpreter, image_format: ImageFormat, fingerprint: str) -> None:
        self.image_format = image_format
        self.fingerprint = fingerprint
        self._interpreter = interpreter
        self._lock = Lock()
        self._input = interpreter.get_input_details()[0]["index"]
        self._batch = 0
        outputs = interpreter.get_signature_runner().get_output_details()
        self._probabilities = outputs["probabilities"]["index"]
        self._embedding = outputs["embedding"]["index"]

    @classmethod
    def load(cls, bundle: Path, threads: int | None = None) -> "ServingNetwork":
        """Read the serving model of a bundle.

        Raises:
            ArtifactError: a file is missing, damaged or of another format.
        """
        facts = read_json(bundle / "bundle.json")
        check_format(bundle / "bundle.json", facts, BUNDLE_FORMAT)
        path = bundle / SERVING_MODEL_FILE
        if not path.is_file() or compute_sha256(path) != facts["files"][SERVING_MODEL_FILE]:
            raise ArtifactError(f"{path} is missing or damaged. Run `dvc repro`, or fetch the model again.")
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        image_format = ImageFormat(facts["image_size"], facts["fit"], facts["max_pixels"])
        return cls(interpreter, image_format, facts["fingerprint"])

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Probabilities float32 (n, L) and embeddings float32 (n, d), rows of unit length, for uint8 (n, s, s, 3)."""
        with self._lock:
            parts = [self._run_batch(pixels[start : start + _BATCH]) for start in range(0, max(len(pixels), 1), _BATCH)]
        probabilities, embeddings = zip(*parts, strict=True)
        return np.concatenate(probabilities), np.concatenate(embeddings)

    def _run_batch(self, pixels: Pixels) -> tuple[Floats, Floats]:
        if len(pixels) != self._batch:
            self._interpreter.resize_tensor_input(self._input, pixels.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(pixels)
        self._interpreter.set_tensor(self._input, pixels)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._probabilities), self._interpreter.get_tensor(self._embedding)


@dataclass(frozen=True)
class Gallery:
    """The training photos as embeddings, and the rejection threshold calibrated on val."""

    index: SimilarityIndex
    image_ids: tuple[str, ...]
    labels: tuple[int, ...]
    threshold: float

    @classmethod
    def load(cls, folder: Path, bundle_fingerprint: str) -> "Gallery":
        """Read an index folder.

        Raises:
            ArtifactError: a file is missing, damaged, of another format, or belongs to another bundle.
        """
        facts = read_json(folder / "index.json")
        check_format(folder / "index.json", facts, INDEX_FORMAT)
        if facts["bundle_fingerprint"] != bundle_fingerprint:
            raise ArtifactError(f"{folder} was made with another bundle. Run the index stage again: `dvc repro`.")
        with (folder / "items.csv").open(newline="", encoding="utf-8") as stream:
            items = [(row["image_id"], int(row["label"])) for row in csv.DictReader(stream)]
        index = SimilarityIndex.load(folder / "embeddings.npy")
        if len(index) != len(items):
            raise ArtifactError(f"{folder} has {len(index)} embeddings for {len(items)} photos. Run `dvc repro`.")
        image_ids, labels = zip(*items, strict=True)
        return cls(index, image_ids, labels, facts["threshold"])


def compute_landmark_scores(probabilities: Floats) -> Floats:
    """How likely each photo shows any known landmark: the best probability of float32 (n, L), as float32 (n,).

    References:
        Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples", 2017.
    """
    return probabilities.max(axis=1)


def check_format(path: Path, facts: dict[str, object], expected: int) -> None:
    """Refuse an artefact of another format.

    Raises:
        ArtifactError: the format is another one.
    """
    if facts.get("format") != expected:
        raise ArtifactError(
            f"{path} has format {facts.get('format')!r}, this version of landmarks reads {expected}. Run `dvc repro`."
        )
