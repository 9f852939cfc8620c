"""Training images/s of our loop and of Keras's own `fit`, the same ResNet-50, in turn, each in a process of its own.

Ours is measured as it is, repeatable because TensorFlow runs one operation at a time, and with several at once.

python benchmarks/training_speed.py [--image-size 64] [--batch-size 64] [--steps 12] [--rounds 3]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from landmarks.network.input_pipeline import TrainingData
from landmarks.network.networks import build_classifier
from landmarks.network.runtime import choose_precision, choose_strategy, configure_runtime
from landmarks.network.training import train_classifier
from landmarks.params import read_params

LABELS = 24


def make_data(image_size: int, batch_size: int, steps: int) -> TrainingData:
    random = np.random.default_rng(0)
    photos = random.integers(0, 256, (batch_size * steps, image_size, image_size, 3)).astype(np.uint8)
    labels = (np.arange(len(photos)) % LABELS).astype(np.int32)

    options = tf.data.Options()
    options.autotune.enabled = (
        False  # its thread can hold up the end of an epoch, as landmarks.network.input_pipeline says
    )

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


def train_repeatably(data: TrainingData, image_size: int) -> float:
    configure_runtime(2)
    return train_ours(data, image_size)


def train_ours(data: TrainingData, image_size: int) -> float:
    """Train two epochs and give the speed of the second, whose graph is built."""
    params = read_params(Path("experiments/default.yaml"))
    recipe = params.train.model_copy(update={"epochs": 2, "batch_size": data.batch_size, "warmup_epochs": 0.0})

    def build() -> keras.Model:
        return build_classifier(image_size, LABELS, params.network, choose_precision("auto"))

    with tempfile.TemporaryDirectory() as work:
        result = train_classifier(build, data, recipe, params.network, choose_strategy("one"), Path(work))
    return result.history[1]["images_per_second"]


def train_by_fit(data: TrainingData, image_size: int) -> float:
    """Keras as it comes: its ResNet50, `compile` and `fit`, same precision and optimizer; of the second epoch."""
    policy = "mixed_bfloat16" if choose_precision("auto") == "bfloat16" else "float32"
    keras.config.set_dtype_policy(policy)
    backbone = keras.applications.ResNet50(
        include_top=False, weights=None, pooling="avg", input_shape=(image_size, image_size, 3)
    )
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8")
    features = keras.layers.Dropout(0.2)(backbone(keras.layers.Rescaling(1 / 127.5, -1.0)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(LABELS, dtype="float32")(features))
    keras.config.set_dtype_policy("float32")
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(data.train(0), verbose=0)
    started = time.perf_counter()
    model.fit(data.train(0), verbose=0)
    return data.steps * data.batch_size / (time.perf_counter() - started)


WAYS = {"landmarks": train_repeatably, "several at once": train_ours, "fit": train_by_fit}


def measure(way: str, args: argparse.Namespace) -> float:
    """Images/s of one way, in a process of its own."""
    sizes = ["--image-size", str(args.image_size), "--batch-size", str(args.batch_size), "--steps", str(args.steps)]
    done = subprocess.run(
        [sys.executable, __file__, "--way", way, *sizes], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(WAYS[args.way](make_data(args.image_size, args.batch_size, args.steps), args.image_size))
        return
    print(f"\nResNet-50 at {args.image_size} px, batch {args.batch_size}, {choose_precision('auto')}, images/s\n")
    print(f"| round | {' | '.join(WAYS)} | landmarks / fit |\n|---|---|---|---|---|")
    rows = []
    for number in range(1, args.rounds + 1):
        speeds = [measure(way, args) for way in WAYS]
        rows.append((*speeds, speeds[0] / speeds[-1]))
        print_row(str(number), rows[-1])
    print_row("median", [statistics.median(column) for column in zip(*rows, strict=True)])


def print_row(name: str, figures: Sequence[float]) -> None:
    print(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |", flush=True)


if __name__ == "__main__":
    main()
