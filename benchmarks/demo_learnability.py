"""How long the demo takes to draw, and how much of it the nearest neighbour on raw pixels already knows.

Run with `python benchmarks/demo_learnability.py`. The learned part is the pipeline's business: the demo's champion has
to be at least 20 points above these figures.
"""

import argparse
import hashlib
import io
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from landmarks.demo.album import DemoTables, draw_demo
from landmarks.params import DemoParams, read_params
from landmarks.photos.places import build_photo_path

_SIDE = 32
_TEST_FRACTION = 0.2


def read_raw_pixels(archive: zipfile.ZipFile, image_id: str) -> NDArray[np.float32]:
    """The centred square of a photo at 32 px: float32 (3072,), 0 to 1."""
    with Image.open(io.BytesIO(archive.read(str(build_photo_path(image_id))))) as photo:
        side = min(photo.size)
        left, top = (photo.width - side) / 2, (photo.height - side) / 2
        small = photo.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    return np.asarray(small, np.float32).ravel() / np.float32(255)


def measure_nearest_neighbour(folder: Path, tables: DemoTables) -> float:
    """Top-1 of the nearest neighbour in Euclidean distance; a fifth of the photos, chosen by hash, is asked."""
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        pixels = np.stack([read_raw_pixels(archive, photo.image_id) for photo in tables.photos])
    labels = np.array([photo.landmark_id for photo in tables.photos])
    asked = np.array([_draw_lot(photo.image_id) < _TEST_FRACTION for photo in tables.photos])
    known, queries = pixels[~asked], pixels[asked]
    distances = (known**2).sum(axis=1) - 2 * queries @ known.T
    return float((labels[~asked][distances.argmin(axis=1)] == labels[asked]).mean())


def _draw_lot(image_id: str) -> float:
    return int(hashlib.sha256(image_id.encode()).hexdigest()[:8], 16) / 2**32


def main() -> None:
    """Print one line for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    params = read_params().acquire.demo
    for seed in arguments.seeds:
        _measure(params.model_copy(update={"seed": seed}), arguments.workers)


def _measure(params: DemoParams, workers: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, start = Path(temporary), time.perf_counter()
        tables = draw_demo(params, folder, workers)
        seconds = time.perf_counter() - start
        top1 = measure_nearest_neighbour(folder, tables)
    photos = len(tables.photos) + len(tables.distractors)
    print(f"seed {params.seed}: {photos} photos in {seconds:.1f} s, nearest neighbour on raw pixels: top-1 {top1:.3f}")


if __name__ == "__main__":
    main()
