"""Whether the service stays up and its memory flat.

    PYTHONPATH=tests/serving python benchmarks/service_soak.py --minutes 10

After 1,000 ordinary photos eight clients send the hostile photos of the tests, each of them twice; then they ask for
everything in turn, with large and broken photos among the ordinary ones. Targets: at most 400 MB resident after the
ordinary photos and 700 MB at the worst, no status of 5xx, and memory as flat at the end as after the first minute.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import psutil
from hostile_photos import LARGE, MAKERS

from serving_setup import (
    Load,
    Served,
    build_requests,
    make_photos,
    make_recognizer,
    run_load,
    send_once,
    serve_recognizer,
)

CLIENTS = 8
SAMPLE_SECONDS = 2.0
ORDINARY_PHOTOS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="recognizer directory; one of random weights where not given")
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="landmarks-soak-") as temporary:
        folder = Path(temporary)
        model = options.model.resolve() if options.model else make_recognizer(folder / "model")
        with serve_recognizer(model, folder) as served:
            soak(served, options.minutes)


def soak(served: Served, minutes: float) -> None:
    photos = make_photos()
    print(f"ready after {served.ready_seconds:.1f} s, {read_memory(served.process):.0f} MB resident", flush=True)
    send_ordinary(served, photos)
    print(f"{read_memory(served.process):.0f} MB resident after {ORDINARY_PHOTOS} ordinary photos", flush=True)
    send_hostile(served)
    mixed = [photo for pair in zip(photos, make_unusual(photos), strict=False) for photo in pair] + photos
    paths = ("/classify", "/search", "/embed", "/classify")
    requests = [request for path in paths for request in build_requests(mixed, path)]
    samples: list[tuple[float, float]] = []
    done = threading.Event()
    sampler = threading.Thread(target=sample, args=(served.process, samples, done))
    sampler.start()
    load = run_load(served.address, requests, CLIENTS, 60 * minutes)
    done.set()
    sampler.join()
    report(load, samples)


def send_ordinary(served: Served, photos: list[bytes]) -> None:
    sent = 0
    while sent < ORDINARY_PHOTOS:
        load = run_load(served.address, build_requests(photos), CLIENTS, 2)
        sent += len(load.seconds)


def send_hostile(served: Served) -> None:
    photos = [make() for makers in (MAKERS, LARGE) for make in makers.values()]
    statuses = send_once(served.address, build_requests(photos) * 2, CLIENTS)
    print(f"{2 * len(photos)} hostile photos: {dict(sorted(statuses.items()))}")
    print(f"{read_memory(served.process):.0f} MB resident after them, {read_peak(served.process):.0f} at the worst")


def make_unusual(photos: list[bytes]) -> list[bytes]:
    """A photo of 20 megapixels, half a photo, a text, and nothing."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (5000, 4000), (90, 120, 30)).save(stream, "PNG", compress_level=1)
    return [stream.getvalue(), photos[0][: len(photos[0]) // 2], b"no photo", b""]


def sample(process: psutil.Process, samples: list[tuple[float, float]], done: threading.Event) -> None:
    start = time.monotonic()
    while not done.wait(SAMPLE_SECONDS):
        samples.append((time.monotonic() - start, read_memory(process)))


def read_memory(process: psutil.Process) -> float:
    """Resident memory in MB."""
    return process.memory_info().rss / 1e6


def read_peak(process: psutil.Process) -> float:
    """The most memory that was ever resident, in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def report(load: Load, samples: list[tuple[float, float]]) -> None:
    memory = [megabytes for _, megabytes in samples]
    third = max(1, len(memory) // 3)
    first, last = (sum(part) / len(part) for part in (memory[:third], memory[-third:]))
    faults = sum(count for status, count in load.statuses.items() if status >= 500)
    print(
        f"{len(load.seconds)} answers in {load.duration:.0f} s: {dict(sorted(load.statuses.items()))}, {faults} of 5xx"
    )
    print(f"resident: mean of the first third {first:.0f} MB, of the last {last:.0f} MB, most {max(memory):.0f} MB")


if __name__ == "__main__":
    main()
