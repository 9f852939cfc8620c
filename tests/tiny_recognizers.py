"""A recognizer small enough to see through, and shards for it: it names the colour that a photo has most of."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from keras import layers
from PIL import Image

from landmarks.export.litert import export_bundle
from landmarks.files.digests import compute_sha256
from landmarks.files.parsing import read_json
from landmarks.files.seals import compute_digests, write_sealed
from landmarks.network.trained import Training, write_network
from landmarks.photos.decoding import decode_image
from landmarks.recognizer.format import ExportPrecision
from landmarks.schema.columns import ATTRIBUTION_COLUMNS, Split
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.vocabulary import VOCABULARY_FILE, Landmark, write_vocabulary
from landmarks.shards.format import PHOTOS_FILE, Record, Shard, ShardManifest, write_manifest, write_shard

SIZE = 16
FORMAT = ImageFormat(SIZE, "crop", 10**6)
LANDMARKS = (
    Landmark(0, 7, "Red Tower", 2, 1, 1),
    Landmark(1, 11, "Grüne Brücke", 2, 1, 1),
    Landmark(2, 40, "Blue Dome", 2, 1, 1),
)
RED, GREEN, BLUE, GREY = (200, 40, 40), (40, 200, 40), (40, 40, 200), (120, 120, 120)
COLOURS = (RED, GREEN, BLUE)

# the landmark score is a steep function of the similarity to the nearest photo of the gallery alone: 0.5 at 0.9
_SIMILARITY: dict[str, Any] = {"weights": [0.0, 20.0, 0.0, 0.0, 0.0, 0.0], "bias": -18.0}
SCORER: dict[str, Any] = {"landmark": _SIMILARITY, "answer": _SIMILARITY, "probe": None}

Colour = tuple[int, int, int]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Photo:
    """A photo of noise around a colour; `label` -1 shows no landmark, and is of one of two categories in turn."""

    image_id: str
    label: int
    colour: Colour
    near_duplicate: bool = False

    @property
    def category(self) -> str:
        return "" if self.label >= 0 else ("food", "map")[int(self.image_id, 16) % 2]

    @property
    def pixels(self) -> Pixels:
        return make_pixels(self.colour, int(self.image_id, 16) % 1000)


def make_photos(start: int, label: int, colours: Sequence[Colour]) -> list[Photo]:
    return [Photo(f"{start + number:016x}", label, colour) for number, colour in enumerate(colours)]


def make_pixels(colour: Colour, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).integers(-30, 31, (SIZE, SIZE, 3))
    return np.asarray(np.clip(np.array(colour) + noise, 0, 255), np.uint8)


def encode_png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def decode(pixels: Pixels) -> Pixels:
    """What a recognizer sees of a photo with these pixels: it goes through the common square."""
    return decode_image(encode_png(pixels), FORMAT)


@cache
def build_network() -> keras.Model:
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    colour = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255, offset=0.01)(inputs))
    embedding = layers.UnitNormalization(name="embedding")(colour)
    probabilities = layers.Softmax(name="probabilities")(layers.Rescaling(5.0)(embedding))
    return keras.Model(inputs, {"probabilities": probabilities, "embedding": embedding})


def write_tiny_bundle(folder: Path, landmarks: tuple[Landmark, ...] = LANDMARKS, **changes: Any) -> Path:
    return write_bundle(folder, build_network(), landmarks, **changes)


def write_bundle(
    folder: Path,
    network: keras.Model,
    landmarks: Sequence[Landmark],
    variant: str = "plain",
    image_format: ImageFormat = FORMAT,
    shards_fingerprint: str = "none",
    precision: ExportPrecision = "float32",
) -> Path:
    """Write the network beside the bundle, as `train` does, and export it, as `index` does."""
    training = Training(variant, image_format, shards_fingerprint, "float32")
    trained = write_network(folder.parent / "network", network, training)
    return export_bundle(trained, folder, landmarks, precision)


def embed(photos: Sequence[Photo]) -> Floats:
    return np.asarray(build_network()(np.stack([photo.pixels for photo in photos]))["embedding"])


def write_tiny_index(
    folder: Path,
    bundle_fingerprint: str,
    photos: Sequence[Photo],
    threshold: float,
    distractors: Sequence[Photo] = (),
    scorer: Mapping[str, Any] = SCORER,
) -> Path:
    folder.mkdir(parents=True)
    np.save(folder / "embeddings.npy", embed(photos))
    if distractors:
        np.save(folder / "distractors.npy", embed(distractors))
    rows = [f"{photo.image_id},{photo.label}" for photo in photos]
    (folder / "items.csv").write_text("\n".join(["image_id,label", *rows]) + "\n", encoding="utf-8")
    facts = {
        "format": 6,
        "bundle_fingerprint": bundle_fingerprint,
        "photos": len(photos),
        "scorer": dict(scorer),
        "threshold": threshold,
        "precision_target": 0.9,
        "files": compute_digests(folder),
    }
    write_sealed(folder / "index.json", facts)
    return folder


def write_tiny_shards(
    folder: Path, photos: Mapping[Split, Sequence[Photo]], landmarks: tuple[Landmark, ...] = LANDMARKS
) -> ShardManifest:
    folder.mkdir(parents=True)
    splits = {split: [_write_one(folder, split, part)] for split, part in photos.items() if part}
    write_vocabulary(folder / VOCABULARY_FILE, landmarks)
    rows = [(photo.image_id, photo.label, split, photo.near_duplicate) for split in photos for photo in photos[split]]
    table = pd.DataFrame(rows, columns=["image_id", "label", "split", "near_duplicate"]).assign(status="ok")
    table["category"] = [photo.category for split in photos for photo in photos[split]]
    for column in ATTRIBUTION_COLUMNS:
        table[column] = [make_attribution(image_id, column) for image_id in table["image_id"]]
    table.to_parquet(folder / PHOTOS_FILE, index=False)
    return write_manifest(folder, FORMAT, len(landmarks), splits)


def make_attribution(image_id: str, column: str) -> str:
    """What the tables say of a photo; of every third nothing."""
    return f'{column} of "{image_id}", ä' if int(image_id, 16) % 3 else ""


def _write_one(folder: Path, split: Split, photos: Sequence[Photo]) -> Shard:
    path = folder / f"{split}-00000-of-00001.tfrecord"
    write_shard(path, [Record(photo.image_id, photo.label, encode_png(photo.pixels), SIZE) for photo in photos])
    return Shard(path.name, len(photos), path.stat().st_size, compute_sha256(path))


GALLERY = [photo for label, colour in enumerate(COLOURS) for photo in make_photos(label * 16, label, [colour] * 2)]


def write_tiny_recognizer(folder: Path) -> Path:
    """Write a recognizer of three colours with `GALLERY`, two photos of each, and a threshold of 0.5."""
    bundle = write_tiny_bundle(folder / "bundle")
    write_tiny_index(folder / "index", read_json(bundle / "bundle.json")["fingerprint"], GALLERY, threshold=0.5)
    return folder
