"""How many photos a second one core decodes and brings to size: ours, Pillow without reduced decoding, TensorFlow.

The contestants take turns on the same photos, several rounds in one run, so that a busy machine slows all alike.

    LANDMARKS_SAMPLES=… python benchmarks/prepare_speed.py [--image-size 64] [--rounds 5]
"""

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from landmarks.photos.decoding import decode_image
from landmarks.schema.network_format import ImageFormat, Pixels

Decoder = Callable[[bytes], Pixels]


def build_pillow(size: int) -> Decoder:
    """Pillow as most programs use it: decode all, turn, cut and resize."""

    def decode(data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))

    return decode


def build_tensorflow(size: int) -> Decoder:
    """TensorFlow as its guides show it, compiled, with the centred square cut out first."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def transform(data: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(data, channels=3)
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        side = tf.minimum(height, width)
        square = tf.image.crop_to_bounding_box(image, (height - side) // 2, (width - side) // 2, side, side)
        resized = tf.image.resize(square, (size, size), antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)

    run = tf.function(transform, input_signature=[tf.TensorSpec([], tf.string)])

    def decode(data: bytes) -> Pixels:
        pixels: Pixels = run(data).numpy()
        return pixels

    return decode


def measure(decoder: Decoder, photos: list[bytes]) -> float:
    """Photos a second."""
    start = time.perf_counter()
    for photo in photos:
        decoder(photo)
    return len(photos) / (time.perf_counter() - start)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    size = arguments.image_size
    target = ImageFormat(size, "crop", 100_000_000)
    root = Path(os.environ["LANDMARKS_SAMPLES"]) / "fullsize" / "train"
    photos = [path.read_bytes() for path in sorted(root.rglob("*.jpg"))]
    decoders: dict[str, Decoder] = {
        "landmarks": lambda data: decode_image(data, target),
        "Pillow, full decoding": build_pillow(size),
        "tf.io.decode_jpeg + tf.image.resize(antialias)": build_tensorflow(size),
    }
    speeds: dict[str, list[float]] = {name: [] for name in decoders}
    for decoder in decoders.values():
        measure(decoder, photos[:10])
    for _ in range(arguments.rounds):
        for name, decoder in decoders.items():
            speeds[name].append(measure(decoder, photos))
    print_table(decoders, speeds, photos[::6], size)


def print_table(decoders: dict[str, Decoder], speeds: dict[str, list[float]], photos: list[bytes], size: int) -> None:
    """Medians, the ratio of ours to each, round by round, and how far the pixels are from a full decoding."""
    reference = [decoders["Pillow, full decoding"](photo).astype(float) for photo in photos]
    ours = speeds["landmarks"]
    print(f"{len(ours)} rounds at {size} px, one core; medians\n")
    print("| decoder | photos/s | landmarks is faster by | mean difference to full decoding |")
    print("|---|---|---|---|")
    for name, decoder in decoders.items():
        ratio = statistics.median(a / b for a, b in zip(ours, speeds[name], strict=True))
        far = np.mean([np.abs(decoder(p) - r).mean() for p, r in zip(photos, reference, strict=True)])
        print(f"| {name} | {statistics.median(speeds[name]):.0f} | {ratio:.2f} | {far:.2f} |")


if __name__ == "__main__":
    main()
