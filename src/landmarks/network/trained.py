"""The network folder that `train` writes: a Keras file, and `network.json` with what it was trained on."""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras

from landmarks.errors import ArtifactError
from landmarks.files.seals import FINGERPRINT, check_files, compute_digests, read_sealed, write_sealed
from landmarks.files.writing import replace_folder
from landmarks.network.networks import Precision
from landmarks.schema.library_settings import check_keras
from landmarks.schema.network_format import KERAS_MODEL_FILE, ImageFormat

NETWORK_FILE = "network.json"
_FORMAT = 3
_METADATA, _CONFIG = "metadata.json", "config.json"  # inside a Keras file
_SAVED, _SHARED_ID = "date_saved", "shared_object_id"
_REBUILD = "Train again: `dvc repro`."
_SUMMARY_WIDTH = 110


@dataclass(frozen=True)
class Training:
    """Content of `network.json`: what a network was trained on.

    Attributes:
        variant: `plain` or `augmented`.
        image_format: of the training photos.
        shards_fingerprint: of the shards.
        precision: of the backbone in training; the weights are float32.
        files: SHA-256 of the other files in the folder, by name; filled in by `write_network`.
    """

    variant: str
    image_format: ImageFormat
    shards_fingerprint: str
    precision: Precision
    files: Mapping[str, str] = field(default_factory=dict)


def write_network(folder: Path, network: keras.Model, training: Training) -> Path:
    """Write the network folder atomically and return it; equal networks give equal bytes.

    Args:
        folder: `models/VARIANT/network`, replaced as a whole.
        network: made by `networks.build_recognizer`, in float32.
        training: what it was trained on.
    """
    with replace_folder(folder) as temporary:
        save_network(network, temporary / KERAS_MODEL_FILE)
        facts = {"format": _FORMAT, **asdict(training), "files": compute_digests(temporary)}
        write_sealed(temporary / NETWORK_FILE, facts)
    return folder


def save_network(network: keras.Model, path: Path) -> None:
    """Save a network as a Keras file whose bytes depend on nothing but the network and the version of Keras.

    Keras writes the time, in the metadata and as the date of an entry in the archive, and numbers shared objects by
    their addresses in memory. Here the dates are left out, and shared objects are numbered in order.
    """
    dated = path.with_name(f"dated-{path.name}")
    network.save(dated)
    with zipfile.ZipFile(dated) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            undated = zipfile.ZipInfo(entry.filename)  # of 1980, the first year that a zip archive can name
            if entry.filename in (_METADATA, _CONFIG):
                target.writestr(undated, json.dumps(_remove_chance(json.loads(source.read(entry)), {})))
            else:
                with source.open(entry) as content, target.open(undated, "w", force_zip64=True) as copy:
                    shutil.copyfileobj(content, copy, 1 << 20)
    dated.unlink()


def _remove_chance(content: Any, numbers: dict[int, int]) -> Any:
    """Copy JSON without the date, and with shared objects numbered in order of appearance; `numbers` collects them."""
    if isinstance(content, list):
        return [_remove_chance(item, numbers) for item in content]
    if not isinstance(content, dict):
        return content
    return {
        name: numbers.setdefault(value, len(numbers)) if name == _SHARED_ID else _remove_chance(value, numbers)
        for name, value in content.items()
        if name != _SAVED
    }


def read_training(folder: Path) -> Training:
    """Read `network.json`.

    Raises:
        ArtifactError: the file is missing, altered or of another format.
    """
    path = folder / NETWORK_FILE
    facts = read_sealed(path, _REBUILD)
    if facts.pop("format", None) != _FORMAT:
        raise ArtifactError(f"{path} was written by another version of landmarks. {_REBUILD}")
    del facts[FINGERPRINT]
    try:
        return Training(**facts | {"image_format": ImageFormat(**facts["image_format"])})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} does not describe a network ({error}). {_REBUILD}") from error


def open_network(folder: Path) -> Training:
    """Read `network.json`, and compare every file of the folder with its digest.

    Raises:
        ArtifactError: a file is missing or was altered, or has another format.
    """
    training = read_training(folder)
    check_files(folder, training.files, remedy=_REBUILD)
    return training


def describe_layers(network: keras.Model) -> str:
    """Describe the layers of a network as a table, whatever the width of the terminal is."""
    lines: list[str] = []
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(_SUMMARY_WIDTH)  # Keras prints with rich, which cuts lines at that width
    try:
        network.summary(print_fn=lines.append, expand_nested=True, line_length=_SUMMARY_WIDTH)
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return "\n".join(lines) + "\n"


def load_network(folder: Path) -> keras.Model:
    """Load the Keras network of a folder, without comparing its digest.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    check_keras()
    path = folder / KERAS_MODEL_FILE
    try:
        # safe_mode refuses Lambda layers, which would run code from the file
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be loaded with Keras: {error} {_REBUILD}") from error
