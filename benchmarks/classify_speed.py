"""How many photos `landmarks classify` answers per CPU second: in batches, and one by one as it did before.

The two ways take turns on the same photos, several rounds in one run, so that a busy machine slows both alike. Loading
the model and finding the photos is left out.

    LANDMARKS_SAMPLES=… python benchmarks/classify_speed.py --model models/augmented [--photos FOLDER] [--rounds 5]
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from landmarks.errors import ImageError
from landmarks.photos.walk import find_photos
from landmarks.recognizer.batches import answer_files
from landmarks.recognizer.recognizer import Recognition, Recognizer

_K = 5


def answer_in_batches(recognizer: Recognizer, photos: Sequence[Path]) -> list[Recognition]:
    """Answer as the command does; a photo that cannot be read ends the benchmark."""
    target = recognizer.network.image_format
    answers = answer_files(photos, target, lambda pixels: recognizer.classify_pixels(pixels, _K))
    return [_raise(answer) for _, answer in answers]


def _raise(answer: Recognition | ImageError) -> Recognition:
    if isinstance(answer, ImageError):
        raise answer
    return answer


def answer_one_by_one(recognizer: Recognizer, photos: Sequence[Path]) -> list[Recognition]:
    """Answer as a loop over files does."""
    return [recognizer.classify([photo], _K)[0] for photo in photos]


WAYS: dict[str, Callable[[Recognizer, Sequence[Path]], list[Recognition]]] = {
    "in batches": answer_in_batches,
    "one by one": answer_one_by_one,
}


def main() -> None:
    """Print a table of both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--photos", type=Path, default=Path(os.environ.get("LANDMARKS_SAMPLES", ""), "landmarks81"))
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    recognizer = Recognizer.load(arguments.model)
    photos = find_photos([arguments.photos])[0][: arguments.count]
    answers = {name: way(recognizer, photos) for name, way in WAYS.items()}  # and warms up
    first, second = answers.values()
    differ = sum(a.predictions[0].name != b.predictions[0].name for a, b in zip(first, second, strict=True))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _, (name, way) in itertools.product(range(arguments.rounds), WAYS.items()):
        wall, processor = time.perf_counter(), time.process_time()
        way(recognizer, photos)
        times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    print(f"{len(photos)} photos, {differ} with another answer, median of {arguments.rounds} rounds\n")
    print("| way | photos per CPU second | photos per second |\n|---|---|---|")
    for name, pairs in times.items():
        wall, processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"| {name} | {len(photos) / processor:.0f} | {len(photos) / wall:.0f} |")


if __name__ == "__main__":
    main()
