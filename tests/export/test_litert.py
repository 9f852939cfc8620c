"""Exporting a trained network: the precision is chosen on val alone, and recorded with its reason."""

import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from landmarks.errors import ArtifactError
from landmarks.export.litert import export_network
from landmarks.files.digests import compute_sha256
from landmarks.files.seals import write_sealed
from landmarks.network.trained import Training, load_network, write_network
from landmarks.recognizer.format import read_bundle
from landmarks.recognizer.serving_network import ServingNetwork
from landmarks.schema.columns import Split
from landmarks.shards.format import read_manifest
from tiny_recognizers import COLOURS, FORMAT, SIZE, Photo, build_network, make_photos, write_tiny_shards
from tiny_workspaces import EXPORT

TRAIN = [photo for label, colour in enumerate(COLOURS) for photo in make_photos(label * 16, label, [colour])]
VAL = [Photo(f"{0x1000 + number:016x}", number % 3, (120, 120, 120)) for number in range(200)]


def build_doubtful_network() -> keras.Model:
    """Its landmarks are nearly equally likely for grey photos, so that rounded weights change many answers."""
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    scaled = layers.Rescaling(1 / 255, offset=0.01)(inputs)
    weights = keras.initializers.RandomNormal(stddev=1.0, seed=3)
    logits = layers.Dense(3, kernel_initializer=weights)(layers.Flatten()(scaled))
    embedding = layers.UnitNormalization(name="embedding")(layers.GlobalAveragePooling2D()(scaled))
    probabilities = layers.Softmax(name="probabilities")(logits)
    return keras.Model(inputs, {"probabilities": probabilities, "embedding": embedding})


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "shards"
    write_tiny_shards(folder, {Split.TRAIN: TRAIN, Split.VAL: VAL})
    return folder


def train(folder: Path, shards: Path, network: keras.Model) -> Path:
    training = Training("plain", FORMAT, read_manifest(shards).fingerprint, "float32")
    return write_network(folder / "network", network, training)


def test_weights_of_8_bits_are_taken_where_answers_stay(shards: Path, tmp_path: Path) -> None:
    network = train(tmp_path, shards, build_network())
    bundle = read_bundle(export_network(network, tmp_path / "bundle", shards, EXPORT))
    assert (bundle.precision, bundle.int8_refused) == ("int8", None)
    assert (bundle.variant, bundle.image_format, bundle.labels, bundle.embedding_dim) == ("plain", FORMAT, 3, 3)
    assert bundle.files["model.keras"] == compute_sha256(network / "model.keras")


def test_weights_of_8_bits_are_refused_where_answers_change_and_the_reason_is_kept(
    shards: Path, tmp_path: Path
) -> None:
    network = train(tmp_path, shards, build_doubtful_network())
    bundle = read_bundle(export_network(network, tmp_path / "bundle", shards, EXPORT))
    assert bundle.precision == "float32"
    assert bundle.int8_refused
    assert "photos get another landmark" in bundle.int8_refused or "top-1 changes" in bundle.int8_refused
    pixels = np.stack([photo.pixels for photo in VAL[:9]])
    served, _ = ServingNetwork.load(tmp_path / "bundle").run(pixels)
    expected = keras.saving.load_model(network / "model.keras", safe_mode=True)(pixels)["probabilities"]
    np.testing.assert_allclose(served, expected, atol=1e-4)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_fixed_precision_is_taken_unasked(shards: Path, tmp_path: Path, precision: str) -> None:
    network = train(tmp_path, shards, build_doubtful_network())
    params = EXPORT.model_copy(update={"precision": precision})
    bundle = read_bundle(export_network(network, tmp_path / "bundle", shards, params))
    assert (bundle.precision, bundle.int8_refused) == (precision, None)


def test_a_network_of_other_shards_is_refused(shards: Path, tmp_path: Path) -> None:
    network = write_network(tmp_path / "network", build_network(), Training("plain", FORMAT, "f" * 64, "float32"))
    with pytest.raises(ArtifactError, match="made for shards_fingerprint ffff"):
        export_network(network, tmp_path / "bundle", shards, EXPORT)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("kept", "message"),
    [((), "was written by another version"), (("format", "variant"), "does not describe a network")],
)
def test_a_note_of_another_network_is_refused(
    shards: Path, tmp_path: Path, kept: tuple[str, ...], message: str
) -> None:
    network = train(tmp_path, shards, build_network())
    facts = json.loads((network / "network.json").read_text())
    write_sealed(network / "network.json", {name: facts[name] for name in kept})
    with pytest.raises(ArtifactError, match=message):
        export_network(network, tmp_path / "bundle", shards, EXPORT)


@pytest.mark.parametrize("file", ["network.json", "model.keras"])
def test_a_damaged_network_is_refused(shards: Path, tmp_path: Path, file: str) -> None:
    path = train(tmp_path, shards, build_network()) / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=f"{file} (is damaged|was altered|is not valid JSON)"):
        export_network(path.parent, tmp_path / "bundle", shards, EXPORT)


def test_equal_networks_have_equal_bytes(shards: Path, tmp_path: Path) -> None:
    def build() -> keras.Model:
        """With an initializer that two layers share, which Keras numbers by its address."""
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        inputs, shared = keras.Input((SIZE, SIZE, 3), dtype="uint8"), keras.initializers.GlorotUniform(seed=2)
        hidden = layers.Dense(4, kernel_initializer=shared)(layers.Flatten()(inputs))
        return keras.Model(inputs, layers.Dense(3, kernel_initializer=shared)(keras.ops.relu(hidden)))

    first, second = (train(tmp_path / name, shards, build()) / "model.keras" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert set(json.loads(archive.read("metadata.json"))) == {"keras_version"}
        assert set(re.findall(rb'"shared_object_id": (\d+)', archive.read("config.json"))) == {b"0", b"1"}
    assert load_network(first.parent).count_params() == build().count_params()
