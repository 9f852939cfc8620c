"""The index stage on tiny shards: what it writes, that it is repeatable, and what it refuses."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from scipy.optimize import minimize

from landmarks.errors import ArtifactError, DataError, LandmarksError
from landmarks.export.calibration import choose_operating_point, fit_probe
from landmarks.export.indexing import build_index as index
from landmarks.files.digests import compute_tree_sha256
from landmarks.files.parsing import read_json
from landmarks.params import IndexParams
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.vocabulary import Landmark
from reseal import digest_anew
from tiny_recognizers import (
    BLUE,
    COLOURS,
    FORMAT,
    GREEN,
    GREY,
    LANDMARKS,
    RED,
    SIZE,
    Photo,
    build_network,
    embed,
    make_attribution,
    make_photos,
    write_bundle,
    write_tiny_bundle,
    write_tiny_shards,
)

pytestmark = pytest.mark.slow

Features = npt.NDArray[np.float64]

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
KNOWN = make_photos(0x2100, -1, [GREY, (120, 130, 120), (90, 90, 100)])
PHOTOS = {
    Split.TRAIN: TRAIN, Split.VAL: VAL, Split.DISTRACTORS_TRAIN: KNOWN, Split.DISTRACTORS_VAL: DISTRACTORS,
}  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "shards"
    write_tiny_shards(folder, PHOTOS)
    return folder


@pytest.fixture
def model_dir(shards: Path, tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle", shards_fingerprint=read_json(shards / "shards.json")["fingerprint"])
    return tmp_path


def make_params(**changes: Any) -> IndexParams:
    values = {"precision_target": 0.75, "distractor_penalty": True, "pca_dimensions": None, "thumbnails": True}
    return IndexParams.model_validate(values | changes)


PARAMS = make_params()


def embed_slowly(photo: Photo) -> Features:
    embedding: Features = np.asarray(build_network()(photo.pixels[None])["embedding"], np.float64)[0]
    return embedding


def halve(row: Features) -> Features:
    """As galleries are kept."""
    return row.astype(np.float16).astype(np.float64)


@cache
def embed_gallery_slowly() -> list[tuple[Features, int]]:
    return [(halve(row), photo.label) for row, photo in zip(embed(TRAIN), TRAIN, strict=True)]


def describe_slowly(photo: Photo, known: Sequence[Photo]) -> tuple[list[float], bool]:
    """The evidence but for the probe, distractors being known, and whether the answer is right."""
    probabilities = np.asarray(build_network()(photo.pixels[None])["probabilities"], np.float64)[0]
    own, best = embed_slowly(photo), int(probabilities.argmax())
    nearest = sorted(((float(own @ row), label) for row, label in embed_gallery_slowly()), reverse=True)[:10]
    others = sorted((min(float(own @ halve(embed_slowly(other))), 1.0) for other in known), reverse=True)[:10]
    evidence = [
        math.log(probabilities[best] / (1 - probabilities[best])),
        min(nearest[0][0], 1.0),
        sum(label == best for _, label in nearest) / len(nearest),
        sum(others) / len(others) if others else 0.0,
    ]
    return evidence, best == photo.label


NONE = math.log(1e-5 / (1 - 1e-5))  # of a network without such a class


def describe_all_slowly(has_penalty: bool) -> tuple[Features, npt.NDArray[np.bool_]]:
    described = [describe_slowly(photo, KNOWN if has_penalty else []) for photo in [*VAL, *DISTRACTORS]]
    probe = np.zeros(len(described))
    if has_penalty:
        fitted, held_out = fit_probe(embed(VAL), embed(KNOWN))
        probe = np.concatenate([held_out, fitted.score(embed(DISTRACTORS))])
    evidence = np.array([evidence for evidence, _ in described])
    features = np.column_stack([evidence, probe, np.full(len(described), NONE)])
    return features, np.array([right for _, right in described])


def fit_slowly(features: Features, correct: npt.NDArray[np.bool_], counts: Features) -> Features:
    """Weights and bias, by an optimizer that knows nothing of the problem."""
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread < 1e-12, 1, spread)

    def measure(solution: Features) -> float:
        log_odds = scaled @ solution[:-1] + solution[-1]
        losses = np.where(correct, np.logaddexp(0, -log_odds), np.logaddexp(0, log_odds))
        return float(losses @ counts / counts.sum() + 0.01 / 2 * (solution[:-1] ** 2).sum())

    found = minimize(measure, np.zeros(features.shape[1] + 1), method="BFGS", options={"gtol": 1e-8}).x
    weights = found[:-1] / np.where(spread < 1e-12, 1, spread)
    return np.array([*weights, found[-1] - weights @ features.mean(axis=0)])


def test_gallery_holds_every_training_photo_in_order(shards: Path, model_dir: Path) -> None:
    assert index(shards, model_dir, PARAMS) == model_dir / "index"
    with (model_dir / "index/items.csv").open(newline="") as stream:
        items = [(row["image_id"], int(row["label"])) for row in csv.DictReader(stream)]
    assert items == [(photo.image_id, photo.label) for photo in TRAIN]
    expected = np.asarray(build_network()(np.stack([photo.pixels for photo in TRAIN]))["embedding"])
    embeddings = np.load(model_dir / "index/embeddings.npy", allow_pickle=False)
    assert embeddings.dtype == np.float16
    np.testing.assert_allclose(embeddings, expected, atol=5e-4)


def test_photos_are_compared_along_fewer_directions_where_that_is_wished(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, make_params(pca_dimensions=2))
    kept = np.load(model_dir / "index/embeddings.npy", allow_pickle=False)
    assert (kept.dtype, kept.shape) == (np.float16, (len(TRAIN), 2))
    assert "projection.npy" in read_json(model_dir / "index/index.json")["files"]
    assert not (model_dir / "index/projected.npy").exists()
    directions = np.linalg.svd(embed(TRAIN).astype(np.float64))[2][:2].T

    def project(photos: Sequence[Photo]) -> Features:
        rows = embed(photos).astype(np.float64) @ directions
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    expected = project(VAL) @ project(TRAIN).T
    recognizer = Recognizer.load(model_dir)
    pixels = np.stack([photo.pixels for photo in VAL])
    for row, found in enumerate(recognizer.search_pixels(pixels, k=5)):
        assert [neighbour.similarity for neighbour in found] == pytest.approx(np.sort(expected[row])[:-6:-1], abs=2e-3)
    known = np.sort(project(VAL) @ project(KNOWN).T, axis=1).mean(axis=1)
    answers = recognizer.classify_pixels(pixels)
    assert [answer.distractor_similarity for answer in answers] == pytest.approx(known, abs=4e-3)
    assert len(read_json(model_dir / "index/index.json")["scorer"]["probe"]["weights"]) == 3


@pytest.mark.parametrize("damage", ["missing", "damaged", "other"])
def test_damaged_directions(shards: Path, model_dir: Path, damage: str) -> None:
    folder = index(shards, model_dir, make_params(pca_dimensions=2))
    path = folder / "projection.npy"
    if damage == "missing":
        path.unlink()
    else:
        np.save(path, np.eye(5, 2, dtype=np.float32))
    if damage == "other":
        digest_anew(folder / "index.json")
    message = {"missing": "is missing", "damaged": "is damaged", "other": "does not fit its network"}[damage]
    with pytest.raises(ArtifactError, match=rf"projection\.npy {message}"):
        Recognizer.load(model_dir)


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
    index(shards, model_dir, make_params(thumbnails=False, distractor_penalty=False))
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
    found = Recognizer.load(model_dir).search_pixels(np.stack([TRAIN[1].pixels]), k=1)[0][0]
    [row] = [row for row in rows if row["image_id"] == found.image_id]
    assert (found.author, found.license, found.url) == tuple(row[name] for name in ("author", "license", "url"))


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
    assert {path.name for path in tmp_path.iterdir()} == {"shards", "network", "bundle"}


@pytest.mark.parametrize("has_penalty", [True, False])
def test_score_and_threshold_are_found_on_val_and_its_distractors(
    shards: Path, model_dir: Path, has_penalty: bool
) -> None:
    index(shards, model_dir, make_params(distractor_penalty=has_penalty))
    facts = read_json(model_dir / "index/index.json")
    features, correct = describe_all_slowly(has_penalty)
    is_landmark = np.arange(len(correct)) < len(VAL)
    # three distractors stand for six
    counts = np.where(is_landmark, 1.0, len(VAL) / len(DISTRACTORS))
    for name, target in (("landmark", is_landmark), ("answer", correct)):
        scorer = np.array([*facts["scorer"][name]["weights"], facts["scorer"][name]["bias"]])
        slow = 1 / (1 + np.exp(-(features @ scorer[:-1] + scorer[-1])))
        fitted = fit_slowly(features, target, counts)
        assert slow == pytest.approx(1 / (1 + np.exp(-(features @ fitted[:-1] + fitted[-1]))), abs=1e-3)
        assert (facts["scorer"][name]["weights"][3] == 0) == (not has_penalty)
        assert (facts["scorer"][name]["weights"][4] == 0) == (not has_penalty)
    assert (facts["scorer"]["probe"] is None) == (not has_penalty)
    scorer = np.array([*facts["scorer"]["landmark"]["weights"], facts["scorer"]["landmark"]["bias"]])
    slow = 1 / (1 + np.exp(-(features @ scorer[:-1] + scorer[-1])))
    groups = [*(photo.image_id for photo in VAL), *(photo.category for photo in DISTRACTORS)]
    expected = choose_operating_point(slow, is_landmark, 0.75, counts, groups)
    assert facts["threshold"] == pytest.approx(expected.threshold, abs=1e-4)
    assert facts["precision"] == pytest.approx(expected.precision)
    assert facts["answered_fraction"] == pytest.approx(expected.answered_fraction)
    pairs = [(one, other) for one in slow[is_landmark] for other in slow[~is_landmark]]
    wins = sum(1.0 if one > other else 0.5 * math.isclose(one, other, abs_tol=1e-7) for one, other in pairs)
    assert facts["auroc"] == pytest.approx(wins / len(pairs), abs=1e-9)
    assert facts["photos"] == len(TRAIN)


def test_the_recognizer_scores_val_as_the_evidence_says(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, PARAMS)
    facts, recognizer = read_json(model_dir / "index/index.json"), Recognizer.load(model_dir)
    scorer = facts["scorer"]
    for photo, answer in zip(VAL, recognizer.classify_pixels(np.stack([photo.pixels for photo in VAL])), strict=True):
        evidence, _ = describe_slowly(photo, KNOWN)
        probe = float(embed_slowly(photo) @ np.array(scorer["probe"]["weights"])) + scorer["probe"]["bias"]
        evidence += [probe, NONE]
        for name, received in (("landmark", answer.landmark_score), ("answer", answer.confidence)):
            log_odds = float(np.array(scorer[name]["weights"]) @ evidence) + scorer[name]["bias"]
            assert received == pytest.approx(1 / (1 + math.exp(-log_odds)), abs=1e-4)
        assert answer.is_landmark == (answer.landmark_score >= facts["threshold"])


def test_known_distractors_are_kept_for_the_score(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, PARAMS)
    np.testing.assert_allclose(np.load(model_dir / "index/distractors.npy"), embed(KNOWN), atol=5e-4)
    assert "distractors.npy" in read_json(model_dir / "index/index.json")["files"]
    [grey] = Recognizer.load(model_dir).classify_pixels(np.stack([make_photos(0x3000, -1, [GREY])[0].pixels]))
    assert grey.distractor_similarity > 0.9


def test_without_distractors_in_train_there_is_no_penalty(tmp_path: Path) -> None:
    manifest = write_tiny_shards(tmp_path / "shards", PHOTOS | {Split.DISTRACTORS_TRAIN: []})
    write_tiny_bundle(tmp_path / "bundle", shards_fingerprint=manifest.fingerprint)
    index(tmp_path / "shards", tmp_path, PARAMS)
    assert not (tmp_path / "index/distractors.npy").exists()
    scorer = read_json(tmp_path / "index/index.json")["scorer"]
    assert scorer["landmark"]["weights"][3:] == scorer["answer"]["weights"][3:] == [0, 0, 0]
    assert scorer["probe"] is None
    answers = Recognizer.load(tmp_path).classify_pixels(np.stack([photo.pixels for photo in DISTRACTORS]))
    assert {answer.distractor_similarity for answer in answers} == {0}


def test_a_table_without_categories_is_refused(tmp_path: Path) -> None:
    manifest = write_tiny_shards(tmp_path / "shards", PHOTOS)
    write_tiny_bundle(tmp_path / "bundle", shards_fingerprint=manifest.fingerprint)
    table = tmp_path / "shards/photos.parquet"
    pd.read_parquet(table).drop(columns="category").to_parquet(table, index=False)
    with pytest.raises(ArtifactError, match=r"photos\.parquet has no category of the photos .*prepare"):
        index(tmp_path / "shards", tmp_path, PARAMS)
    assert not (tmp_path / "index").exists()


def test_where_every_answer_is_right_the_classifier_decides(tmp_path: Path) -> None:
    right = [photo for photo in VAL if COLOURS[photo.label] == photo.colour]
    manifest = write_tiny_shards(tmp_path / "shards", {Split.TRAIN: TRAIN, Split.VAL: right})
    write_tiny_bundle(tmp_path / "bundle", shards_fingerprint=manifest.fingerprint)
    index(tmp_path / "shards", tmp_path, PARAMS)
    model = {"weights": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], "bias": 0.0}
    expected = {"landmark": model, "answer": model, "probe": None}
    assert read_json(tmp_path / "index/index.json")["scorer"] == expected
    [answer] = Recognizer.load(tmp_path).classify_pixels(np.stack([right[0].pixels]))
    assert answer.landmark_score == pytest.approx(answer.predictions[0].score, abs=1e-6)


def test_the_recognizer_directory_is_complete(shards: Path, model_dir: Path) -> None:
    index(shards, model_dir, make_params(precision_target=0.6))
    recognizer = Recognizer.load(model_dir)
    found = recognizer.search_pixels(np.stack([TRAIN[150].pixels]), k=1)[0][0]
    assert (found.image_id, found.landmark_id) == (TRAIN[150].image_id, LANDMARKS[TRAIN[150].label].landmark_id)
    grey, blue = recognizer.classify_pixels(np.stack([DISTRACTORS[0].pixels, VAL[-1].pixels]))
    assert (grey.is_landmark, blue.is_landmark) == (False, True)


def test_same_input_gives_the_same_bytes(shards: Path, model_dir: Path) -> None:
    params = make_params(precision_target=0.9, pca_dimensions=2)
    digests = [compute_tree_sha256(index(shards, model_dir, params)) for _ in range(2)]
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
        ({"image_format": replace(FORMAT, image_size=SIZE * 2)}, "px"),
        ({"image_format": replace(FORMAT, fit="stretch")}, "made for fit stretch, the shards have crop"),
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
    assert {path.name for path in tmp_path.iterdir()} == {"network", "bundle"}


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
    [
        (np.nan, 1.0, "probabilities must be finite, received NaN"),
        (1.0, np.nan, "unit length"),
        (1.0, 0.5, "256 of 256 rows"),
    ],
)
def test_refuses_a_network_with_unusable_answers_and_writes_nothing(
    shards: Path, tmp_path: Path, probabilities: float, embedding: float, message: str
) -> None:
    answers = build_network().output
    outputs = {
        "probabilities": keras.layers.Rescaling(probabilities)(answers["probabilities"]),
        "embedding": keras.layers.Rescaling(embedding)(answers["embedding"]),
    }
    fingerprint = read_json(shards / "shards.json")["fingerprint"]
    network = keras.Model(build_network().input, outputs)
    write_bundle(tmp_path / "bundle", network, LANDMARKS, shards_fingerprint=fingerprint)
    with pytest.raises(ArtifactError, match=f"unusable answers: .*({message})"):
        index(shards, tmp_path, make_params(precision_target=0.9))
    assert {path.name for path in tmp_path.iterdir()} == {"network", "bundle"}


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
    assert {path.name for path in model_dir.iterdir()} == {"network", "bundle", "index", "shards"}
