"""The loop: learns, stops early with the best weights, goes on after a kill, and agrees over two devices."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from landmarks.errors import ArtifactError, LandmarksError
from landmarks.network import runtime
from landmarks.network.checkpoint import Progress
from landmarks.network.ema import EMA
from landmarks.network.fused import FusedBatchNormalization
from landmarks.network.input_pipeline import TrainingData
from landmarks.network.runtime import choose_precision, choose_strategy, configure_runtime
from landmarks.network.training import WarmupDecay, _advance, build_optimizer, share_parts, train_classifier
from landmarks.params import TrainParams, read_params
from reseal import change_sealed

ROOT = Path(__file__).parents[2]
DEFAULTS = read_params(ROOT / "experiments" / "default.yaml").train
NETWORK = read_params(ROOT / "experiments" / "default.yaml").network
LABELS = 3


def make_params(**changes: object) -> TrainParams:
    values = {
        "epochs": 3,
        "batch_size": 8,
        "warmup_epochs": 0.0,
        "precision": "float32",
        "learning_rate": 0.05,
        "optimizer": "sgd",
        "weight_decay": 5e-4,
        "ema_decay": None,
        "distractor_fraction": 0.0,
    }
    return TrainParams.model_validate(DEFAULTS.model_dump() | values | changes)


def make_data(seed: int = 0, batch_size: int = 8) -> TrainingData:
    """Photos of one colour per label, with noise: easy to learn."""
    random = np.random.default_rng(seed)
    labels = np.arange(48, dtype=np.int32) % LABELS
    photos = random.integers(0, 80, (48, 8, 8, 3)).astype(np.uint8)
    photos[np.arange(48), :, :, labels] += 120

    def read(count: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
        dataset = tf.data.Dataset.from_tensor_slices((photos[:count], labels[:count]))
        return (dataset if shuffle_seed is None else dataset.shuffle(48, seed=shuffle_seed)).batch(
            batch_size, drop_remainder=shuffle_seed is not None
        )

    return TrainingData(
        train=lambda epoch: read(48, epoch),
        val=lambda _: read(20),
        train_sample=lambda _: read(30),
        batch_size=batch_size,
        steps=48 // batch_size,
        label_counts=np.bincount(labels),
    )


def build_small() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3),
            FusedBatchNormalization(momentum=0.5),
            keras.layers.Activation("relu"),
            keras.layers.Dropout(0.2, seed=5),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(LABELS),
        ]
    )


def run(work: Path, params: TrainParams, **options: object) -> tuple[list[np.ndarray], list[dict[str, float]]]:
    configure_runtime(2)
    result = train_classifier(build_small, make_data(), params, NETWORK, choose_strategy("one"), work, **options)  # type: ignore[arg-type]
    metrics = [{key: value for key, value in row.items() if key != "images_per_second"} for row in result.history]
    return result.classifier.get_weights(), metrics


def test_it_learns_and_says_what_it_measured(tmp_path: Path) -> None:
    _, history = run(tmp_path, make_params(epochs=12))
    assert [row["epoch"] for row in history] == list(range(1, 13))
    assert history[-1]["val_accuracy"] > 0.9
    assert history[-1]["train_inference_accuracy"] > 0.9
    assert history[-1]["train_loss"] < history[0]["train_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"optimizer": "sgd", "ema_decay": 0.9}, {"optimizer": "adam"}, {"optimizer": "adamw"}]
)
def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: Path, changes: dict[str, object]) -> None:
    params = make_params(epochs=4, learning_rate=0.01, **changes)
    whole = run(tmp_path / "whole", params)

    class Interrupt(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
            if self.epochs == 2 and batch == 3:
                raise KeyboardInterrupt

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
            self.epochs = epoch

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", params, callbacks=[Interrupt()])
    resumed = run(tmp_path / "cut", params)
    assert resumed[1] == whole[1]
    for one, other in zip(resumed[0], whole[0], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_kill_minus_nine_loses_at_most_an_epoch(tmp_path: Path) -> None:
    # processes of their own, whose threads are those of a training
    begin = (
        f"import sys; sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}\n"
        "from pathlib import Path\nimport test_training as t\nimport keras, os, signal, json\n"
        f"folder, params = Path({str(tmp_path)!r}), t.make_params(epochs=3)\n"
    )
    kill = (
        "class Kill(keras.callbacks.Callback):\n"
        "    def on_epoch_begin(self, epoch, logs=None):\n"
        "        if epoch == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.run(folder / 'cut', params, callbacks=[Kill()])"
    )
    compare = (
        "epochs = []\n"
        "counter = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: epochs.append(epoch))\n"
        "resumed = t.run(folder / 'cut', params, callbacks=[counter])[1]\n"
        "print(json.dumps([epochs, resumed, t.run(folder / 'whole', params)[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", begin + kill], check=False, capture_output=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    done = subprocess.run([sys.executable, "-c", begin + compare], check=True, capture_output=True, env=os.environ)
    epochs, resumed, whole = json.loads(done.stdout)
    assert epochs == [2]
    assert resumed == whole


def test_early_stopping_restores_the_best_epoch(tmp_path: Path) -> None:
    # a rate this high spoils the network again after its first good epochs
    params = make_params(epochs=30, learning_rate=2.0, early_stopping_patience=2, decay="constant")
    weights, history = run(tmp_path, params)
    best = min(range(len(history)), key=lambda i: history[i]["val_loss"])
    assert len(history) == best + 3 < 30
    upto_best, _ = run(tmp_path / "again", params.model_copy(update={"epochs": best + 1}))
    for one, other in zip(weights, upto_best, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_epochs_with_smaller_photos_neither_win_nor_stop() -> None:
    params = make_params(epochs=99, early_stopping_patience=2)
    progress, best_epochs = Progress(), []
    for epoch, loss in enumerate([1.0, 2.0, 3.0, 1.5, 2.5, 2.0, 2.1, 2.2]):
        assert not progress.finished
        _advance(progress, {"val_loss": loss, "val_accuracy": 0.0}, params, is_reduced=epoch < 4)
        best_epochs.append(progress.best_epoch)
    assert best_epochs == [1, 2, 3, 4, 5, 6, 6, 6]
    assert progress.finished


def test_a_training_with_smaller_photos_keeps_an_epoch_of_full_size(tmp_path: Path) -> None:
    data = replace(make_data(), is_reduced=lambda epoch: epoch < 2)
    result = train_classifier(build_small, data, make_params(epochs=3), NETWORK, choose_strategy("one"), tmp_path)
    assert result.best_epoch == 3


def test_validation_runs_at_the_size_of_each_epoch(tmp_path: Path) -> None:
    def build_for_any_size() -> keras.Model:
        return keras.Sequential(
            [
                keras.Input((None, None, 3), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(LABELS),
            ]
        )

    data = make_data()
    photos, labels = next(iter(data.val(0)))
    views = (photos[:, ::2, ::2] // 2, photos)
    data = replace(data, val=lambda epoch: tf.data.Dataset.from_tensors((views[epoch], labels)))
    params = make_params(epochs=2, learning_rate=1e-9)
    result = train_classifier(build_for_any_size, data, params, NETWORK, choose_strategy("one"), tmp_path)
    for epoch, seen in enumerate(views):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, result.classifier(seen, training=False))
        assert result.history[epoch]["val_loss"] == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-4)


def test_callbacks_are_honoured(tmp_path: Path) -> None:
    seen: list[str] = []

    class Stop(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            assert logs is not None
            seen.append(f"{epoch} {sorted(logs)}")
            self.model.stop_training = epoch == 1

    _, history = run(tmp_path, make_params(epochs=9), callbacks=[Stop()])
    columns = sorted(set(history[0]) - {"epoch"} | {"images_per_second"})
    assert seen == [f"0 {columns}", f"1 {columns}"]


@pytest.mark.parametrize("state", ["half written", "whole, the old one half gone"])
def test_a_kill_while_the_checkpoint_is_replaced_loses_nothing_saved_before(tmp_path: Path, state: str) -> None:
    run(tmp_path, make_params(epochs=2))
    newest = max(tmp_path.glob("epoch-*"))
    if state == "half written":
        (tmp_path / ".epoch-0003.99.tmp").mkdir()
        (tmp_path / ".epoch-0003.99.tmp" / "variables.npz").write_bytes(b"half")
    else:
        (tmp_path / "epoch-0001" / "progress.json").unlink()
    resumed: list[int] = []
    counter = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: resumed.append(epoch))
    change_sealed(newest / "progress.json", finished=False)
    run(tmp_path, make_params(epochs=3), callbacks=[counter])
    assert resumed == [2]
    assert sorted(path.name for path in tmp_path.glob("*epoch-*")) == ["epoch-0002", "epoch-0003"]


def test_the_ema_of_unit_vectors_has_unit_length() -> None:
    kernel = keras.Variable(np.eye(2, dtype=np.float32), name="kernel")
    kernel.constraint = keras.constraints.UnitNorm(axis=0)
    average = EMA([kernel], 0.5)
    kernel.assign(np.array([[0.0, 1.0], [1.0, 0.0]], np.float32))
    for _ in range(4):
        average.count_step()
    average.apply()
    columns = keras.ops.convert_to_numpy(kernel.value)
    assert 0.9 < columns[1, 0] < 0.999  # neither of the two directions
    np.testing.assert_allclose(np.linalg.norm(columns, axis=0), 1.0, atol=1e-6)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path, make_params(epochs=1))

    def build_other() -> keras.Model:
        return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(LABELS)])

    with pytest.raises(ArtifactError, match=r"belongs to another network|is damaged"):
        train_classifier(build_other, make_data(), make_params(epochs=2), NETWORK, choose_strategy("one"), tmp_path)


def test_a_diverging_training_says_so(tmp_path: Path) -> None:
    with pytest.raises(LandmarksError, match=r"The loss became (nan|inf) .*Lower train\.learning_rate"):
        run(tmp_path, make_params(learning_rate=1e30, epochs=3))


def test_warmup_and_cosine_follow_their_formula() -> None:
    schedule = WarmupDecay(peak=0.4, warmup_steps=4, total_steps=20, cosine=True)
    rates = [float(schedule(step)) for step in range(21)]
    np.testing.assert_allclose(rates[:4], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    expected = [0.2 * (1 + np.cos(np.pi * (step - 4) / 16)) for step in range(4, 21)]
    np.testing.assert_allclose(rates[4:], expected, atol=1e-7)
    assert float(WarmupDecay(0.4, 4, 20, cosine=False)(19)) == pytest.approx(0.4)


def test_sgd_decay_is_an_l2_penalty_on_kernels_alone(tmp_path: Path) -> None:
    """One plain step: kernel - rate * (gradient + decay * kernel), computed by hand."""
    data = make_data(batch_size=48)
    params = make_params(epochs=1, batch_size=48, momentum=0.0, weight_decay=0.1, decay="constant", label_smoothing=0.0)
    kernel = np.random.default_rng(0).normal(size=(192, LABELS)).astype(np.float32)
    bias = np.ones(LABELS, np.float32)

    def build() -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(LABELS),
            ]
        )
        model.set_weights([kernel, bias])
        return model

    photos, labels = next(iter(data.train(0).as_numpy_iterator()))
    inputs = photos.reshape(48, -1) / 255.0
    logits = inputs @ kernel + bias
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (softmax - np.eye(LABELS)[labels]) / 48
    result = train_classifier(build, data, params, NETWORK, choose_strategy("one"), tmp_path)
    new_kernel, new_bias = result.classifier.get_weights()
    np.testing.assert_allclose(new_kernel, kernel - 0.05 * (inputs.T @ error + 0.1 * kernel), atol=1e-5)
    np.testing.assert_allclose(new_bias, bias - 0.05 * error.sum(axis=0), atol=1e-5)


def test_adamw_spares_biases_and_normalisation() -> None:
    optimizer = build_optimizer(make_params(optimizer="adamw"), steps=1)
    model = build_small()
    optimizer.build(model.trainable_variables)
    decayed = {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {"kernel"}


@pytest.mark.parametrize(
    ("flags", "gain", "precision"),
    [
        ("avx512f avx512_bf16", 1.31, "bfloat16"),
        ("avx512f avx512_bf16", 1.29, "float32"),
        ("amx_bf16", 2.5, "bfloat16"),
        ("asimd bf16", 2.0, "bfloat16"),
        ("avx512f", 9.0, "float32"),
    ],
)
def test_precision_goes_by_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, gain: float, precision: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: Some processor\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(runtime, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(runtime, "measure_bfloat16_gain", lambda: gain)
    assert choose_precision("auto") == precision
    assert choose_precision("bfloat16") == "bfloat16"
    assert choose_precision("float32") == "float32"


def test_a_product_is_timed_in_under_a_second() -> None:
    started = time.perf_counter()
    assert 0.01 < runtime.measure_bfloat16_gain() < 100
    assert time.perf_counter() - started < 5  # a fifth of that on a quiet machine


MIRRORED = """
import sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf
if {mirrored}:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from landmarks.network.fused import FastConvolution, FusedBatchNormalization
from landmarks.network.input_pipeline import TrainingData
from landmarks.network.runtime import choose_strategy, configure_runtime
from landmarks.network.training import train_classifier
from landmarks.params import read_params
configure_runtime(2)
defaults = read_params(Path({params!r}))
changes = dict(optimizer="sgd", weight_decay=5e-4, epochs=1, batch_size=16, warmup_epochs=0.0, learning_rate=1e-2,
    ema_decay=0.5)
recipe = defaults.train.model_copy(update=changes)
random = np.random.default_rng(0)
# photos unlike each other: where all look alike, normalisation magnifies rounding
photos = np.kron(random.integers(0, 256, (80, 4, 4, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
labels = (np.arange(80) % 4).astype(np.int32)
def read(*_):
    return tf.data.Dataset.from_tensor_slices((photos, labels)).batch(16, drop_remainder=True)
data = TrainingData(read, read, read, 16, 5, np.bincount(labels))
strategy = choose_strategy("mirrored" if {mirrored} else "one")
assert strategy.num_replicas_in_sync == (2 if {mirrored} else 1)
def build():
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    for filters, size, stride in ((8, 3, 1), (16, 3, 2), (16, 1, 1), (16, 3, 2), (16, 3, 2), (16, 3, 1)):
        x = FastConvolution(filters, size, strides=stride, padding="same")(x)
        x = keras.layers.ReLU()(FusedBatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
before = []
remember = keras.callbacks.LambdaCallback()
remember.on_train_begin = lambda logs=None: before.extend(remember.model.get_weights())
result = train_classifier(build, data, recipe, defaults.network, strategy, Path({work!r}), [remember])
np.savez({out!r}, before=before[0], *result.classifier.get_weights())
"""


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("devices")

    def train_on(mirrored: bool) -> dict[str, np.ndarray]:
        out = folder / f"{mirrored}.npz"
        code = MIRRORED.format(
            mirrored=mirrored,
            params=str(ROOT / "experiments/default.yaml"),
            work=str(folder / str(mirrored)),
            out=str(out),
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        with np.load(out) as arrays:
            return dict(arrays)

    return train_on


@pytest.mark.slow
def test_two_devices_train_as_one(trained_on: Callable[[bool], dict[str, np.ndarray]]) -> None:
    """Five steps with the layers of the ResNet-50: two parts on one device, and one on each of two."""
    one, two = trained_on(False), trained_on(True)
    assert one.keys() == two.keys()
    assert np.abs(one["arr_0"] - one["before"]).max() > 1e-4
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 1e-5


def build_normalized() -> keras.Model:
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    features = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    normalized = FusedBatchNormalization(momentum=0.5, name="normalize")(features)
    return keras.Model(inputs, keras.layers.Dense(LABELS)(keras.layers.GlobalAveragePooling2D()(normalized)))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_step_sums_the_parts_and_averages_their_statistics(tmp_path: Path, parts: int) -> None:
    """One step of SGD, computed again part by part with Keras's own layer."""
    seen: list[list[np.ndarray]] = []
    remember: keras.callbacks.Callback = keras.callbacks.LambdaCallback()
    remember.on_train_begin = lambda logs=None: seen.append(remember.model.get_weights())  # noqa: ARG005
    data = replace(make_data(), steps=1, train=lambda _: make_data().train(0).take(1))
    params = make_params(epochs=1, parts=parts, weight_decay=0.0, momentum=0.0, learning_rate=0.1, decay="constant")
    result = train_classifier(build_normalized, data, params, NETWORK, choose_strategy("one"), tmp_path, [remember])

    model = build_normalized()
    model.set_weights(seen[0])
    photos, labels = next(iter(data.train(0)))
    variables = [variable.value for variable in model.trainable_variables]
    sums, statistics = [np.zeros(variable.shape) for variable in variables], []
    for part, part_labels in zip(tf.split(photos, parts), tf.split(labels, parts), strict=True):
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(
                part_labels, model(part, training=True), from_logits=True
            )
            loss = tf.reduce_sum(losses) / 8
        for total, gradient in zip(sums, tape.gradient(loss, variables), strict=True):
            total += gradient.numpy()
        features = model.layers[2](model.layers[1](part)).numpy().reshape(-1, 4)
        statistics.append((features.mean(axis=0), features.var(axis=0)))
    for found, before, total in zip(result.classifier.trainable_variables, variables, sums, strict=True):
        np.testing.assert_allclose(found.value, before - 0.1 * total, atol=1e-5)
    mean, variance = np.mean(statistics, axis=0)
    layer = result.classifier.get_layer("normalize")
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.5 * mean, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.5 + 0.5 * variance, atol=1e-5)


def test_validation_leaves_out_the_class_none(tmp_path: Path) -> None:
    photos, labels = next(iter(make_data().val(0)))
    kept = np.flatnonzero(labels.numpy() < 2)
    photos, labels = tf.gather(photos, kept), tf.gather(labels, kept)
    landmarks = tf.data.Dataset.from_tensors((photos, labels))
    data = replace(make_data(), none_label=2, val=lambda _: landmarks, train_sample=lambda _: landmarks)
    result = train_classifier(build_small, data, make_params(epochs=1), NETWORK, choose_strategy("one"), tmp_path)
    logits = np.asarray(result.classifier(photos, training=False))[:, :2]
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    assert result.history[-1]["val_loss"] == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-5)
    assert result.history[-1]["val_accuracy"] == pytest.approx(np.mean(np.argmax(logits, axis=1) == labels))


@pytest.mark.parametrize("count", [1, 7, 20])
def test_validation_counts_every_photo_once_whatever_the_parts(tmp_path: Path, count: int) -> None:
    photos, labels = next(iter(make_data().val(0)))
    data = replace(make_data(), val=lambda _: tf.data.Dataset.from_tensors((photos[:count], labels[:count])))
    params = make_params(epochs=1, parts=8)
    result = train_classifier(build_small, data, params, NETWORK, choose_strategy("one"), tmp_path)
    logits = result.classifier(photos[:count], training=False)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[:count], logits)
    assert result.history[-1]["val_loss"] == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-5)
    right = np.argmax(logits, axis=1) == labels[:count]
    assert result.history[-1]["val_accuracy"] == pytest.approx(np.mean(right))


def test_devices_that_cannot_share_the_parts_are_refused() -> None:
    assert share_parts(6, 3) == 2
    with pytest.raises(LandmarksError, match=r"Set train\.parts to a multiple of 4, such as 8"):
        share_parts(6, 4)


def test_the_ema_follows_its_formula(tmp_path: Path) -> None:
    seen: list[list[np.ndarray]] = []

    class Remember(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: object = None) -> None:  # noqa: ARG002
            seen.append(self.model.get_weights())

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
            seen.append(self.model.get_weights())

    params = make_params(epochs=3, ema_decay=0.6, learning_rate=0.01, early_stopping_monitor="val_loss")
    averaged, history = run(tmp_path / "averaged", params, callbacks=[Remember()])
    best = 1 + min(range(3), key=lambda i: history[i]["val_loss"])
    expected = seen[0]
    for update, weights in enumerate(seen[4 : 6 * best + 1 : 4], 1):
        kept = min(0.6**4, update / (9 + update))
        expected = [kept * old + (1 - kept) * new for old, new in zip(expected, weights, strict=True)]
    for result, wanted in zip(averaged, expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-6)
    assert any((np.abs(a - b) > 1e-4).any() for a, b in zip(averaged, seen[6 * best], strict=True))


def test_the_fused_optimizer_moves_weights_like_keras() -> None:
    params = make_params(optimizer="adamw", weight_decay=0.1, learning_rate=0.01, epochs=2)
    models = [build_small(), build_small()]
    models[1].set_weights(models[0].get_weights())
    random = np.random.default_rng(0)
    optimizers = [build_optimizer(params, 3, fused=fused) for fused in (True, False)]
    for _ in range(5):
        gradients = [tf.constant(random.normal(size=v.shape).astype(np.float32)) for v in models[0].trainable_variables]
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_margins_grow_over_their_epochs(tmp_path: Path) -> None:
    """The first epoch has no margin, so its loss is that of cosines alone; later ones are harder."""
    arcface = NETWORK.arcface.model_copy(update={"margin_warmup_epochs": 2.0, "max_margin_radians": 1.0})
    network = NETWORK.model_copy(update={"head": "arcface", "arcface": arcface})

    def build() -> keras.Model:
        small = build_small()
        cosines = keras.layers.UnitNormalization()(small.layers[-2].output)
        head = keras.layers.Dense(LABELS, use_bias=False, kernel_constraint=keras.constraints.UnitNorm(axis=0))
        return keras.Model(small.inputs, keras.layers.Rescaling(arcface.scale)(head(cosines)))

    # nothing is learnt at such a rate, so that only the margins change the loss
    params = make_params(epochs=3, learning_rate=1e-12, weight_decay=0.0, decay="constant")
    losses = []
    for chosen in (network, network.model_copy(update={"head": "softmax"})):
        work = tmp_path / chosen.head
        history = train_classifier(build, make_data(), params, chosen, choose_strategy("one"), work).history
        losses.append([row["train_loss"] for row in history])
    with_margins, without = losses
    assert with_margins[0] == pytest.approx(without[0], rel=1e-3)
    assert with_margins[2] > with_margins[1] > with_margins[0] + 0.1


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "no progress", "old progress"])
def test_a_damaged_checkpoint_costs_an_epoch(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = run(tmp_path / "whole", make_params(epochs=4))

    class Stop(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
            self.model.stop_training = epoch == 2

    run(tmp_path / "cut", make_params(epochs=4), callbacks=[Stop()])
    states = sorted((tmp_path / "cut").glob("epoch-*"))
    assert [state.name for state in states] == ["epoch-0002", "epoch-0003"]
    damage_state(states[-1], damage)
    resumed: list[int] = []
    counter = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: resumed.append(epoch))
    again = run(tmp_path / "cut", make_params(epochs=4), callbacks=[counter])
    assert resumed == [2, 3]
    assert "is damaged, so the training goes back further" in caplog.text
    for one, other in zip(again[0], whole[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_training_whose_checkpoints_are_all_damaged_starts_anew(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", make_params(epochs=2))
    run(tmp_path / "cut", make_params(epochs=2))
    for state in (tmp_path / "cut").glob("epoch-*"):
        damage_state(state, "cut")
    again = run(tmp_path / "cut", make_params(epochs=2))
    assert len(again[1]) == 2
    for one, other in zip(again[0], whole[0], strict=True):
        np.testing.assert_array_equal(one, other)


def damage_state(state: Path, damage: str) -> None:
    path = state / ("progress.json" if "progress" in damage else "variables.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    half = len(data) // 2
    changed = {"cut": bytes(data[:half]), "empty": b"", "flipped": bytes(data), "old progress": b'{"epoch": 3}'}
    path.unlink()  # the best weights may be the same file under another name
    if damage in changed:
        path.write_bytes(changed[damage])
