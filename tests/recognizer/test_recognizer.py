"""The recognizer against the Keras model it was exported from, its limits, and everything that can be wrong with it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from landmarks.cli import main
from landmarks.errors import ArtifactError, ImageError, LandmarksError
from landmarks.files.parsing import read_json
from landmarks.files.writing import write_json
from landmarks.recognizer.format import read_bundle
from landmarks.recognizer.recognizer import Recognition, Recognizer
from reseal import change_sealed, digest_anew, write_anew
from tiny_recognizers import (
    BLUE,
    COLOURS,
    GALLERY,
    GREEN,
    GREY,
    LANDMARKS,
    RED,
    SCORER,
    SIZE,
    build_network,
    decode,
    encode_png,
    make_pixels,
    write_tiny_bundle,
    write_tiny_index,
    write_tiny_recognizer,
)

PHOTOS = [make_pixels(colour, seed) for seed, colour in enumerate([*COLOURS, GREY] * 20)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_recognizer(tmp_path_factory.mktemp("recognizer"))


@pytest.fixture(scope="module")
def recognizer(whole: Path) -> Recognizer:
    return Recognizer.load(whole)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "recognizer"))


def find_nearest_slowly(pixels: np.ndarray) -> float:
    gallery = np.asarray(build_network()(np.stack([photo.pixels for photo in GALLERY]))["embedding"])
    return float(max(np.asarray(build_network()(decode(pixels)[None])["embedding"])[0] @ row for row in gallery))


def test_answers_as_the_keras_model_it_was_exported_from(recognizer: Recognizer) -> None:
    expected = np.asarray(build_network()(np.stack([decode(pixels) for pixels in PHOTOS]))["probabilities"])
    answers = recognizer.classify([encode_png(pixels) for pixels in PHOTOS], k=3)
    assert len(answers) == len(PHOTOS)
    for answer, row, pixels in zip(answers, expected, PHOTOS, strict=True):
        order = sorted(range(3), key=lambda label: -row[label])
        assert [prediction.landmark_id for prediction in answer.predictions] == [
            LANDMARKS[label].landmark_id for label in order
        ]
        assert [prediction.name for prediction in answer.predictions] == [LANDMARKS[label].name for label in order]
        assert [prediction.score for prediction in answer.predictions] == pytest.approx(row[order], abs=1e-6)
        assert answer.is_landmark == (find_nearest_slowly(pixels) >= 0.9)
    assert {answer.is_landmark for answer in answers} == {True, False}


def test_the_answer_for_a_photo_does_not_depend_on_those_beside_it(recognizer: Recognizer) -> None:
    photos = [encode_png(pixels) for pixels in PHOTOS]
    assert recognizer.classify(photos) == [recognizer.classify([photo])[0] for photo in photos]
    assert recognizer.search(photos, k=4) == [recognizer.search([photo], k=4)[0] for photo in photos]


def test_threads_may_share_a_recognizer(recognizer: Recognizer) -> None:
    photos = [encode_png(pixels) for pixels in PHOTOS[:40]]
    expected = [recognizer.classify(photos[start::4]) for start in range(4)]
    found: dict[int, list[Recognition]] = {}

    def ask(start: int) -> None:
        for _ in range(5):
            found[start] = recognizer.classify(photos[start::4])

    threads = [Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[start] for start in range(4)] == expected


def test_finds_the_most_similar_photos_of_the_gallery(recognizer: Recognizer) -> None:
    embed = build_network()
    # as the index keeps it
    whole = np.asarray(embed(np.stack([photo.pixels for photo in GALLERY]))["embedding"])
    gallery = whole.astype(np.float16).astype(np.float32)
    for colour, names in zip(COLOURS, ("Red Tower", "Grüne Brücke", "Blue Dome"), strict=True):
        pixels = make_pixels(colour, 99)
        similarities = (gallery @ np.asarray(embed(decode(pixels)[None])["embedding"])[0]).clip(-1, 1)
        expected = sorted(range(len(GALLERY)), key=lambda row: -similarities[row])
        found = recognizer.search([encode_png(pixels)], k=3)[0]
        assert [neighbour.image_id for neighbour in found] == [GALLERY[row].image_id for row in expected[:3]]
        assert [neighbour.similarity for neighbour in found] == pytest.approx(similarities[expected[:3]], abs=1e-6)
        assert [neighbour.name for neighbour in found[:2]] == [names] * 2


def write_credits(path: Path) -> None:
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    lines = [f'{image_id},{label},"Müller, {n % 2}",CC0,https://x/{n},T' for n, (image_id, label) in enumerate(rows)]
    path.write_text("\n".join(["image_id,label,author,license,url,title", *lines, ""]), encoding="utf-8")


def test_similar_photos_come_with_their_credits(folder: Path) -> None:
    photo = encode_png(GALLERY[3].pixels)
    earlier = Recognizer.load(folder).search([photo], k=1)[0][0]
    assert (earlier.author, earlier.license, earlier.url) == ("", "", "")
    change_listed(folder / "index/items.csv", write_credits)
    found = Recognizer.load(folder).search([photo], k=1)[0][0]
    assert (found.image_id, found.author, found.license, found.url) == (
        GALLERY[3].image_id, "Müller, 1", "CC0", "https://x/3",
    )  # fmt: skip


def test_the_command_shows_the_credits(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode_png(GALLERY[3].pixels))
    arguments = ["search", str(tmp_path / "photo.png"), "-k", "1", "--model", str(folder)]
    assert len(CliRunner().invoke(main, arguments).output.splitlines()) == 1
    change_listed(folder / "index/items.csv", write_credits)
    lines = CliRunner().invoke(main, arguments).output.splitlines()
    assert lines[0].split() == ["1.000", GALLERY[3].image_id, "Grüne", "Brücke", "(11)"]
    assert lines[1].strip() == "Müller, 1, CC0, https://x/3"
    assert json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)["license"] == "CC0"


def test_k_is_cut_to_what_there_is(recognizer: Recognizer) -> None:
    photo = encode_png(make_pixels(RED, 0))
    assert {prediction.landmark_id for prediction in recognizer.classify([photo], k=1000)[0].predictions} == {7, 11, 40}
    assert {neighbour.image_id for neighbour in recognizer.search([photo], k=1000)[0]} == {
        photo.image_id for photo in GALLERY
    }


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_refused(recognizer: Recognizer, k: int) -> None:
    photo = encode_png(make_pixels(RED, 0))
    for ask in (recognizer.classify, recognizer.search):
        with pytest.raises(LandmarksError, match=f"k must be at least 1, received {k}"):
            ask([photo], k)


def test_no_photos_get_no_answers(recognizer: Recognizer) -> None:
    assert recognizer.classify([]) == []
    assert recognizer.search([]) == []
    assert recognizer.classify_pixels(np.empty((0, SIZE, SIZE, 3), np.uint8)) == []
    assert recognizer.search_pixels(np.empty((0, SIZE, SIZE, 3), np.uint8)) == []


def test_a_broken_photo_is_refused_and_the_next_one_answered(recognizer: Recognizer) -> None:
    good = encode_png(make_pixels(GREEN, 0))
    for ask in (recognizer.classify, recognizer.search):
        with pytest.raises(ImageError):
            ask([good, good[:50]])
    assert recognizer.classify([good])[0].predictions[0].landmark_id == 11


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, SIZE + 1, SIZE + 1, 3), np.uint8),
        np.zeros((2, SIZE, SIZE, 4), np.uint8),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((2, SIZE, SIZE, 3), np.float32),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(recognizer: Recognizer, pixels: Any) -> None:
    with pytest.raises(ValueError, match=rf"Expected uint8 \(n, {SIZE}, {SIZE}, 3\), received {pixels.dtype}"):
        recognizer.network.run(pixels)


def test_a_score_equal_to_the_threshold_shows_a_landmark(folder: Path, recognizer: Recognizer) -> None:
    photo = encode_png(make_pixels(BLUE, 5))
    score = recognizer.classify([photo])[0].landmark_score
    for threshold, is_landmark in ((score, True), (float(np.nextafter(score, 2)), False)):
        change_sealed(folder / "index/index.json", threshold=threshold)
        assert Recognizer.load(folder).classify([photo])[0].is_landmark is is_landmark


def test_an_answer_tells_its_evidence(recognizer: Recognizer) -> None:
    photo = encode_png(make_pixels(BLUE, 5))
    answer = recognizer.classify([photo])[0]
    assert answer.nearest == recognizer.search([photo], k=1)[0][0]
    nearest = recognizer.search([photo], k=10)[0]
    agreeing = [item for item in nearest if item.landmark_id == answer.predictions[0].landmark_id]
    assert answer.agreement == pytest.approx(len(agreeing) / len(nearest))
    assert answer.landmark_score == pytest.approx(1 / (1 + np.exp(18 - 20 * nearest[0].similarity)), rel=1e-4)
    assert answer.distractor_similarity == 0


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_listed(path: Path, change: Callable[[Path], None]) -> None:
    """Change a file of the index and record its new digest, as if it had been written so."""
    change(path)
    digest_anew(path.parent / "index.json")


def drop_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def name_unknown_label(path: Path) -> None:
    path.write_text(path.read_text().replace(",2\n", ",3\n"))


def name_other_columns(path: Path) -> None:
    path.write_text(path.read_text().replace("image_id,label", "id,landmark"))


def narrow(path: Path) -> None:
    rows = np.load(path)[:, :2]
    np.save(path, rows / np.linalg.norm(rows, axis=1, keepdims=True))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no bundle": (lambda folder: shutil.rmtree(folder / "bundle"), "bundle.json is missing"),
    "no index": (lambda folder: shutil.rmtree(folder / "index"), "index.json is missing"),
    "no network": (lambda folder: (folder / "bundle/serving.tflite").unlink(), "serving.tflite is missing"),
    "no vocabulary": (lambda folder: (folder / "bundle/vocabulary.csv").unlink(), "vocabulary.csv is missing"),
    "no items": (lambda folder: (folder / "index/items.csv").unlink(), "items.csv is missing"),
    "no embeddings": (lambda folder: (folder / "index/embeddings.npy").unlink(), "embeddings.npy is missing"),
    "changed network": (lambda folder: flip_byte(folder / "bundle/serving.tflite"), "serving.tflite is damaged"),
    "changed vocabulary": (lambda folder: flip_byte(folder / "bundle/vocabulary.csv"), "vocabulary.csv is damaged"),
    "changed items": (lambda folder: flip_byte(folder / "index/items.csv"), "items.csv is damaged"),
    "changed embeddings": (lambda folder: flip_byte(folder / "index/embeddings.npy"), "embeddings.npy is damaged"),
    "garbled bundle": (lambda folder: drop_line(folder / "bundle/bundle.json"), "bundle.json is not valid JSON"),
    "list for a bundle": (lambda folder: write_json(folder / "bundle/bundle.json", []), "no fingerprint"),
    "altered bundle": (
        lambda folder: write_json(
            folder / "bundle/bundle.json", read_json(folder / "bundle/bundle.json") | {"variant": "augmented"}
        ),
        "bundle.json was altered",
    ),
    "altered index": (
        lambda folder: write_json(
            folder / "index/index.json", read_json(folder / "index/index.json") | {"threshold": 0.9}
        ),
        "index.json was altered",
    ),
    "index of the previous format": (
        lambda folder: write_json(folder / "index/index.json", read_json(folder / "index/index.json") | {"format": 4}),
        "index.json was altered",
    ),
    "other bundle format": (
        lambda folder: change_sealed(folder / "bundle/bundle.json", format=1),
        "format 1, this version of landmarks reads 3",
    ),
    "other index format": (lambda folder: change_sealed(folder / "index/index.json", format=0), "format 0"),
    "other image size": (
        lambda folder: change_sealed(
            folder / "bundle/bundle.json", image_format={"image_size": 32, "fit": "crop", "max_pixels": 1}
        ),
        "not 32 px",
    ),
    "image size as text": (
        lambda folder: change_sealed(
            folder / "bundle/bundle.json", image_format={"image_size": "16", "fit": "crop", "max_pixels": 1}
        ),
        "image_format.image_size: Input should be a valid integer",
    ),
    "unknown key": (lambda folder: change_sealed(folder / "index/index.json", treshold=0.5), "treshold: Extra inputs"),
    "other bundle": (
        lambda folder: change_sealed(folder / "index/index.json", bundle_fingerprint="f" * 64),
        "made with another bundle",
    ),
    "no threshold": (
        lambda folder: write_anew(folder / "index/index.json", {"format": 6, "photos": 6}),
        "lacks bundle_fingerprint, scorer, threshold",
    ),
    "no weights": (
        lambda folder: change_sealed(folder / "index/index.json", scorer={"bias": 1}),
        "scorer.landmark: Field required",
    ),
    "three weights": (
        lambda folder: change_sealed(
            folder / "index/index.json", scorer=SCORER | {"answer": {"bias": 1, "weights": [1, 2, 3]}}
        ),
        "expected 6 weights",
    ),
    "probe of another network": (
        lambda folder: change_sealed(folder / "index/index.json", scorer=SCORER | {"probe": SCORER["answer"]}),
        "expected 3 weights",
    ),
    "photo without embedding": (
        lambda folder: change_listed(folder / "index/items.csv", drop_line),
        "6 embeddings and 5 photos, expected 6",
    ),
    "other columns": (
        lambda folder: change_listed(folder / "index/items.csv", name_other_columns),
        "not a table of image_id,label",
    ),
    "unknown label": (lambda folder: change_listed(folder / "index/items.csv", name_unknown_label), "does not fit"),
    "narrow embeddings": (lambda folder: change_listed(folder / "index/embeddings.npy", narrow), "does not fit"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_refuses_what_is_missing_damaged_or_of_another_version(folder: Path, damage: str) -> None:
    harm, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(ArtifactError, match=message):
        Recognizer.load(folder)


def test_reads_a_bundle_of_the_previous_format(whole: Path, folder: Path) -> None:
    path = folder / "bundle/bundle.json"
    facts = json.loads(path.read_text())
    image_format = facts.pop("image_format")
    write_anew(path, facts | image_format | {"format": 2})
    read, expected = (read_bundle(one / "bundle").model_dump(exclude={"fingerprint"}) for one in (folder, whole))
    assert read == expected


@pytest.mark.parametrize("version", [4, 5])
def test_reads_an_index_of_the_two_previous_formats(whole: Path, folder: Path, version: int) -> None:
    path = folder / "index/index.json"
    facts = read_json(path)
    for name in ("landmark", "answer"):
        assert facts["scorer"][name]["weights"].pop() == 0
    if version == 4:
        del facts["fingerprint"]
        write_json(path, facts | {"format": version})
    else:
        write_anew(path, facts | {"format": version})
    photo = encode_png(make_pixels(BLUE, 0))
    assert Recognizer.load(folder).classify([photo]) == Recognizer.load(whole).classify([photo])


def test_refuses_a_network_that_litert_cannot_read(folder: Path) -> None:
    path = folder / "bundle/serving.tflite"
    path.write_bytes(b"not a network")
    digest_anew(folder / "bundle/bundle.json")
    with pytest.raises(ArtifactError, match="not a network this version can run"):
        Recognizer.load(folder)


def test_refuses_a_vocabulary_of_another_length(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle", LANDMARKS[:2])
    write_tiny_index(tmp_path / "index", read_json(bundle / "bundle.json")["fingerprint"], GALLERY, 0.5)
    with pytest.raises(ArtifactError, match="names 2 landmarks, its network 3"):
        Recognizer.load(tmp_path)


def test_answers_in_a_process_without_the_training_libraries(whole: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_png(make_pixels(BLUE, 0)))
    code = """
import json, sys
from pathlib import Path
from landmarks import Recognizer
recognizer, photo = Recognizer.load(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes()
heavy = {"tensorflow", "keras", "pandas", "pyarrow", "matplotlib", "mlflow", "google.protobuf"} & set(sys.modules)
print(json.dumps([recognizer.classify([photo])[0].predictions[0].name, recognizer.search([photo])[0][0].name,
                  sorted(heavy)]))
"""
    command = [sys.executable, "-c", code, str(whole), str(photo)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert json.loads(answer) == ["Blue Dome", "Blue Dome", []]
