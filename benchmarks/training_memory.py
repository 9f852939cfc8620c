"""Peak memory of a training at 1x, 4x and 16x the photos: it stays flat, because photos are streamed from the shards.

    python benchmarks/training_memory.py [--photos 1000] [--image-size 32]

Each size trains two epochs in a process of its own, on shards of random photos.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from landmarks.shards.format import Record, encode_png, write_shard

LABELS = 8
PHOTOS_PER_SHARD = 500


def write_shards(folder: Path, photos: int, image_size: int) -> None:
    random = np.random.default_rng(0)
    for start in range(0, photos, PHOTOS_PER_SHARD):
        pixels = random.integers(0, 256, (PHOTOS_PER_SHARD, image_size, image_size, 3)).astype(np.uint8)
        records = [
            Record(f"{start + i:016x}", i % LABELS, encode_png(photo), image_size) for i, photo in enumerate(pixels)
        ]
        write_shard(folder / f"train-{start:08d}.tfrecord", records)


def train(folder: Path, image_size: int) -> None:
    """Train in this process and print its peak memory in MiB."""
    from landmarks.network.input_pipeline import TrainingData, read_batches, read_training_batches
    from landmarks.network.networks import build_classifier
    from landmarks.network.photo_source import EncodedPhotos
    from landmarks.network.runtime import choose_strategy, configure_runtime
    from landmarks.network.training import train_classifier
    from landmarks.params import read_params

    configure_runtime(2)
    params = read_params(Path("experiments/default.yaml"))
    files = sorted(folder.glob("*.tfrecord"))
    photos = len(files) * PHOTOS_PER_SHARD
    data = TrainingData(
        train=lambda epoch: read_training_batches(EncodedPhotos(files, image_size), 64, 0, epoch, params.augmentation),
        val=lambda _: read_batches(files, image_size, 64, 256),
        train_sample=lambda _: read_batches(files, image_size, 64, 256),
        batch_size=64,
        steps=photos // 64,
        label_counts=np.full(LABELS, photos // LABELS),
    )
    recipe = params.train.model_copy(update={"epochs": 2, "batch_size": 64})
    with tempfile.TemporaryDirectory() as work:
        train_classifier(
            lambda: build_classifier(image_size, LABELS, params.network, fast=True),
            data,
            recipe,
            params.network,
            choose_strategy("one"),
            Path(work),
        )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def measure(photos: int, image_size: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), photos, image_size)
        command = [sys.executable, __file__, "--train", folder, "--image-size", str(image_size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.train, args.image_size)
        return
    print("| photos | peak memory, MiB |\n|---|---|")
    for factor in (1, 4, 16):
        print(f"| {factor * args.photos} | {measure(factor * args.photos, args.image_size)} |", flush=True)


if __name__ == "__main__":
    main()
