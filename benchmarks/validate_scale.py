"""How long the validate stage takes on a table of the true size, and how much memory: `python validate_scale.py`.

The target is 1.58 million rows in under 60 s and 2 GB. There are no photos: the sizes are made up, the sample is empty.
With `--broken` every row breaks expectations, the worst case for naming examples.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from landmarks.errors import DataError
from landmarks.params import ValidateParams
from landmarks.stages.validate import validate
from landmarks.tables.photo_set import PhotoSet, write_photo_set

ROWS, LANDMARKS, DISTRACTORS = 1_580_470, 81_313, 117_577


def make_raw(folder: Path, broken: bool) -> Path:
    """Write a raw photo set as `acquire` would for the Kaggle folder."""
    random = np.random.default_rng(0)
    landmarks = np.concatenate([np.arange(LANDMARKS), random.integers(0, LANDMARKS, ROWS - LANDMARKS)])
    images = make_photos(0, ROWS, broken).assign(landmark_id=pd.Series(np.sort(landmarks)).astype("str"))
    distractors = make_photos(ROWS, DISTRACTORS, broken).assign(category="thing")
    numbers = pd.Series(np.arange(LANDMARKS)).astype("str")
    names = pd.DataFrame({"landmark_id": numbers, "name": "Landmark_" + numbers})
    attributions = images[["image_id"]].assign(
        author="Author " + pd.Series(np.arange(ROWS) % 50_000).astype("str"),
        license="CC BY-SA 3.0",
        url="https://upload.wikimedia.org/wikipedia/commons/7/70/" + images["image_id"] + "_photo_of_a_landmark.jpg",
        title="File:" + images["image_id"] + " photo of a landmark.jpg",
    )
    sources = {kind: {"kind": "folder", "path": str(folder)} for kind in ("photos", "distractors")}
    folder.mkdir()
    return write_photo_set(folder, PhotoSet(images, distractors, names, attributions, sources))


def make_photos(start: int, count: int, broken: bool) -> pd.DataFrame:
    """Distinct ids with made-up sizes; broken ones stand twice, are in capitals and missing."""
    numbers = range(start, start + count)
    ids = [f"{(number // 2 if broken else number) * 0x9E3779B97F4A7C15 % 2**64:016x}" for number in numbers]
    sizes = np.full(count, -1 if broken else 60_000)
    gone = np.full(count, -1)
    image_ids = pd.Series(ids, dtype="str")
    return pd.DataFrame(
        {
            "image_id": image_ids.str.upper() if broken else image_ids,
            "offset": gone,
            "compressed_bytes": sizes,
            "method": gone.astype(np.int8),
            "stamp": gone,
        }
    )


def main() -> None:
    """Make the table in a temporary folder, validate it and print the cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broken", action="store_true")
    broken = parser.parse_args().broken
    params = ValidateParams(sample_photos=0, max_unreadable_fraction=0, min_landmark_id=0, max_landmark_id=203_093)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        raw = make_raw(root / "raw", broken)
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        try:
            validate(raw, root / "validated", root / "reports", params)
        except DataError as error:
            print(error)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{ROWS:,} photos and {DISTRACTORS:,} distractors validated in {seconds:.1f} s")
    print(f"peak resident memory {peak / 1e6:.2f} GB ({made / 1e6:.2f} GB of it reached while making the table)")


if __name__ == "__main__":
    main()
