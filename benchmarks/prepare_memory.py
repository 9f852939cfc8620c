"""Peak resident memory of prepare, its worker processes included, at 1, 4 and 16 times the photos.

python benchmarks/prepare_memory.py [--photos 1500] [--workers 2]
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from landmarks.files.seals import compute_digests, write_sealed
from landmarks.params import PrepareParams
from landmarks.photos.locating import locate_photos
from landmarks.photos.places import build_photo_path
from landmarks.processors import count_processors
from landmarks.schema.columns import ATTRIBUTION_COLUMNS, ATTRIBUTIONS_FILE, Split
from landmarks.schema.vocabulary import Landmark, write_vocabulary
from landmarks.stages.prepare import prepare

FACTORS = (1, 4, 16)
DRAWN = 200
LANDMARKS = 24


def draw_photos() -> list[bytes]:
    """Smooth coloured shapes of 160 px as JPEG."""
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(DRAWN):
        stream = BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((160, 160), Image.Resampling.BICUBIC).save(stream, "JPEG")
        photos.append(stream.getvalue())
    return photos


def write_selection(root: Path, count: int) -> Path:
    """The drawn photos again and again, as an archive with its tables."""
    photos, selected = draw_photos(), root / "selected"
    selected.mkdir()
    image_ids = [f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}" for number in range(count)]
    with zipfile.ZipFile(root / "photos.zip", "w") as archive:
        for number, image_id in enumerate(image_ids):
            archive.writestr(str(build_photo_path(image_id)), photos[number % DRAWN])
    source = {"kind": "archive", "path": str(root / "photos.zip")}
    places = locate_photos(source, image_ids)
    columns = {
        "image_id": image_ids,
        "path": places.path,
        "landmark_id": np.arange(count) % LANDMARKS,
        "offset": places.offset,
        "compressed_bytes": places.compressed_bytes,
        "method": places.method,
        "label": (np.arange(count) % LANDMARKS).astype(np.int32),
        "split": [(Split.VAL, Split.TEST, *[Split.TRAIN] * 8)[n // LANDMARKS % 10].value for n in range(count)],
    }
    table = pa.table(columns)
    pq.write_table(table, selected / "images.parquet")
    distractors = table.slice(0, 0).append_column("category", pa.array([], pa.string()))
    pq.write_table(distractors, selected / "distractors.parquet")
    texts = {name: [f"{name} {image_id}" for image_id in image_ids] for name in ATTRIBUTION_COLUMNS}
    pq.write_table(pa.table({"image_id": image_ids} | texts), selected / ATTRIBUTIONS_FILE)
    rows = [Landmark(label, label, str(label), 1, 1, 1) for label in range(LANDMARKS)]
    write_vocabulary(selected / "vocabulary.csv", rows)
    write_sealed(
        selected / "source.json", {"photos": source, "distractors": source, "files": compute_digests(selected)}
    )
    return selected


def run_prepare(root: Path, selected: Path, workers: int) -> None:
    """What is measured, in a process of its own."""
    params = PrepareParams(
        image_size=64,
        fit="crop",
        photos_per_shard=256,
        max_unreadable_fraction=0.0,
        max_pixels=50_000_000,
        near_duplicate_bits=3,
    )
    prepare(selected, root / "shards", root / "reports", params, work=root / "work", workers=workers)


def measure_peak(process: psutil.Process, stop: threading.Event) -> tuple[float, float]:
    """Peaks in MiB: of the process alone, and of it together with its children at one moment."""
    alone = together = 0.0
    while not stop.wait(0.02):
        try:
            own = process.memory_info().rss
            family = own + sum(child.memory_info().rss for child in process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
        alone, together = max(alone, own / 2**20), max(together, family / 2**20)
    return alone, together


def measure(count: int, workers: int) -> tuple[float, float, float]:
    """Peak of the parent, peak of all, and seconds, for so many photos."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        selected = write_selection(root, count)
        stop, peaks = threading.Event(), []
        start = time.perf_counter()
        program = context.Process(target=run_prepare, args=(root, selected, workers))
        program.start()
        process = psutil.Process(program.pid)
        watcher = threading.Thread(target=lambda: peaks.append(measure_peak(process, stop)))
        watcher.start()
        program.join()
        stop.set()
        watcher.join()
        if program.exitcode != 0:
            raise SystemExit("prepare failed")
        return *peaks[0], time.perf_counter() - start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=min(2, count_processors()))
    arguments = parser.parse_args()
    print(f"{arguments.workers} workers\n")
    print("| photos | parent, peak MiB | parent and workers, peak MiB | seconds |")
    print("|---|---|---|---|")
    for factor in FACTORS:
        alone, together, seconds = measure(factor * arguments.photos, arguments.workers)
        print(f"| {factor * arguments.photos} ({factor}x) | {alone:.0f} | {together:.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
