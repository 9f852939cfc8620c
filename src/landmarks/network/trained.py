"""What `train` hands on: the trained network as a Keras file, beside a note of what it was trained on."""

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
    """What a network was trained on: the content of `network.json`.

    Attributes:
        variant: `plain` or `augmented`.
        image_format: of the photos it was trained on.
        shards_fingerprint: of their shards.
    """

    variant: str
    image_format: ImageFormat
    shards_fingerprint: str


def write_network(folder: Path, network: keras.Model, training: Training) -> Path:
    """Write a network with its note, whole or not at all, and return the folder.

    Args:
        folder: `models/VARIANT/network`, replaced as a whole.
        network: as `networks.build_recognizer` makes it, in float32.
        training: what it was trained on.
    """
    with replace_folder(folder) as temporary:
        network.save(temporary / KERAS_MODEL_FILE)
        write_json(temporary / NETWORK_FILE, {"format": _FORMAT, **asdict(training)})
    return folder


def read_training(folder: Path) -> Training:
    """Read what a network was trained on.

    Raises:
        ArtifactError: the note is missing, or is none of this version.
    """
    path = folder / NETWORK_FILE
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.pop("format", None) != _FORMAT:
        raise ArtifactError(f"{path} is of another version of landmarks. Train again: `dvc repro`.")
    try:
        return Training(**facts | {"image_format": ImageFormat(**facts["image_format"])})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} does not describe a network ({error}). Train again: `dvc repro`.") from error


def load_network(folder: Path) -> keras.Model:
    """Load the Keras network in a folder; nothing is unpickled.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    path = folder / KERAS_MODEL_FILE
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be loaded with Keras: {error} Train again: `dvc repro`.") from error
