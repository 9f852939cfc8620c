"""Whether the exported network answers as the Keras model it was made from."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from landmarks.data.images import Pixels
from landmarks.data.schema import Split
from landmarks.data.shards import iterate_batches
from landmarks.errors import ArtifactError, DataError
from landmarks.modeling.bundle import KERAS_MODEL_FILE
from landmarks.modeling.networks import EMBEDDING, PROBABILITIES
from landmarks.parity import Parity

Floats = npt.NDArray[np.float32]
_BATCH = 128

Runner = Callable[[Pixels], tuple[Floats, Floats]]


def measure_parity(bundle: Path, run: Runner, shards: Path) -> Parity:
    """Compare the Keras model of a bundle, in float32, with its serving export, on val and test together.

    Args:
        bundle: with `model.keras`.
        run: its export: photos to probabilities and embeddings.
        shards: `data/shards`.

    Raises:
        ArtifactError: the Keras model cannot be loaded, or the shards are damaged.
        DataError: there are no photos.
    """
    path = bundle / KERAS_MODEL_FILE
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be loaded with Keras: {error} Train again: `dvc repro`.") from error
    photos, differing, gained, cosines = 0, 0, 0, [np.inf]
    batches = (batch for split in (Split.VAL, Split.TEST) for batch in iterate_batches(shards, split, _BATCH))
    for _, labels, pixels in batches:
        expected = model.predict_on_batch(pixels)
        probabilities, embeddings = run(pixels)
        photos += len(pixels)
        before, after = expected[PROBABILITIES].argmax(axis=1), probabilities.argmax(axis=1)
        differing += int(np.sum(before != after))
        gained += int(np.sum(after == labels)) - int(np.sum(before == labels))
        cosines.append(float(np.sum(expected[EMBEDDING] * embeddings, axis=1)[embeddings.any(axis=1)].min(initial=1.0)))
    if not photos:
        raise DataError("There are no photos to compare the export on. Raise select.val_fraction or test_fraction.")
    return Parity(photos, differing, min(cosines), gained / photos)
