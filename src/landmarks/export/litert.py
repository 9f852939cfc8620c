"""Write the bundle of a trained network: its LiteRT export, in int8 if the answers stay the same, else in float32."""

import contextlib
import io
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from landmarks.export.parity import measure_parity
from landmarks.export.predict import refuse_difference
from landmarks.files.writing import replace_folder
from landmarks.network.trained import load_network, open_network, read_training
from landmarks.params import ExportParams
from landmarks.recognizer.format import SERVING_MODEL_FILE, ExportPrecision, write_bundle_file
from landmarks.recognizer.serving_network import ServingNetwork
from landmarks.schema.columns import Split
from landmarks.schema.network_format import EMBEDDING, KERAS_MODEL_FILE
from landmarks.schema.vocabulary import VOCABULARY_FILE, Landmark, read_vocabulary, write_vocabulary
from landmarks.shards.format import read_manifest

log = logging.getLogger(__name__)


def export_network(network: Path, bundle: Path, shards: Path, params: ExportParams) -> Path:
    """Write the bundle of a trained network, with 8-bit weights if they pass the parity check on val, else in float32.

    Args:
        network: `models/VARIANT/network`, written by `train`.
        bundle: `models/VARIANT/bundle`, replaced as a whole.
        shards: `data/shards`, which the network was trained on.
        params: the section `export`; a `precision` other than `auto` is used without a check.

    Raises:
        ArtifactError: the network or the shards are missing or damaged, or do not belong together.
        DataError: there are no val photos for the parity check.
    """
    manifest = read_manifest(shards)
    refuse_difference("shards_fingerprint", open_network(network).shards_fingerprint, manifest.fingerprint)
    landmarks = read_vocabulary(shards / VOCABULARY_FILE)
    model = load_network(network)
    refusal = None
    if params.precision != "float32":
        export_bundle(network, bundle, landmarks, "int8", model=model)
        if params.precision == "int8":
            return bundle
        parity = measure_parity(model, ServingNetwork.load(bundle).run, shards, Split.VAL)
        refusal = parity.find_deviation("int8", params)
        if refusal is None:
            return bundle
        log.warning("The network is exported in float32, because with 8-bit weights %s.", refusal)
    return export_bundle(network, bundle, landmarks, "float32", refusal, model)


def export_bundle(
    network: Path,
    bundle: Path,
    landmarks: Sequence[Landmark],
    precision: ExportPrecision = "float32",
    int8_refused: str | None = None,
    model: Any = None,
) -> Path:
    """Write a bundle: the Keras network, its LiteRT export, and the vocabulary.

    Args:
        network: folder of the network, which must be in float32.
        bundle: replaced as a whole.
        landmarks: the vocabulary, by label.
        precision: of the weights in the export.
        int8_refused: reason why 8-bit weights were not accepted, recorded in `bundle.json`.
        model: the Keras network, if it is loaded already.

    Raises:
        ArtifactError: the network is missing or damaged.
    """
    training, model = read_training(network), model or load_network(network)
    with replace_folder(bundle) as temporary:
        shutil.copyfile(network / KERAS_MODEL_FILE, temporary / KERAS_MODEL_FILE)
        # the converter prints progress to stdout and through TensorFlow's logger, whatever `verbose` is
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):
            model.export(temporary / SERVING_MODEL_FILE, format="litert", verbose=False, **_build_options(precision))
        write_vocabulary(temporary / VOCABULARY_FILE, landmarks)
        write_bundle_file(
            temporary,
            variant=training.variant,
            image_format=training.image_format,
            labels=len(landmarks),
            embedding_dim=int(model.output[EMBEDDING].shape[-1]),
            precision=precision,
            shards_fingerprint=training.shards_fingerprint,
            int8_refused=int8_refused,
            training_precision=training.precision,
        )
    return bundle


def _build_options(precision: ExportPrecision) -> dict[str, Any]:
    """Build the options of the converter.

    Without a representative data set, `DEFAULT` is dynamic-range quantisation: 8-bit weights, activations in float32.
    """
    import tensorflow as tf  # loaded by landmarks.network, which keeps it quiet

    return {"optimizations": [tf.lite.Optimize.DEFAULT]} if precision == "int8" else {}
