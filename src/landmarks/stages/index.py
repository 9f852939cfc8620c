"""index: export the trained network, embed the training photos, and calibrate OOD detection on val."""

from pathlib import Path

from landmarks.export.indexing import build_index
from landmarks.export.litert import export_network
from landmarks.params import ExportParams, IndexParams
from landmarks.recognizer.format import BUNDLE_FOLDER
from landmarks.schema.columns import Split
from landmarks.shards.format import open_shards


def index(shards: Path, network: Path, recognizer: Path, params: IndexParams, export: ExportParams) -> Path:
    """Write the recognizer directory of a trained network: its bundle and its index.

    Args:
        shards: `data/shards`.
        network: `models/VARIANT/network`, written by `train`.
        recognizer: `models/VARIANT`.
        params: the section `index`.
        export: the section `export`.

    Raises:
        ArtifactError: network or shards are missing or damaged, or do not belong together.
        DataError: there are no val photos.
    """
    open_shards(shards, (Split.TRAIN, Split.VAL, Split.DISTRACTORS_TRAIN, Split.DISTRACTORS_VAL))
    export_network(network, recognizer / BUNDLE_FOLDER, shards, export)
    build_index(shards, recognizer, params)
    return recognizer
