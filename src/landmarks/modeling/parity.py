"""Whether the exported network answers as the Keras model it was made from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from landmarks.data.images import Pixels
from landmarks.errors import ArtifactError, DataError
from landmarks.modeling.bundle import KERAS_MODEL_FILE
from landmarks.modeling.networks import EMBEDDING, PROBABILITIES

Floats = npt.NDArray[np.float32]
Runner = Callable[[Pixels], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Parity:
    """How alike two networks answer.

    Attributes:
        photos: that were compared.
        differing: of them, those with another most likely landmark.
        min_cosine: between the two embeddings of a photo, the lowest.
    """

    photos: int
    differing: int
    min_cosine: float

    @property
    def agreement(self) -> float:
        """Part of the photos with the same most likely landmark."""
        return 1.0 - self.differing / self.photos


def measure_parity(bundle: Path, run: Runner, batches: Iterable[Pixels]) -> Parity:
    """Compare the Keras model of a bundle, in float32, with its serving export.

    Args:
        bundle: with `model.keras`.
        run: its export: photos to probabilities and embeddings.
        batches: photos, uint8 (n, s, s, 3) each.

    Raises:
        ArtifactError: the Keras model cannot be loaded.
        DataError: there are no photos.
    """
    path = bundle / KERAS_MODEL_FILE
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be loaded with Keras: {error} Train again: `dvc repro`.") from error
    photos, differing, cosines = 0, 0, [np.inf]
    for pixels in batches:
        expected = model.predict_on_batch(pixels)
        probabilities, embeddings = run(pixels)
        photos += len(pixels)
        differing += int(np.sum(expected[PROBABILITIES].argmax(axis=1) != probabilities.argmax(axis=1)))
        cosines.append(float(np.sum(expected[EMBEDDING] * embeddings, axis=1)[embeddings.any(axis=1)].min(initial=1.0)))
    if not photos:
        raise DataError("There are no photos to compare the export on. Raise select.val_fraction or test_fraction.")
    return Parity(photos, differing, min(cosines))
