"""How well a recognizer tells its test photos from a folder of photos that show no landmark at all.

    python benchmarks/hard_distractors.py PHOTOS [--model models/plain] [--shards data/shards]

PHOTOS is laid out as by Kaggle, with `images.csv` (`id,category`), such as nonlandmark_hard of the sample sets. Like
all photos they are first brought to a centred square of 128 pixels: neither size nor shape gives the answer away.
Beside the recognizer's AUROC stand those of the shortcut baseline: fitted on val, where ours was calibrated, and
fitted on every second of these photos themselves, which is more than ours has seen of them.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.evaluation.baseline import describe_photos, measure_baseline_auroc
from landmarks.evaluation.metrics import compute_auroc, compute_fpr_at_tpr
from landmarks.photos.decoding import decode_image
from landmarks.photos.places import build_photo_path
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.network_format import Pixels
from landmarks.shards.format import read_split


def read_photos(folder: Path) -> Iterator[bytes]:
    with (folder / "images.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            yield (folder / build_photo_path(row["id"])).read_bytes()


def score(recognizer: Recognizer, photos: list[Pixels]) -> npt.NDArray[np.float64]:
    return np.array([answer.landmark_score for answer in recognizer.classify_pixels(np.stack(photos), k=1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/plain"))
    parser.add_argument("--shards", type=Path, default=Path("data/shards"))
    args = parser.parse_args()
    recognizer = Recognizer.load(args.model)
    image_format = recognizer.network.image_format
    distractors = [decode_image(photo, image_format) for photo in read_photos(args.photos)]
    test = [pixels for _, _, pixels in read_split(args.shards, Split.TEST)]
    landmark_scores, distractor_scores = score(recognizer, test), score(recognizer, distractors)
    val, known = (
        describe_photos(pixels for _, _, pixels in read_split(args.shards, split))
        for split in (Split.VAL, Split.DISTRACTORS_VAL)
    )
    one, other = describe_photos(test), describe_photos(distractors)
    print(f"{len(test)} test photos, {len(distractors)} photos of no landmark, {image_format.image_size} px")
    print(f"AUROC {compute_auroc(landmark_scores, distractor_scores):.3f}")
    fits = {"val": (val, known, one, other), "half of these": (one[::2], other[::2], one[1::2], other[1::2])}
    for name, features in fits.items():
        baseline = measure_baseline_auroc(*features)
        print(f"shortcut baseline, fitted on {name}: {'nothing to fit on' if baseline is None else f'{baseline:.3f}'}")
    print(f"false positives at 95 % true positives {compute_fpr_at_tpr(landmark_scores, distractor_scores):.3f}")


if __name__ == "__main__":
    main()
