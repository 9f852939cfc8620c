"""The bundle: a trained network with all that is needed to use it, as one folder (docs/pipeline.md)."""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf

from landmarks.data.recognizer_files import BUNDLE_FILE, BUNDLE_FORMAT, SERVING_MODEL_FILE
from landmarks.data.vocabulary import VOCABULARY_FILE, Landmark, write_vocabulary
from landmarks.files import compute_fingerprint, compute_sha256, replace_folder, write_json
from landmarks.modeling.networks import EMBEDDING

ExportPrecision = Literal["float32", "int8"]

KERAS_MODEL_FILE = "model.keras"
# of the converter; without photos to measure activations on, `DEFAULT` makes the weights alone smaller
_SETTINGS: dict[ExportPrecision, dict[str, Any]] = {
    "float32": {},
    "int8": {"optimizations": [tf.lite.Optimize.DEFAULT]},
}


def write_bundle(
    folder: Path,
    recognizer: keras.Model,
    landmarks: Sequence[Landmark],
    facts: Mapping[str, str | int],
    precision: ExportPrecision = "float32",
) -> Path:
    """Save an inference model, its serving export and its vocabulary.

    Args:
        folder: replaced as a whole.
        recognizer: as `networks.build_recognizer` makes it, in float32; LiteRT cannot run mixed precision.
        landmarks: what the labels mean.
        facts: `variant`, `image_size`, `fit`, `max_pixels` and `shards_fingerprint`.
        precision: of the export; `int8` keeps the weights in 8 bits and calculates with them.
    """
    with replace_folder(folder) as temporary:
        recognizer.save(temporary / KERAS_MODEL_FILE)
        _export(recognizer, temporary / SERVING_MODEL_FILE, precision)
        write_vocabulary(temporary / VOCABULARY_FILE, landmarks)
        described = {
            "format": BUNDLE_FORMAT,
            **facts,
            "precision": precision,
            "labels": len(landmarks),
            "embedding_dim": int(recognizer.output[EMBEDDING].shape[-1]),
            "files": {path.name: compute_sha256(path) for path in sorted(temporary.iterdir())},
        }
        write_json(temporary / BUNDLE_FILE, described | {"fingerprint": compute_fingerprint(described)})
    return folder


def _export(recognizer: keras.Model, path: Path, precision: ExportPrecision) -> None:
    # the converter prints its own progress, which says nothing to the reader of a pipeline's log
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        recognizer.export(path, format="litert", verbose=False, **_SETTINGS[precision])
