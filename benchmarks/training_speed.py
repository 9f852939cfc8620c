"""Training images/s of ResNet-50: our loop, Keras's own `fit`, and PyTorch, in turn, each in a process of its own.

`step` feeds our loop with batches from memory, `augmented` with photos that the whole input pipeline reads and changes.
The table ends with the medians. Below it stand their share of the speed of products of matrices on this machine, and
whether all runs of our loop ended with the same weights, bit for bit.

python benchmarks/training_speed.py [--image-size 64] [--batch-size 64] [--steps 12] [--rounds 3] [--torch PYTHON]
"""

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from landmarks.network.input_pipeline import TrainingData, read_training_batches
from landmarks.network.networks import Precision, build_classifier
from landmarks.network.photo_source import DecodedPhotos
from landmarks.network.runtime import choose_precision, choose_strategy, configure_runtime
from landmarks.network.training import train_classifier
from landmarks.params import read_params
from landmarks.shards.format import Record, encode_png, write_shard

LABELS = 24
PEAK_SIDE = 2048  # of the matrices that the peak is measured with


def make_photos(image_size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (count, image_size // 4, image_size // 4, 3)).astype(np.uint8)
    return small.repeat(4, axis=1).repeat(4, axis=2), (np.arange(count) % LABELS).astype(np.int32)


def make_data(image_size: int, batch_size: int, steps: int) -> TrainingData:
    photos, labels = make_photos(image_size, batch_size * steps)
    options = tf.data.Options()
    # its thread can hold up the end of an epoch, as landmarks.network.input_pipeline says
    options.autotune.enabled = False

    def read(count: int) -> tf.data.Dataset:
        batches = tf.data.Dataset.from_tensor_slices((photos[:count], labels[:count])).batch(batch_size)
        return batches.prefetch(2).with_options(options)

    return TrainingData(
        train=lambda _: read(len(photos)),
        val=lambda: read(1),
        train_sample=lambda: read(1),
        batch_size=batch_size,
        steps=steps,
        label_counts=np.bincount(labels, minlength=LABELS),
    )


def make_augmented_data(image_size: int, batch_size: int, steps: int, folder: Path) -> TrainingData:
    """The same photos through the input pipeline, from shards, with the default augmentation."""
    photos, labels = make_photos(image_size, batch_size * steps)
    records = [
        Record(f"{row:016x}", int(label), encode_png(photo), image_size)
        for row, (photo, label) in enumerate(zip(photos, labels, strict=True))
    ]
    write_shard(folder / "train.tfrecord", records)
    source = DecodedPhotos([folder / "train.tfrecord"], [len(photos)], image_size, folder)
    augmentation = read_params(Path("experiments/default.yaml")).augmentation
    return replace(
        make_data(image_size, batch_size, steps),
        train=lambda epoch: read_training_batches(source, batch_size, 0, epoch, augmentation),
    )


def train_ours(precision: str, augmented: bool, args: argparse.Namespace) -> tuple[float, str]:
    """Train two epochs; the speed is that of the second, whose graph is built, and the digest that of all weights."""
    params = read_params(Path("experiments/default.yaml"))
    changes = {"epochs": 2, "batch_size": args.batch_size, "parts": args.parts, "warmup_epochs": 0.0}
    recipe = params.train.model_copy(update=changes)
    configure_runtime(recipe.parts)
    chosen: Precision = choose_precision(precision)
    sizes = args.image_size, args.batch_size, args.steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_augmented_data(*sizes, folder) if augmented else make_data(*sizes)
        result = train_classifier(
            lambda: build_classifier(args.image_size, LABELS, params.network, chosen, fast=True),
            data,
            recipe,
            params.network,
            choose_strategy("one"),
            folder / "work",
        )
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in result.classifier.get_weights()))
    return result.history[1]["images_per_second"], digest.hexdigest()[:16]


def train_by_fit(precision: str, args: argparse.Namespace) -> float:
    """Keras as it comes: its ResNet50, `compile` and `fit`, the same optimizer; of the second epoch."""
    data = make_data(args.image_size, args.batch_size, args.steps)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    backbone = keras.applications.ResNet50(
        include_top=False, weights=None, pooling="avg", input_shape=(args.image_size, args.image_size, 3)
    )
    inputs = keras.Input((args.image_size, args.image_size, 3), dtype="uint8")
    features = keras.layers.Dropout(0.2)(backbone(keras.layers.Rescaling(1 / 127.5, -1.0)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(LABELS, dtype="float32")(features))
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(data.train(0), verbose=0)
    started = time.perf_counter()
    model.fit(data.train(0), verbose=0)
    return data.steps * data.batch_size / (time.perf_counter() - started)


def measure_peak(precision: str) -> float:
    """Operations per second of a product of two matrices on all processors, best of 5."""
    matrix = tf.cast(tf.random.stateless_normal((PEAK_SIDE, PEAK_SIDE), (0, 0)), precision)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        tf.matmul(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - started)
    return float(2 * PEAK_SIDE**3 / min(seconds[1:]))


def count_operations(image_size: int) -> float:
    """Count the multiplications and additions of a training step for one photo, without those at padding.

    Forward, the gradient of the features and that of the kernel cost the same; photos need no gradient.
    """
    network = build_classifier(image_size, LABELS, read_params(Path("experiments/default.yaml")).network)
    total = 0.0
    for layer in network.get_layer("resnet50").layers:
        if isinstance(layer, keras.layers.Conv2D):
            size, _, inner, outer = (int(extent) for extent in layer.kernel.shape)
            side, result = layer.input.shape[1], layer.output.shape[1]
            reach = range(-1, 2) if layer.padding == "same" else range(size)
            # taps of all positions that lie inside, in one direction
            inside = sum(0 <= layer.strides[0] * place + tap < side for place in range(result) for tap in reach)
            if layer.name == "conv1_conv":  # 3 pixels of its input are padding
                inside = sum(3 <= 2 * place + tap < side - 3 for place in range(result) for tap in range(size))
            total += 2 * inside**2 * inner * outer * (2 if layer.name == "conv1_conv" else 3)
    return total


Way = Callable[[argparse.Namespace], tuple[float, str]]
WAYS: dict[str, Way] = {
    "step": lambda args: train_ours("auto", False, args),
    "augmented": lambda args: train_ours("auto", True, args),
    "step float32": lambda args: train_ours("float32", False, args),
    "fit float32": lambda args: (train_by_fit("float32", args), ""),
    "fit bfloat16": lambda args: (train_by_fit("bfloat16", args), ""),
}
TORCH = {"torch float32": "float32", "torch bfloat16": "bfloat16"}
FACTS: dict[str, Way] = {
    "peak float32": lambda _: (measure_peak("float32"), ""),
    "peak bfloat16": lambda _: (measure_peak("bfloat16"), ""),
    "precision": lambda _: (0.0, choose_precision("auto")),
}


def run(way: str, args: argparse.Namespace) -> tuple[float, str]:
    """Images/s of one way, and a digest of the weights, in a process of its own."""
    sizes = ["--image-size", str(args.image_size), "--batch-size", str(args.batch_size), "--steps", str(args.steps)]
    if way in TORCH:
        command = [args.torch, str(Path(__file__).with_name("torch_step.py")), TORCH[way], *sizes]
    else:
        command = [sys.executable, __file__, "--way", way, "--parts", str(args.parts), *sizes]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figure, _, text = done.stdout.splitlines()[-1].partition(" ")
    return float(figure), text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--parts", type=int, default=2, help="train.parts of our loop")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=(*WAYS, *TORCH), help="all where not given")
    parser.add_argument("--torch", metavar="PYTHON", help="of an environment with PyTorch, to compare with it too")
    parser.add_argument("--way", choices=(*WAYS, *FACTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(*(WAYS | FACTS)[args.way](args))
        return
    compare(args.ways or [*WAYS, *(TORCH if args.torch else ())], args)


def compare(ways: Sequence[str], args: argparse.Namespace) -> None:
    _, precision = run("precision", args)
    print(f"\nResNet-50 at {args.image_size} px, batch {args.batch_size}, {args.parts} parts, auto is {precision}\n")
    print(f"| images/s | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    digests: dict[str, set[str]] = {way: set() for way in ways}
    for number in range(1, args.rounds + 1):
        for way in ways:
            speed, digest = run(way, args)
            speeds[way].append(speed)
            digests[way].add(digest)
        print(f"| round {number} | {' | '.join(f'{speeds[way][-1]:.1f}' for way in ways)} |", flush=True)
    medians = {way: statistics.median(speeds[way]) for way in ways}
    print(f"| median | {' | '.join(f'{median:.1f}' for median in medians.values())} |")
    for base in ("torch bfloat16", "torch float32", "fit float32"):
        if base in ways:
            print(f"| ÷ {base} | {' | '.join(f'{median / medians[base]:.2f}' for median in medians.values())} |")
    operations = count_operations(args.image_size)
    peaks = {kind: max(run(f"peak {kind}", args)[0] for _ in range(2)) for kind in ("float32", "bfloat16")}
    print(f"\nA photo costs {operations / 1e9:.2f} GFLOP in training.")
    for kind, peak in peaks.items():
        print(f"Products of matrices, {kind}: {peak / 1e9:.0f} GFLOP/s.")
    for way in (way for way in ways if way in ("step", "augmented", "step float32")):
        peak = peaks["float32" if way == "step float32" else precision]
        same = "all runs ended with the same weights" if len(digests[way]) == 1 else "THE WEIGHTS DIFFER between runs"
        print(f"{way}: {medians[way] * operations / peak:.0%} of that; {same}.")


if __name__ == "__main__":
    main()
