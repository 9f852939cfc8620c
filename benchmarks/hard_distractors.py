"""How well a recognizer tells its test photos from a folder of photos that show no landmark at all.

    python benchmarks/hard_distractors.py PHOTOS [--model models/plain] [--shards data/shards]

PHOTOS is laid out as by Kaggle, with `images.csv` (`id,category`), such as nonlandmark_hard of the sample sets. All
photos are first brought to a centred square of 128 pixels, so that neither size nor shape gives the answer away; beside
the recognizer's AUROC stands that of a trivial model, fitted on one half of the photos and measured on the other.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.data.images import ImageFormat, Pixels, decode_image, encode_png
from landmarks.data.schema import Split
from landmarks.data.shards import read_split
from landmarks.metrics import compute_auroc, compute_fpr_at_tpr
from landmarks.recognition import Recognizer
from landmarks.trivial import describe_trivially, measure_trivial_auroc

COMMON = ImageFormat(128, "crop", 50_000_000)


def read_photos(folder: Path) -> Iterator[bytes]:
    with (folder / "images.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            image_id = row["id"]
            path = folder / "train" / image_id[0] / image_id[1] / image_id[2] / f"{image_id}.jpg"
            if path.is_file():
                yield path.read_bytes()


def bring_to_common(photos: Iterator[bytes], size: int) -> list[Pixels]:
    """By way of the centred 128-px square to the recognizer's size."""
    target = ImageFormat(size, "crop", 50_000_000)
    return [decode_image(encode_png(decode_image(photo, COMMON)), target) for photo in photos]


def score(recognizer: Recognizer, photos: list[Pixels]) -> npt.NDArray[np.float64]:
    return np.array([answer.landmark_score for answer in recognizer.classify_pixels(np.stack(photos), k=1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", type=Path, default=Path("models/plain"))
    parser.add_argument("--shards", type=Path, default=Path("data/shards"))
    args = parser.parse_args()
    recognizer = Recognizer.load(args.model)
    size = recognizer.network.image_format.image_size
    distractors = bring_to_common(read_photos(args.photos), size)
    test = bring_to_common((encode_png(pixels) for _, _, pixels in read_split(args.shards, Split.TEST)), size)
    landmark_scores, distractor_scores = score(recognizer, test), score(recognizer, distractors)
    one, other = describe_trivially(test), describe_trivially(distractors)
    trivial = measure_trivial_auroc(one[::2], other[::2], one[1::2], other[1::2])
    print(f"{len(test)} test photos, {len(distractors)} photos of no landmark, {size} px")
    print(
        f"AUROC {compute_auroc(landmark_scores, distractor_scores):.3f}, a trivial model {trivial or float('nan'):.3f}"
    )
    print(f"false positives at 95 % true positives {compute_fpr_at_tpr(landmark_scores, distractor_scores):.3f}")


if __name__ == "__main__":
    main()
