"""The exported network under LiteRT; it needs no TensorFlow."""

from pathlib import Path
from threading import Lock

import numpy as np
from ai_edge_litert.interpreter import Interpreter, SignatureRunner

from landmarks.errors import ArtifactError
from landmarks.processors import count_processors
from landmarks.recognizer.format import REBUILD, SERVING_MODEL_FILE, Bundle, read_bundle
from landmarks.schema.network_format import EMBEDDING, PROBABILITIES, Floats, Pixels
from landmarks.terminal import hold_stderr

BATCH = 32  # photos per call, which bounds the memory of the activations


class ServingNetwork:
    """The exported network, `bundle/serving.tflite`."""

    def __init__(self, runner: SignatureRunner, bundle: Bundle) -> None:
        self.bundle = bundle
        self.image_format = bundle.image_format
        outputs = runner.get_output_details()
        self.labels = int(outputs[PROBABILITIES]["shape"][-1])
        self.embedding_dim = int(outputs[EMBEDDING]["shape"][-1])
        ((self._input, accepted),) = runner.get_input_details().items()
        if tuple(accepted["shape"][1:]) != (self.image_format.image_size, self.image_format.image_size, 3):
            raise ValueError(f"it takes {accepted['shape'][1:]}, not {self.image_format.image_size} px")
        self._runner = runner
        self._lock = Lock()  # an interpreter has one set of tensors, so it runs one batch at a time

    @classmethod
    def load(cls, folder: Path, threads: int | None = None) -> "ServingNetwork":
        """Load the exported network of a bundle folder, with `threads` threads, or one per processor if None.

        Its digest is not compared; see `format.check_recognizer`.

        Raises:
            ArtifactError: a file is missing, cannot be run or is of another format.
        """
        bundle = read_bundle(folder)
        path = folder / SERVING_MODEL_FILE
        try:
            with hold_stderr():  # LiteRT tells how it runs a network
                interpreter = Interpreter(str(path), num_threads=threads or count_processors())
                interpreter.allocate_tensors()
            return cls(interpreter.get_signature_runner(), bundle)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"{path} is not a network this version can run ({error}). {REBUILD}") from error

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Run the network in batches.

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
            probabilities[batch], embeddings[batch] = outputs[PROBABILITIES], outputs[EMBEDDING]
        # for features of all zeros the unit normalisation of LiteRT gives NaN, that of Keras zeros
        embeddings[np.isnan(embeddings).any(axis=1)] = 0.0
        return probabilities, embeddings
