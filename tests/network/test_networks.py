"""The network has the study's size and Keras's own ResNet-50's answers, and is saved without code of ours."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pytest
import tensorflow as tf

from landmarks.errors import ArtifactError
from landmarks.network.fused import FusedBatchNormalization, fold_bias
from landmarks.network.networks import (
    Precision,
    build_backbone,
    build_classifier,
    build_recognizer,
    load_backbone_weights,
)
from landmarks.params import NetworkParams, read_params, write_experiment
from landmarks.recognizer.serving_network import ServingNetwork
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.vocabulary import Landmark
from tiny_recognizers import write_bundle

ROOT = Path(__file__).parents[2]
DEFAULTS = read_params(ROOT / "experiments" / "default.yaml").network


def make_params(**changes: object) -> NetworkParams:
    return NetworkParams.model_validate(DEFAULTS.model_dump() | {"head": "softmax", "embedding_dim": None} | changes)


def make_cosine_params(**changes: object) -> NetworkParams:
    arcface = DEFAULTS.arcface.model_dump() | changes
    return make_params(head="arcface", embedding_dim=16, arcface=arcface)


OURS = make_params(pooling="average", batch_norm_momentum=0.9, zero_init_residual=True)
PUBLISHED = OURS.model_copy(update={"stem": "standard", "shortcut": "strided"})


def make_photos(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def test_the_study_experiment_is_the_studys_recipe_and_its_network_has_exactly_its_parameters(tmp_path: Path) -> None:
    study = write_experiment(["photos", "study"], ROOT / "experiments", tmp_path / "params.yaml")
    assert (study.prepare.image_size, study.network.dropout, study.network.scaling) == (64, 0.2, "unit")
    recipe = study.train
    assert (recipe.initial_weights, recipe.optimizer, recipe.learning_rate, recipe.decay) == (
        "none",
        "adam",
        1e-4,
        "constant",
    )
    assert (recipe.batch_size, recipe.epochs, recipe.early_stopping_patience) == (128, 5, 7)
    assert (recipe.early_stopping_monitor, recipe.warmup_epochs, recipe.label_smoothing) == ("val_loss", 0, 0.0)
    assert (recipe.ema_decay, recipe.class_weighting, recipe.resizing) == (None, "none", ())
    network = study.network
    assert (network.head, network.pooling, network.flip_tta) == ("softmax", "flatten", False)
    assert (network.stem, network.shortcut) == ("standard", "strided")
    assert (network.batch_norm_momentum, network.zero_init_residual) == (0.99, False)
    mixing = (study.augmentation.mixup_fraction, study.augmentation.cutmix_fraction)
    assert (*mixing, study.augmentation.center_crop) == (0.0, 0.0, 1.0)
    classifier = build_classifier(study.prepare.image_size, 44, study.network)
    assert classifier.count_params() == 23_948_204
    assert sum(int(np.prod(variable.shape)) for variable in classifier.trainable_variables) == 23_895_084


@pytest.mark.slow
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
    classifier = build_classifier(64, 5, PUBLISHED, scaling="imagenet")
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
    classifier = build_classifier(32, 5, PUBLISHED)
    for name in ("other", "text", "missing"):
        with pytest.raises(ArtifactError, match=f"{name}.weights.h5 cannot be loaded into ResNet-50"):
            load_backbone_weights(classifier, str(tmp_path / f"{name}.weights.h5"))


def test_zero_initialised_branches_pass_the_shortcut_on() -> None:
    backbone = build_backbone(32, OURS)
    block = keras.Model(backbone.input, [backbone.get_layer(f"conv2_block{i}_out").output for i in (2, 3)])
    before, after = block(np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("scaling", "low"), [("symmetric", -1.0), ("unit", 0.0)])
def test_colours_are_scaled_as_the_network_is_told(scaling: Literal["symmetric", "unit"], low: float) -> None:
    layer = build_classifier(32, 3, OURS, scaling=scaling).get_layer("scaling")
    scaled = keras.ops.convert_to_numpy(layer(np.array([[[[0, 255, 255]]]], np.float32)))
    np.testing.assert_allclose(scaled.ravel(), [low, 1.0, 1.0], atol=1e-6)


def test_arcface_alone_reduces_to_512_dimensions() -> None:
    recognizer = build_recognizer(build_classifier(32, 3, make_params(head="arcface", embedding_dim=None)))
    assert recognizer.output["embedding"].shape == (None, 512)
    assert make_params(head="softmax", embedding_dim=None).reduced_dim is None


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


@pytest.mark.parametrize("flip_tta", [True, False])
def test_the_class_none_is_what_the_probabilities_lack(tmp_path: Path, flip_tta: bool) -> None:
    classifier = build_classifier(32, 4, OURS)  # three landmarks and "none"
    photos = make_photos(3, 32)
    whole, found = build_recognizer(classifier, flip_tta), build_recognizer(classifier, flip_tta, landmarks=3)
    expected = np.asarray(whole(photos)["probabilities"])
    np.testing.assert_allclose(found(photos)["probabilities"], expected[:, :3], atol=1e-6)
    np.testing.assert_allclose(found(photos)["embedding"], whole(photos)["embedding"], atol=1e-6)
    assert (expected[:, 3] > 0.01).all()
    assert_served_alike(write_small_bundle(tmp_path, found), photos, found(photos))


@pytest.mark.slow
def test_half_precision_weights_stay_full_and_answers_close() -> None:
    full = build_classifier(32, 5, OURS)
    half = build_classifier(32, 5, OURS, precision="bfloat16")
    half.set_weights(full.get_weights())
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    assert half.get_layer("resnet50").get_layer("conv1_conv").compute_dtype == "bfloat16"
    photos = make_photos(2, 32)
    np.testing.assert_allclose(half(photos), full(photos), atol=0.1)


@pytest.mark.slow
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


def test_fused_normalisation_answers_and_remembers_like_keras() -> None:
    random = np.random.default_rng(0)
    features = tf.constant(random.normal(2, 3, (4, 3, 3, 5)).astype(np.float32))
    layers = [kind(momentum=0.9, epsilon=1e-3) for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)]
    for layer in layers:
        layer.build(features.shape)
        layer.set_weights([random.uniform(0.5, 1.5, 5) for _ in range(4)])
    layers[1].set_weights(layers[0].get_weights())
    results = []
    for layer in layers:
        with tf.GradientTape() as tape:
            tape.watch(features)
            trained = layer(features, training=True)
            loss = tf.reduce_sum(trained**3)
        gradients = tape.gradient(loss, [features, *(variable.value for variable in layer.trainable_variables)])
        results.append([trained, *gradients, *layer.get_weights(), layer(features, training=False)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("image_size", "precision"), [(32, "float32"), (64, "float32"), (64, "bfloat16")])
def test_the_fast_layers_answer_and_learn_like_those_of_keras(image_size: int, precision: Precision) -> None:
    """The same weights, also biases, which published weights have."""
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    params = make_params(embedding_dim=8, dropout=0.0, zero_init_residual=False)
    theirs, ours = (build_classifier(image_size, 3, params, precision, fast=fast) for fast in (False, True))
    theirs.set_weights([random.normal(0, 0.05, w.shape) if w.ndim == 1 else w for w in theirs.get_weights()])
    for layer in theirs.get_layer("resnet50").layers:
        if layer.name.endswith("_bn"):
            layer.moving_variance.assign(random.uniform(0.5, 1.5, layer.moving_variance.shape))
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
    ours.set_weights(theirs.get_weights())
    backbone = ours.get_layer("resnet50")
    for layer in backbone.layers:
        if layer.name.endswith("_conv"):
            fold_bias(layer, backbone.get_layer(layer.name.removesuffix("_conv") + "_bn"))
    photos = make_photos(16, image_size)
    wide = 1e-3 if precision == "float32" else 0.1
    answers = [np.asarray(model(photos, training=False)) for model in (theirs, ours)]
    np.testing.assert_allclose(answers[1], answers[0], atol=wide * np.abs(answers[0]).max())
    if precision == "bfloat16":
        return  # in so few photos, rounding changes the signs of activations
    gradients = []
    for model in (theirs, ours):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(photos, training=True) ** 2)
        found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        named = zip((variable.path for variable in model.trainable_variables), found, strict=True)
        gradients.append({name: np.asarray(gradient) for name, gradient in named})
    assert gradients[0].keys() - gradients[1].keys() == {
        f"{layer.name}/bias" for layer in backbone.layers if layer.name.endswith("_conv")
    }
    for name, gradient in gradients[1].items():
        # rounding changes the signs of a few activations on the way, and so single values
        lengths = np.linalg.norm(gradient), np.linalg.norm(gradients[0][name])
        assert lengths[0] == pytest.approx(lengths[1], rel=0.02), name
        assert np.vdot(gradient, gradients[0][name]) / np.prod(lengths) > 0.998, name


def test_gem_pooling_lies_between_average_and_maximum() -> None:
    photos = make_photos(2, 64)
    classifier = build_classifier(64, 3, make_params(pooling="gem", gem_power=3.0))
    wanted = [classifier.get_layer("features").output, classifier.get_layer("rows").output]
    features, rows = (np.asarray(output, np.float64) for output in keras.Model(classifier.input, wanted)(photos))
    expected = (np.maximum(features, 1e-6) ** 3).mean(axis=(1, 2)) ** (1 / 3)
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    assert (rows >= features.mean(axis=(1, 2)) - 1e-4).all()


@pytest.mark.parametrize("subcenters", [1, 3])
def test_the_arcface_head_gives_scaled_cosines_of_the_closest_center(subcenters: int) -> None:
    classifier = build_classifier(32, 4, make_cosine_params(subcenters=subcenters, scale=10.0))
    photos = make_photos(3, 32)
    directions = classifier.get_layer("directions")
    directions.set_weights([np.random.default_rng(1).normal(size=directions.kernel.shape)])
    directions.kernel.assign(directions.kernel_constraint(directions.kernel))
    rows = np.asarray(keras.Model(classifier.input, classifier.get_layer("rows").output)(photos), np.float64)
    kernel = np.asarray(directions.kernel, np.float64)
    expected = np.empty((3, 4))
    for photo, row in enumerate(rows):
        for label in range(4):
            columns = kernel[:, label::4].T
            expected[photo, label] = 10 * max(row @ c / np.linalg.norm(row) / np.linalg.norm(c) for c in columns)
    np.testing.assert_allclose(classifier(photos), expected, atol=1e-3)


def write_small_bundle(folder: Path, recognizer: keras.Model) -> Path:
    landmarks = [Landmark(label, label, "", 1, 1, 1) for label in range(5)]
    return write_bundle(folder / "bundle", recognizer, landmarks, image_format=ImageFormat(32, "crop", 10))


def assert_served_alike(bundle: Path, photos: np.ndarray, answers: dict[str, tf.Tensor]) -> None:
    """One photo and all of them get the answers of the Keras model."""
    for count in (1, len(photos)):
        probabilities, embeddings = ServingNetwork.load(bundle).run(photos[:count])
        np.testing.assert_allclose(probabilities, answers["probabilities"][:count], atol=1e-5)
        np.testing.assert_allclose(embeddings, answers["embedding"][:count], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("params", [make_cosine_params(subcenters=2), make_params(pooling="gem", embedding_dim=8)])
def test_every_head_is_exported_and_saved_with_equal_answers(tmp_path: Path, params: NetworkParams) -> None:
    recognizer = build_recognizer(build_classifier(32, 5, params))
    bundle = write_small_bundle(tmp_path, recognizer)
    photos = make_photos(3, 32)
    expected = recognizer(photos)
    probabilities, embeddings = ServingNetwork.load(bundle).run(photos)
    np.testing.assert_allclose(probabilities, expected["probabilities"], atol=1e-5)
    np.testing.assert_allclose(embeddings, expected["embedding"], atol=1e-5)
    again = keras.saving.load_model(bundle / "model.keras", safe_mode=True)(photos)
    np.testing.assert_allclose(again["embedding"], expected["embedding"], atol=1e-6)


@pytest.mark.slow
def test_an_open_image_size_takes_weights_to_a_fixed_one() -> None:
    params = make_params(embedding_dim=8)
    trained, fixed = build_classifier(None, 3, params, fast=True), build_classifier(64, 3, params)
    fixed.set_weights(trained.get_weights())
    photos = make_photos(2, 64)
    np.testing.assert_allclose(fixed(photos), trained(photos), atol=1e-4)
    assert trained(make_photos(2, 32)).shape == (2, 3)


@pytest.mark.slow
def test_flip_tta_answers_with_the_mean_of_both(tmp_path: Path) -> None:
    classifier = build_classifier(32, 5, make_params(embedding_dim=8))
    plain, averaged = build_recognizer(classifier), build_recognizer(classifier, flip_tta=True)
    photos = make_photos(3, 32)
    one, other = plain(photos), plain(photos[:, :, ::-1])
    both = averaged(photos)
    np.testing.assert_allclose(both["probabilities"], (one["probabilities"] + other["probabilities"]) / 2, atol=1e-5)
    rows = keras.Model(classifier.input, classifier.get_layer("rows").output)
    summed = np.asarray(rows(photos)) + np.asarray(rows(photos[:, :, ::-1]))
    expected = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    np.testing.assert_allclose(both["embedding"], expected, atol=1e-5)
    bundle = write_small_bundle(tmp_path, averaged)
    assert_served_alike(bundle, photos, both)
    again = keras.saving.load_model(bundle / "model.keras", safe_mode=True)(photos[:, :, ::-1])
    np.testing.assert_allclose(again["probabilities"], both["probabilities"], atol=1e-5)
    assert (bundle / "serving.tflite").stat().st_size < 1.1 * 4 * classifier.count_params()


@pytest.mark.slow
def test_center_crop_answers_for_the_enlarged_center(tmp_path: Path) -> None:
    classifier = build_classifier(32, 5, OURS)
    photos = make_photos(3, 32)
    center = tf.image.resize(photos[:, 2:30, 2:30].astype(np.float32), (32, 32))
    seen = tf.cast(tf.round(center), tf.uint8).numpy()
    recognizer = build_recognizer(classifier, flip_tta=True, center_crop=0.87)
    answers, expected = recognizer(photos), build_recognizer(classifier, flip_tta=True)(seen)
    for name in ("probabilities", "embedding"):
        np.testing.assert_allclose(answers[name], expected[name], atol=1e-5)
    assert np.abs(answers["embedding"] - build_recognizer(classifier, flip_tta=True)(photos)["embedding"]).max() > 1e-3
    bundle = write_small_bundle(tmp_path, recognizer)
    assert_served_alike(bundle, photos, answers)
    again = keras.saving.load_model(bundle / "model.keras", safe_mode=True)(photos)
    np.testing.assert_allclose(again["probabilities"], answers["probabilities"], atol=1e-5)


def test_the_pooled_shortcut_sees_every_position_and_the_strided_one_a_quarter() -> None:
    features = np.random.default_rng(0).normal(size=(2, 7, 7, 256)).astype(np.float32)
    means = tf.nn.avg_pool2d(features, 2, 2, "SAME").numpy()
    np.testing.assert_allclose(
        means[:, :3, :3], features[:, :6, :6].reshape(2, 3, 2, 3, 2, 256).mean((2, 4)), atol=1e-6
    )
    for params, seen in ((OURS, means), (PUBLISHED, features[:, ::2, ::2])):
        backbone = build_backbone(28, params)
        names = ("conv2_block3_out", "conv3_block1_0_bn")
        before, after = (backbone.get_layer(name).output for name in names)
        kernel, bias = backbone.get_layer("conv3_block1_0_conv").get_weights()
        found = keras.Model(before, after)(features)
        np.testing.assert_allclose(found, (seen @ kernel[0, 0] + bias) / np.sqrt(1 + 1.001e-5), atol=1e-4)


def test_the_deep_stem_has_three_convolutions_and_the_size_of_the_published_one() -> None:
    deep, published = build_backbone(64, OURS), build_backbone(64, PUBLISHED)
    kernels = [deep.get_layer(f"{name}_conv").get_weights()[0].shape for name in ("stem1", "stem2", "conv1")]
    assert kernels == [(3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64)]
    assert deep.get_layer("conv1_relu").output.shape == published.get_layer("conv1_relu").output.shape
    assert deep.output.shape == published.output.shape


def test_the_small_stem_keeps_twice_the_height_and_width() -> None:
    assert build_backbone(64, OURS).output.shape[1:] == (2, 2, 2048)
    assert build_backbone(64, make_params(stem="small")).output.shape[1:] == (4, 4, 2048)
