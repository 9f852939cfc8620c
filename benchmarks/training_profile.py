"""Where the processor time of a training step goes, by TensorFlow's profiler: `python benchmarks/training_profile.py`.

ResNet-50 as `training_speed.py` trains it, three steps after the graph is built. Shares are of all operations' time.
"""

import argparse
import re
import tempfile
from collections import Counter
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from landmarks.network.networks import Precision, build_classifier
from landmarks.network.runtime import choose_precision, choose_strategy, configure_runtime
from landmarks.network.training import train_classifier
from landmarks.params import read_params
from training_speed import LABELS, make_data

# by the type of an operation and its name, which says whether it belongs to the gradients; the first that fits
GROUPS = (
    ("filter gradients, convolutions", re.compile(r"Conv2DBackpropFilter")),
    ("input gradients, convolutions", re.compile(r"Conv2DBackpropInput")),
    ("forward, convolutions", re.compile(r"Conv2D")),
    ("products: gradients", re.compile(r"gradient_tape.*MatMul|MatMul.*gradient_tape")),
    ("products: forward", re.compile(r"MatMul")),
    ("normalisation", re.compile(r"FusedBatchNorm")),
    ("ReLU, sums and pools", re.compile(r"Relu|AddV2|AddN|Pool|BiasAdd|Mul")),
    ("update", re.compile(r"ApplyAdam|Assign")),
    ("copies", re.compile(r"Concat|Pack|Slice|Pad|Cast|Tile")),
)


class Profile(keras.callbacks.Callback):  # type: ignore[misc]
    """Profiles the second epoch."""

    def __init__(self, folder: str, steps: int) -> None:
        super().__init__()
        self.folder, self.steps, self.profiling = folder, steps, False

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Start with the second epoch."""
        self.profiling = epoch == 1
        if self.profiling:
            tf.profiler.experimental.start(self.folder)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
        """Stop after its last step."""
        if batch == self.steps - 1 and self.profiling:
            tf.profiler.experimental.stop()


def collect(folder: Path) -> Counter[str]:
    """Sum the nanoseconds of operations by group."""
    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    times: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if ":" in name and not name.startswith(("/", "Threadpool")):  # "name:Type"
                    group = next((title for title, pattern in GROUPS if pattern.search(name)), "the rest")
                    times[group] += event.duration_ps // 1000
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    args = parser.parse_args()
    params = read_params(Path("experiments/default.yaml"))
    recipe = params.train.model_copy(update={"epochs": 2, "batch_size": 64, "warmup_epochs": 0.0})
    configure_runtime(recipe.parts)
    precision: Precision = choose_precision(args.precision)
    with tempfile.TemporaryDirectory() as name:
        profile = Profile(name, args.steps)
        train_classifier(
            lambda: build_classifier(64, LABELS, params.network, precision, fast=True),
            make_data(64, 64, args.steps),
            recipe,
            params.network,
            choose_strategy("one"),
            Path(name) / "work",
            [profile],
        )
        times = collect(Path(name))
    total = sum(times.values())
    print(f"\n{precision}, {args.steps} steps of 64 photos: {total / 1e9:.2f} s in operations\n")
    print("| group | share |\n|---|---|")
    for group, nanoseconds in times.most_common():
        print(f"| {group} | {nanoseconds / total:.1%} |")


if __name__ == "__main__":
    main()
