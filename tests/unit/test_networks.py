"""The network has the study's size and Keras's own ResNet-50's answers, and is saved without code of ours."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from landmarks.errors import ArtifactError
from landmarks.modeling.networks import build_backbone, build_classifier, build_recognizer, load_backbone_weights
from landmarks.params import NetworkParams

STUDY = NetworkParams(pooling="flatten", dropout=0.2, batch_norm_momentum=0.99, zero_init_residual=False)
OURS = NetworkParams(pooling="average", dropout=0.2, batch_norm_momentum=0.9, zero_init_residual=True)


def make_photos(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def test_the_studys_network_has_exactly_its_parameters() -> None:
    classifier = build_classifier(64, 44, STUDY)
    assert classifier.count_params() == 23_948_204
    assert sum(int(np.prod(variable.shape)) for variable in classifier.trainable_variables) == 23_895_084


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_a_published_weight_file_gives_equal_features(tmp_path: Path, suffix: str) -> None:
    reference = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3))
    random = np.random.default_rng(1)
    reference.set_weights(
        [
            random.uniform(0.5, 1.5, variable.shape) if variable.name in {"moving_variance", "gamma"}
            else variable.numpy() + random.normal(0, 0.01, variable.shape)
            for variable in reference.weights
        ]
    )  # fmt: skip
    path = tmp_path / f"resnet{suffix}"
    write_weights(reference, path)
    classifier = build_classifier(64, 5, OURS, scaling="imagenet")
    load_backbone_weights(classifier, str(path))
    features = keras.Model(classifier.input, classifier.get_layer("features").output)
    photos = make_photos(3, 64)
    expected = reference(keras.applications.resnet50.preprocess_input(photos.astype(np.float32)))
    np.testing.assert_allclose(features(photos), expected, rtol=1e-3, atol=1e-4 * float(np.max(expected)))


def write_weights(model: keras.Model, path: Path) -> None:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
        return
    # the published files are of this older layout
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.weights.h5").write_text("no weights")
    classifier = build_classifier(32, 5, OURS)
    for name in ("other", "text", "missing"):
        with pytest.raises(ArtifactError, match=f"{name}.weights.h5 cannot be loaded into ResNet-50"):
            load_backbone_weights(classifier, str(tmp_path / f"{name}.weights.h5"))


def test_zero_initialised_branches_pass_the_shortcut_on() -> None:
    backbone = build_backbone(32, OURS)
    block = keras.Model(backbone.input, [backbone.get_layer(f"conv2_block{i}_out").output for i in (2, 3)])
    before, after = block(np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32))
    np.testing.assert_array_equal(before, after)


def test_the_recognizer_agrees_with_the_classifier() -> None:
    classifier = build_classifier(32, 5, OURS)
    photos = make_photos(4, 32)
    logits = np.asarray(classifier(photos), np.float64)
    answers = build_recognizer(classifier)(photos)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers["probabilities"], softmax, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(answers["embedding"], axis=1), 1, atol=1e-5)
    features = keras.Model(classifier.input, classifier.get_layer("features").output)(photos)
    pooled = np.asarray(features).mean(axis=(1, 2))
    np.testing.assert_allclose(answers["embedding"], pooled / np.linalg.norm(pooled, axis=1, keepdims=True), atol=1e-5)


def test_half_precision_weights_stay_full_and_answers_close() -> None:
    full = build_classifier(32, 5, OURS)
    half = build_classifier(32, 5, OURS, precision="bfloat16")
    half.set_weights(full.get_weights())
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    assert half.get_layer("resnet50").get_layer("conv1_conv").compute_dtype == "bfloat16"
    photos = make_photos(2, 32)
    np.testing.assert_allclose(half(photos), full(photos), atol=0.1)


def test_a_saved_recognizer_loads_where_landmarks_is_unknown(tmp_path: Path) -> None:
    classifier = build_classifier(32, 3, OURS)
    build_recognizer(classifier).save(tmp_path / "model.keras")
    code = (
        "import sys; sys.modules['landmarks'] = None\n"
        "import keras, numpy as np\n"
        f"model = keras.saving.load_model({str(tmp_path / 'model.keras')!r}, safe_mode=True)\n"
        "print(float(model(np.full((1, 32, 32, 3), 7, np.uint8))['probabilities'][0, 0]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = build_recognizer(classifier)(np.full((1, 32, 32, 3), 7, np.uint8))["probabilities"][0, 0]
    assert float(done.stdout) == pytest.approx(float(expected), abs=1e-6)
