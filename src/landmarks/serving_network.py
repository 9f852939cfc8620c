"""The exported network, which answers without TensorFlow: for the CLI, the service, the index and the evaluation."""

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from landmarks.data.images import ImageFormat, Pixels
from landmarks.data.recognizer_files import MEND, SERVING_MODEL_FILE, check_files, read_bundle_facts
from landmarks.data.vocabulary import VOCABULARY_FILE
from landmarks.errors import ArtifactError

BATCH = 32

Floats = npt.NDArray[np.float32]


class ServingNetwork:
    """The exported network: `bundle/serving.tflite` under LiteRT."""

    def __init__(self, runner: SignatureRunner, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.image_format = ImageFormat(facts["image_size"], facts["fit"], facts["max_pixels"])
        self.fingerprint: str = facts["fingerprint"]
        outputs = runner.get_output_details()
        self.labels = int(outputs["probabilities"]["shape"][-1])
        self.embedding_dim = int(outputs["embedding"]["shape"][-1])
        ((self._input, accepted),) = runner.get_input_details().items()
        if tuple(accepted["shape"][1:]) != (self.image_format.image_size, self.image_format.image_size, 3):
            raise ValueError(f"it takes {accepted['shape'][1:]}, not {self.image_format.image_size} px")
        self._runner = runner
        self._lock = Lock()

    @classmethod
    def load(cls, bundle: Path, threads: int | None = None) -> "ServingNetwork":
        """Read the serving model of a bundle.

        Raises:
            ArtifactError: a file is missing, damaged or of another format.
        """
        facts = read_bundle_facts(bundle)
        check_files(bundle, facts["files"], (SERVING_MODEL_FILE, VOCABULARY_FILE))
        path = bundle / SERVING_MODEL_FILE
        try:
            runner = Interpreter(model_path=str(path), num_threads=threads or _count_cores()).get_signature_runner()
            return cls(runner, facts)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{path} is not a network this version can run ({error}). {MEND}") from error

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Run the network, in batches of bounded size.

        Args:
            pixels: uint8 (n, image_size, image_size, 3).

        Returns:
            probabilities: float32 (n, labels).
            embeddings: float32 (n, embedding_dim), rows of unit length.

        Raises:
            ValueError: the pixels have another shape or type.
        """
        size = self.image_format.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
            raise ValueError(f"Expected uint8 (n, {size}, {size}, 3), received {pixels.dtype} {pixels.shape}.")
        probabilities = np.empty((len(pixels), self.labels), np.float32)
        embeddings = np.empty((len(pixels), self.embedding_dim), np.float32)
        for start in range(0, len(pixels), BATCH):
            batch = slice(start, start + BATCH)
            with self._lock:
                outputs = self._runner(**{self._input: pixels[batch]})
            probabilities[batch], embeddings[batch] = outputs["probabilities"], outputs["embedding"]
        # where the network finds nothing LiteRT divides zero by zero, Keras gives zeros
        embeddings[np.isnan(embeddings).any(axis=1)] = 0.0
        return probabilities, embeddings


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
