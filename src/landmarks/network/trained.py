"""The network folder that `train` writes: a Keras file, and `network.json` with what it was trained on."""

from dataclasses import asdict, dataclass
from pathlib import Path

import keras

from landmarks.errors import ArtifactError
from landmarks.files import read_json, replace_folder, write_json
from landmarks.schema.network_format import KERAS_MODEL_FILE, ImageFormat

NETWORK_FILE = "network.json"
_FORMAT = 1


@dataclass(frozen=True)
class Training:
    """Content of `network.json`: what a network was trained on.

    Attributes:
        variant: `plain` or `augmented`.
        image_format: of the training photos.
        shards_fingerprint: of the shards.
    """

    variant: str
    image_format: ImageFormat
    shards_fingerprint: str


def write_network(folder: Path, network: keras.Model, training: Training) -> Path:
    """Write the network folder atomically and return it.

    Args:
        folder: `models/VARIANT/network`, replaced as a whole.
        network: made by `networks.build_recognizer`, in float32.
        training: what it was trained on.
    """
    with replace_folder(folder) as temporary:
        network.save(temporary / KERAS_MODEL_FILE)
        write_json(temporary / NETWORK_FILE, {"format": _FORMAT, **asdict(training)})
    return folder


def read_training(folder: Path) -> Training:
    """Read `network.json`.

    Raises:
        ArtifactError: the file is missing or has another format.
    """
    path = folder / NETWORK_FILE
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.pop("format", None) != _FORMAT:
        raise ArtifactError(f"{path} was written by another version of landmarks. Train again: `dvc repro`.")
    try:
        return Training(**facts | {"image_format": ImageFormat(**facts["image_format"])})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} does not describe a network ({error}). Train again: `dvc repro`.") from error


def load_network(folder: Path) -> keras.Model:
    """Load the Keras network of a folder.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = folder / KERAS_MODEL_FILE
    try:
        # safe_mode refuses Lambda layers, which would run code from the file
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be loaded with Keras: {error} Train again: `dvc repro`.") from error
