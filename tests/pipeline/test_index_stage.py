"""The index stage on tiny shards: what it writes, that it is repeatable, and what it refuses."""

import csv
import io
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from landmarks.data.schema import Split
from landmarks.data.vocabulary import Landmark
from landmarks.errors import ArtifactError, DataError, LandmarksError
from landmarks.files import compute_tree_sha256, read_json
from landmarks.modeling.bundle import write_bundle
from landmarks.params import IndexParams
from landmarks.recognition import Recognizer
from landmarks.stages.index import index
from tiny_recognizers import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LANDMARKS,
    RED,
    SIZE,
    Photo,
    build_network,
    encode_png,
    make_attribution,
    make_photos,
    write_tiny_bundle,
    write_tiny_shards,
)

TRAIN = [
    photo for label, colour in enumerate(COLOURS) for photo in make_photos(0x100 * (label + 1), label, [colour] * 100)
]
# the faint ones are named rightly but with little certainty, the grey ones show nothing
FAINT_RED = (140, 100, 100)
VAL = [
    *make_photos(0x1000, 0, [RED, RED, FAINT_RED]),
    *make_photos(0x1100, 1, [GREEN, BLUE]),
    *make_photos(0x1200, 2, [BLUE]),
]
DISTRACTORS = make_photos(0x2000, -1, [GREY, GREY, FAINT_RED])
PHOTOS = {Split.TRAIN: TRAIN, Split.VAL: VAL, Split.DISTRACTORS_VAL: DISTRACTORS}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "shards"
    write_tiny_shards(folder, PHOTOS)
    return folder


@pytest.fixture
def model_dir(shards: Path, tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle", shards_fingerprint=read_json(shards / "shards.json")["fingerprint"])
    return tmp_path


def score_slowly(photo: Photo) -> tuple[float, bool]:
    answer = build_network()(photo.pixels[None])
    gallery = np.asarray(build_network()(np.stack([other.pixels for other in TRAIN]))["embedding"], np.float64)
    nearest = max(float(row @ np.asarray(answer["embedding"], np.float64)[0]) for row in gallery)
    return nearest, int(np.asarray(answer["probabilities"])[0].argmax()) == photo.label


def test_gallery_holds_every_training_photo_in_order(shards: Path, model_dir: Path) -> None:
    assert index(shards, model_dir, PARAMS) == model_dir / "index"
    with (model_dir / "index/items.csv").open(newline="") as stream:
        items = [(row["image_id"], int(row["label"])) for row in csv.DictReader(stream)]
    assert items == [(photo.image_id, photo.label) for photo in TRAIN]
    expected = np.asarray(build_network()(np.stack([photo.pixels for photo in TRAIN]))["embedding"])
    embeddings = np.load(model_dir / "index/embeddings.npy", allow_pickle=False)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)


def test_thumbnails_are_the_training_photos_in_order(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, PARAMS)
    gallery = Recognizer.load(model_dir).gallery
    assert gallery.thumbnails is not None
    for photo in (TRAIN[0], TRAIN[150], TRAIN[-1]):
        with Image.open(io.BytesIO(gallery.find_thumbnail(photo.image_id) or b"")) as image:
            assert image.format == "JPEG"
            pixels = np.asarray(image)
        assert pixels.shape == photo.pixels.shape
        np.testing.assert_allclose(pixels.mean(axis=(0, 1)), photo.pixels.mean(axis=(0, 1)), atol=3)
    assert gallery.find_thumbnail("nobody") is None


def test_without_thumbnails(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, make_params(thumbnails=False))
    assert {path.name for path in (model_dir / "index").iterdir()} == {"index.json", "items.csv", "embeddings.npy"}
    assert Recognizer.load(model_dir).gallery.find_thumbnail(TRAIN[0].image_id) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("thumbnails.jpegs", b"", "is damaged"),
        ("thumbnails.npy", b"", "is damaged"),
        ("thumbnails.jpegs", None, "is missing"),
    ],
)
def test_damaged_thumbnails(shards: Path, model_dir: Path, name: str, content: bytes | None, message: str) -> None:
    path = index(shards, model_dir, PARAMS) / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} {message}"):
        Recognizer.load(model_dir)


def test_the_gallery_names_who_made_its_photos(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, PARAMS)
    with (model_dir / "index/items.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [list(row.values())[2:] for row in rows] == [
        [make_attribution(photo.image_id, column) for column in ("author", "license", "url", "title")]
        for photo in TRAIN
    ]
    assert rows[1]["author"] == 'author of "0000000000000101", ä'
    found = Recognizer.load(model_dir).search([encode_png(TRAIN[1].pixels)], k=1)[0][0]
    assert (found.author, found.license, found.url) == tuple(rows[1][name] for name in ("author", "license", "url"))


@pytest.mark.parametrize("damage", ["order", "column", "row", "file"])
def test_refuses_a_table_of_photos_that_does_not_fit_the_shards(tmp_path: Path, damage: str) -> None:
    shards = tmp_path / "shards"
    manifest = write_tiny_shards(shards, PHOTOS)
    write_tiny_bundle(tmp_path / "bundle", shards_fingerprint=manifest.fingerprint)
    table = pd.read_parquet(shards / "photos.parquet")
    damaged = {"order": table[::-1], "column": table.drop(columns="author"), "row": table[1:], "file": table}[damage]
    damaged.to_parquet(shards / "photos.parquet", index=False)
    if damage == "file":
        (shards / "photos.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"(photos\.parquet|table of photos has) .*prepare"):
        index(shards, tmp_path, PARAMS)
    assert {path.name for path in tmp_path.iterdir()} == {"shards", "bundle"}


def test_threshold_is_calibrated_on_val_and_its_distractors(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, PARAMS)
    facts = read_json(model_dir / "index/index.json")
    scored = [score_slowly(photo) for photo in [*VAL, *DISTRACTORS]]
    reached = {
        score: (sum(right for other, right in scored if other >= score), sum(other >= score for other, _ in scored))
        for score, _ in scored
    }
    expected = min(score for score, (right, answered) in reached.items() if right / answered >= 0.75)
    assert facts["threshold"] == pytest.approx(expected, abs=1e-6)
    right, answered = reached[expected]
    assert facts["precision"] == right / answered
    assert facts["answered_fraction"] == answered / len(scored)
    assert facts["photos"] == len(TRAIN)


def test_the_recognizer_directory_is_complete(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, PARAMS)
    recognizer = Recognizer.load(model_dir)
    found = recognizer.search([encode_png(TRAIN[150].pixels)], k=1)[0][0]
    assert (found.image_id, found.landmark_id) == (TRAIN[150].image_id, LANDMARKS[TRAIN[150].label].landmark_id)
    grey, blue = recognizer.classify([encode_png(DISTRACTORS[0].pixels), encode_png(VAL[-1].pixels)])
    assert (grey.is_landmark, blue.is_landmark) == (False, True)


def test_same_input_gives_the_same_bytes(shards: Path, model_dir: Path) -> None:
    digests = [
        compute_tree_sha256(index(shards, model_dir, make_params(precision_target=0.9)))
        for _ in range(2)
    ]
    assert digests[0] == digests[1]


def test_another_target_gives_another_threshold(shards: Path, model_dir: Path) -> None:
    thresholds = []
    for target in (0.1, 0.8):
        index(shards, model_dir, make_params(precision_target=target))
        thresholds.append(Recognizer.load(model_dir).gallery.threshold)
    assert thresholds[0] < thresholds[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": SIZE * 2}, "px"),
        ({"fit": "stretch"}, "made for fit stretch, the shards have crop"),
        ({"shards_fingerprint": "0" * 64}, "made for shards_fingerprint 0000"),
    ],
)
def test_refuses_a_bundle_of_other_shards_and_writes_nothing(
    shards: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    facts = {"shards_fingerprint": read_json(shards / "shards.json")["fingerprint"]} | changes
    write_tiny_bundle(tmp_path / "bundle", **facts)
    with pytest.raises(ArtifactError, match=message):
        index(shards, tmp_path, make_params(precision_target=0.9))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_refuses_shards_with_another_number_of_labels(model_dir: Path, tmp_path: Path) -> None:
    more = (*LANDMARKS, Landmark(3, 50, "One More", 1, 0, 0))
    write_tiny_shards(tmp_path / "shards", PHOTOS, more)
    with pytest.raises(ArtifactError, match="made for labels 3, the shards have 4"):
        index(tmp_path / "shards", model_dir, make_params(precision_target=0.9))


def test_refuses_shards_without_val_photos(tmp_path: Path) -> None:
    manifest = write_tiny_shards(tmp_path / "shards", {Split.TRAIN: TRAIN})
    write_tiny_bundle(tmp_path / "bundle", shards_fingerprint=manifest.fingerprint)
    with pytest.raises(DataError, match="no val photos"):
        index(tmp_path / "shards", tmp_path, make_params(precision_target=0.9))


@pytest.mark.parametrize(
    ("probabilities", "embedding", "message"),
    [(np.nan, 1.0, "without NaN"), (1.0, np.nan, "unit length"), (1.0, 0.5, "256 of 256 rows")],
)
def test_refuses_a_network_with_unusable_answers_and_writes_nothing(
    shards: Path, tmp_path: Path, probabilities: float, embedding: float, message: str
) -> None:
    answers = build_network().output
    outputs = {
        "probabilities": keras.layers.Rescaling(probabilities)(answers["probabilities"]),
        "embedding": keras.layers.Rescaling(embedding)(answers["embedding"]),
    }
    facts: dict[str, str | int] = {"image_size": SIZE, "fit": "crop", "max_pixels": 10**6}
    fingerprint = read_json(shards / "shards.json")["fingerprint"]
    network = keras.Model(build_network().input, outputs)
    write_bundle(tmp_path / "bundle", network, LANDMARKS, facts | {"shards_fingerprint": fingerprint})
    with pytest.raises(ArtifactError, match=f"unusable answers: .*({message})"):
        index(shards, tmp_path, make_params(precision_target=0.9))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_damaged_shard_leaves_the_index_that_was_there(shards: Path, model_dir: Path, tmp_path: Path) -> None:
    index(shards, model_dir, make_params(precision_target=0.9))
    before = compute_tree_sha256(model_dir / "index")
    copy = tmp_path / "shards"
    copy.mkdir()
    for path in shards.iterdir():
        data = bytearray(path.read_bytes())
        if path.name.startswith("train-"):
            data[len(data) // 2] ^= 1
        (copy / path.name).write_bytes(data)
    with pytest.raises(LandmarksError, match="train-00000-of-00001"):
        index(copy, model_dir, make_params(precision_target=0.5))
    assert compute_tree_sha256(model_dir / "index") == before
    assert {path.name for path in model_dir.iterdir()} == {"bundle", "index", "shards"}
