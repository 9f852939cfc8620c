"""A recognizer directory for the benchmarks of serving: a given one, or one of the true size with random weights."""

import csv
from pathlib import Path

import numpy as np

from landmarks.data.recognizer_files import EMBEDDINGS_FILE, INDEX_FILE, INDEX_FORMAT, ITEMS_FILE
from landmarks.data.vocabulary import Landmark
from landmarks.files import compute_sha256, read_json, write_json
from landmarks.params import read_params

LABELS, GALLERY_PHOTOS, IMAGE_SIZE = 44, 24_000, 64


def make_recognizer(folder: Path) -> Path:
    """A ResNet-50 of random weights with 44 landmarks, and a gallery of 24,000 random embeddings."""
    from landmarks.modeling.bundle import write_bundle
    from landmarks.modeling.networks import build_classifier, build_recognizer

    params = read_params(Path(__file__).parents[1] / "experiments/default.yaml")
    landmarks = [Landmark(label, 1000 + label, f"Landmark {label}", 500, 50, 50) for label in range(LABELS)]
    network = build_recognizer(build_classifier(IMAGE_SIZE, LABELS, params.network))
    facts: dict[str, str | int] = {
        "variant": "plain",
        "image_size": IMAGE_SIZE,
        "fit": "crop",
        "max_pixels": params.prepare.max_pixels,
        "shards_fingerprint": "none",
    }
    write_bundle(folder / "bundle", network, landmarks, facts)
    write_gallery(folder / "index", read_json(folder / "bundle" / "bundle.json"))
    return folder


def write_gallery(folder: Path, bundle: dict[str, object]) -> None:
    """An index folder of random unit vectors for a bundle."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(GALLERY_PHOTOS, int(str(bundle["embedding_dim"])))).astype(np.float32)
    np.save(folder / EMBEDDINGS_FILE, embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
    with (folder / ITEMS_FILE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image_id", "label"))
        writer.writerows((f"{row:016x}", row % LABELS) for row in range(GALLERY_PHOTOS))
    facts = {
        "format": INDEX_FORMAT,
        "bundle_fingerprint": bundle["fingerprint"],
        "photos": GALLERY_PHOTOS,
        "threshold": 0.5,
        "files": {name: compute_sha256(folder / name) for name in (EMBEDDINGS_FILE, ITEMS_FILE)},
    }
    write_json(folder / INDEX_FILE, facts)
