"""The bundle: a trained network with all that is needed to use it, as one folder (docs/pipeline.md)."""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from landmarks.data.recognizer_files import BUNDLE_FILE, BUNDLE_FORMAT, SERVING_MODEL_FILE
from landmarks.data.vocabulary import VOCABULARY_FILE, Landmark, write_vocabulary
from landmarks.files import compute_fingerprint, compute_sha256, replace_folder, write_json
from landmarks.modeling.networks import EMBEDDING

KERAS_MODEL_FILE = "model.keras"


def write_bundle(
    folder: Path, recognizer: keras.Model, landmarks: Sequence[Landmark], facts: Mapping[str, str | int]
) -> Path:
    """Save an inference model, its serving export and its vocabulary.

    Args:
        folder: replaced as a whole.
        recognizer: as `networks.build_recognizer` makes it, in float32; LiteRT cannot run mixed precision.
        landmarks: what the labels mean.
        facts: `variant`, `image_size`, `fit`, `max_pixels` and `shards_fingerprint`.
    """
    with replace_folder(folder) as temporary:
        recognizer.save(temporary / KERAS_MODEL_FILE)
        _export(recognizer, temporary / SERVING_MODEL_FILE)
        write_vocabulary(temporary / VOCABULARY_FILE, landmarks)
        described = {
            "format": BUNDLE_FORMAT,
            **facts,
            "labels": len(landmarks),
            "embedding_dim": int(recognizer.output[EMBEDDING].shape[-1]),
            "files": {path.name: compute_sha256(path) for path in sorted(temporary.iterdir())},
        }
        write_json(temporary / BUNDLE_FILE, described | {"fingerprint": compute_fingerprint(described)})
    return folder


def _export(recognizer: keras.Model, path: Path) -> None:
    # the converter prints its own progress, which says nothing to the reader of a pipeline's log
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        recognizer.export(path, format="litert", verbose=False)
