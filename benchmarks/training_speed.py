"""Training images/s of ResNet-50: our loop, Keras's own `fit`, and PyTorch, in turn, each in a process of its own.

All processes are there at the same time, and one of them works: it trains `--steps` steps and waits for its next turn.
So a machine that others use, too, disturbs all ways alike. The first turn of each builds its graph, and does not count.
`step` feeds our loop with batches from memory, `augmented` with photos that the whole input pipeline reads and changes.
The table ends with the medians. Below it stand their share of the speed of products of matrices on this machine, and
whether all runs of our loop ended with the same weights, bit for bit.

python benchmarks/training_speed.py [--image-size 64] [--batch-size 64] [--steps 6] [--rounds 6] [--torch PYTHON]
"""

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
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
        val=lambda _: read(1),
        train_sample=lambda _: read(1),
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


class Turns(keras.callbacks.Callback):  # type: ignore[misc]
    """Waits for a turn before each epoch, and reports the images/s of the one before.

    It reports then, and not at the end of the epoch: the validation and the checkpoint that follow would disturb the
    turn of the next process.
    """

    def __init__(self, photos: int) -> None:
        super().__init__()
        self.photos = photos
        self.measured: float | None = None

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Wait."""
        self.report()
        sys.stdin.readline()
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Measure; our loop does so without the validation that follows."""
        self.measured = (logs or {}).get("images_per_second", self.photos / (time.perf_counter() - self.started))

    def report(self) -> None:
        """Report the last epoch; to be called after the training, too."""
        if self.measured is not None:
            print("=", self.measured, flush=True)


def train_ours(precision: str, augmented: bool, args: argparse.Namespace) -> None:
    """Train an epoch for each turn, and print a digest of all weights at the end."""
    params = read_params(Path("experiments/default.yaml"))
    changes = {"epochs": args.rounds + 1, "batch_size": args.batch_size, "parts": args.parts, "warmup_epochs": 0.0}
    recipe = params.train.model_copy(update=changes | {"early_stopping_patience": None})
    network = params.network.model_copy(update={"stem": "standard", "shortcut": "strided"})  # as the others have it
    configure_runtime(recipe.parts)
    chosen: Precision = choose_precision(precision)
    sizes = args.image_size, args.batch_size, args.steps
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_augmented_data(*sizes, folder) if augmented else make_data(*sizes)
        turns = Turns(args.batch_size * args.steps)
        result = train_classifier(
            lambda: build_classifier(args.image_size, LABELS, network, chosen, fast=True),
            data,
            recipe,
            network,
            choose_strategy("one"),
            folder / "work",
            [turns],
        )
    turns.report()
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in result.classifier.get_weights()))
    print("=", digest.hexdigest()[:16], flush=True)


def train_by_fit(precision: str, args: argparse.Namespace) -> None:
    """Keras as it comes: its ResNet50, `compile` and `fit`, the same optimizer."""
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
    turns = Turns(args.batch_size * args.steps)
    model.fit(data.train(0), epochs=args.rounds + 1, callbacks=[turns], verbose=0)
    turns.report()


def measure_peak(precision: str, args: argparse.Namespace) -> None:
    """Report the operations per second of a product of two matrices on all processors, best of 5, in each turn."""
    matrix = tf.cast(tf.random.stateless_normal((PEAK_SIDE, PEAK_SIDE), (0, 0)), precision)
    for _ in range(args.rounds + 1):
        sys.stdin.readline()
        seconds = timeit.repeat(lambda: tf.matmul(matrix, matrix).numpy(), number=1, repeat=5)
        print("=", 2 * PEAK_SIDE**3 / min(seconds), flush=True)


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


Way = Callable[[argparse.Namespace], None]
OURS: dict[str, Way] = {
    "step": partial(train_ours, "auto", False),
    "augmented": partial(train_ours, "auto", True),
    "step float32": partial(train_ours, "float32", False),
}
OTHERS: dict[str, Way] = {kind: partial(train_by_fit, kind.split()[1]) for kind in ("fit float32", "fit bfloat16")}
PEAKS: dict[str, Way] = {kind: partial(measure_peak, kind.split()[1]) for kind in ("peak float32", "peak bfloat16")}
TORCH = ("torch float32", "torch bfloat16")


class Worker:
    """The process of a way."""

    def __init__(self, way: str, args: argparse.Namespace) -> None:
        command = [sys.executable, __file__, "--way", way, "--parts", str(args.parts)]
        if way in TORCH:
            command = [args.torch, str(Path(__file__).with_name("torch_step.py")), way.split()[1]]
        for name in ("image_size", "batch_size", "steps", "rounds"):
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def take_turn(self) -> float:
        """Let it work, and return what it reports."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self.read())

    def read(self) -> str:
        """Read a report."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("= "):
                return line[2:].strip()
        raise SystemExit(f"{' '.join(map(str, self.process.args))} ended without a report")  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--parts", type=int, default=2, help="train.parts of our loop")
    parser.add_argument("--steps", type=int, default=6, help="of a turn")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each way")
    parser.add_argument("--ways", nargs="+", choices=(*OURS, *OTHERS, *TORCH), help="all where not given")
    parser.add_argument("--torch", metavar="PYTHON", help="of an environment with PyTorch, to compare with it too")
    parser.add_argument("--way", choices=(*OURS, *OTHERS, *PEAKS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        (OURS | OTHERS | PEAKS)[args.way](args)
        return
    compare(args.ways or [*OURS, *OTHERS, *(TORCH if args.torch else ())], args)


def compare(ways: Sequence[str], args: argparse.Namespace) -> None:
    precision = choose_precision("auto")
    print(f"\nResNet-50 at {args.image_size} px, batch {args.batch_size}, {args.parts} parts, auto is {precision}\n")
    print(f"| images/s | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}", flush=True)
    workers = {way: Worker(way, args) for way in (*ways, *PEAKS)}
    again = Worker("augmented", args) if "augmented" in ways else None
    for worker in workers.values():
        worker.take_turn()
    found: dict[str, list[float]] = {way: [] for way in workers}
    for number in range(1, args.rounds + 1):
        for way, worker in workers.items():
            found[way].append(worker.take_turn())
        print(f"| round {number} | {' | '.join(f'{found[way][-1]:.1f}' for way in ways)} |", flush=True)
    print(f"| median | {' | '.join(f'{statistics.median(found[way]):.1f}' for way in ways)} |")
    for base in ("torch bfloat16", "torch float32", "fit float32"):
        if base in ways:
            print(f"| ÷ {base} | {' | '.join(f'{divide(found[way], found[base]):.2f}' for way in ways)} |")
    operations = count_operations(args.image_size)
    print(f"\nA photo costs {operations / 1e9:.2f} GFLOP in training.")
    for kind in PEAKS:
        print(f"Products of matrices, {kind.split()[1]}: {statistics.median(found[kind]) / 1e9:.0f} GFLOP/s.")
    for way in (way for way in ways if way in OURS):
        share = operations * divide(found[way], found["peak float32" if "32" in way else f"peak {precision}"])
        print(f"{way}: {share:.0%} of that.")
    if again:
        for _ in range(args.rounds + 1):
            again.take_turn()
        same = again.read() == workers["augmented"].read()
        print("A second augmented training ended with", "the same weights." if same else "OTHER WEIGHTS.")


def divide(figures: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios within a round."""
    return statistics.median(figure / other for figure, other in zip(figures, others, strict=True))


if __name__ == "__main__":
    main()
