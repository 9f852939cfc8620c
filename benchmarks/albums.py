"""`landmarks tag` over many photos: photos/s, peak memory, and a second run with nothing new; beside one-by-one Keras.

The photos are copies of some sample photos, with a few bytes at their ends that make each a file of its own, so that
none is known by its content. Each run is a process of its own, from its start to its end. The plain way decodes a photo
in full with Pillow, resizes it, and calls `model.predict` of the same network in Keras, one photo after the other.

    LANDMARKS_SAMPLES=… python benchmarks/albums.py --model models/augmented [--photos FOLDER] [--counts 10000 100000]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from landmarks.photos.walk import find_photos
from landmarks.recognizer.format import BUNDLE_FOLDER, read_bundle

_PER_FOLDER = 1000
_PLAIN_PHOTOS = 64


def write_copies(samples: Sequence[Path], folder: Path, count: int) -> None:
    """Write so many photos into folders of a thousand."""
    contents = [path.read_bytes() for path in samples]
    for number in range(count):
        target = folder / f"{number // _PER_FOLDER:04}" / f"IMG_{number:07}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(contents[number % len(contents)] + number.to_bytes(8, "little"))


def run_tag(arguments: Sequence[str], cache: Path) -> tuple[float, float]:
    """Run the command, and return seconds and the peak of its resident memory in MiB."""
    command = [sys.executable, "-m", "landmarks.cli", "tag", *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"LANDMARKS_CACHE": str(cache)})
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peak))
    watcher.start()
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - started
    watcher.join()
    return seconds, peak[0] / 2**20


def _watch(process: psutil.Process, peak: list[int]) -> None:
    try:
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.1)
    except psutil.NoSuchProcess:
        pass


def measure_plain(model: Path, samples: Sequence[Path]) -> float:
    """Return the photos/s of the plain way, median of three rounds."""
    command = [sys.executable, __file__, "--plain", "--model", str(model)]
    done = subprocess.run(
        [*command, "--files", *map(str, samples[:_PLAIN_PHOTOS])], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def answer_plainly(model: Path, photos: Sequence[Path]) -> None:
    """Print the photos/s of one-by-one `predict`."""
    import numpy as np
    from PIL import Image

    from landmarks.network.trained import load_network

    side = read_bundle(model / BUNDLE_FOLDER).image_format.image_size
    network = load_network(model / BUNDLE_FOLDER)

    def answer(path: Path) -> None:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        network.predict(pixels[None], verbose=0)

    answer(photos[0])
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        for path in photos:
            answer(path)
        rates.append(len(photos) / (time.perf_counter() - started))
    print(statistics.median(rates))


def measure(model: Path, samples: Sequence[Path], count: int) -> None:
    """Print a row for so many photos."""
    with tempfile.TemporaryDirectory(prefix="landmarks-albums-") as name:
        root = Path(name)
        write_copies(samples, root / "album", count)
        arguments = [str(root / "album"), "--model", str(model)]
        first, memory = run_tag(arguments, root / "cache")
        second, memory_again = run_tag(arguments, root / "cache")
        sidecars = sum(1 for _ in (root / "album").rglob("*.xmp"))
        undone, _ = run_tag([arguments[0], "--undo"], root / "cache")
        left = sum(1 for _ in (root / "album").rglob("*.xmp"))
        print(
            f"| {count:,} | {sidecars:,} | {count / first:.0f} | {memory:.0f} | {count / second:,.0f} | "
            f"{memory_again:.0f} | {sidecars / undone:,.0f}, {left} left |",
            flush=True,
        )
        shutil.rmtree(root / "album")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--photos", type=Path, default=Path(os.environ.get("LANDMARKS_SAMPLES", ""), "landmarks81"))
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        answer_plainly(arguments.model, arguments.files)
        return
    samples = find_photos([arguments.photos])[0]
    print(f"one by one with Keras: {measure_plain(arguments.model, samples):.1f} photos/s\n")
    print("| photos | sidecars | photos/s | peak MiB | second run: photos/s | peak MiB | undo: sidecars/s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for count in arguments.counts:
        measure(arguments.model, samples, count)


if __name__ == "__main__":
    main()
