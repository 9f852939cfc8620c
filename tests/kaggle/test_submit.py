"""`landmarks submit`: every photo of a folder gets a row, readable or not."""

import csv
import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

from landmarks.cli import main
from landmarks.errors import DataError
from landmarks.files.parsing import read_json
from landmarks.kaggle.submit import submit_recognition, submit_retrieval
from landmarks.photos.walk import MAX_PHOTO_BYTES
from landmarks.recognizer.recognizer import Recognizer
from tiny_recognizers import (
    COLOURS,
    GREY,
    LANDMARKS,
    SIZE,
    encode_png,
    make_photos,
    make_pixels,
    write_bundle,
    write_tiny_bundle,
    write_tiny_index,
)

GALLERY = [photo for label, colour in enumerate(COLOURS) for photo in make_photos(label * 64, label, [colour] * 40)]
TEST = {f"{number:x}{number:015x}": [*COLOURS, GREY][number % 4] for number in range(150)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submission") / "model"
    bundle = write_tiny_bundle(folder / "bundle")
    write_tiny_index(folder / "index", read_json(bundle / "bundle.json")["fingerprint"], GALLERY, threshold=0.5)
    return folder


@pytest.fixture(scope="module")
def recognizer(model: Path) -> Recognizer:
    return Recognizer.load(model)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write photos, most in Kaggle's layout, some in the root, and two files that are not photos."""
    folder = tmp_path_factory.mktemp("test")
    for number, (image_id, colour) in enumerate(TEST.items()):
        path = folder / ("/".join(image_id[:3]) if number % 3 else "") / f"{image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(make_pixels(colour, number)))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (folder / "empty.png").touch()
    return folder


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def read_cells(path: Path) -> dict[str, str]:
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] in (["id", "landmarks"], ["id", "images"])
    assert len(rows) == 1 + len(dict(rows[1:]))
    return dict(rows[1:])


def test_every_photo_gets_the_prediction_of_the_recognizer(
    recognizer: Recognizer, photos: Path, tmp_path: Path
) -> None:
    unanswered = submit_recognition(recognizer, list_files(photos), tmp_path / "out.csv")
    cells = read_cells(tmp_path / "out.csv")
    assert list(cells) == sorted([*TEST, "broken", "empty"])
    for path in list_files(photos):
        if path.stem in TEST:
            [answer] = recognizer.classify([path.read_bytes()], 1)
            landmark_id, score = cells[path.stem].split(" ")
            assert int(landmark_id) == answer.predictions[0].landmark_id
            assert float(score) == answer.confidence
    assert (cells["broken"], cells["empty"]) == ("", "")
    assert {photo.path.name for photo in unanswered} == {"broken.jpg", "empty.png"}
    assert "0 bytes" in next(photo.reason for photo in unanswered if photo.path.name == "empty.png")


def test_cells_below_the_threshold_are_empty(recognizer: Recognizer, photos: Path, tmp_path: Path) -> None:
    files = list_files(photos)
    submit_recognition(recognizer, files, tmp_path / "all.csv")
    cells = read_cells(tmp_path / "all.csv")
    scores = sorted(float(cell.split(" ")[1]) for cell in cells.values() if cell)
    threshold = scores[len(scores) // 2]
    submit_recognition(recognizer, files, tmp_path / "some.csv", threshold)
    some = read_cells(tmp_path / "some.csv")
    assert list(some) == list(cells)
    assert some == {
        image_id: cell if cell and float(cell.split(" ")[1]) >= threshold else "" for image_id, cell in cells.items()
    }


def test_retrieval_lists_the_hundred_most_similar_photos(recognizer: Recognizer, photos: Path, tmp_path: Path) -> None:
    unanswered = submit_retrieval(recognizer, list_files(photos), tmp_path / "out.csv")
    cells = read_cells(tmp_path / "out.csv")
    assert list(cells) == sorted([*TEST, "broken", "empty"])
    for path in list_files(photos)[::10]:
        if path.stem in TEST:
            expected = [neighbour.image_id for neighbour in recognizer.search([path.read_bytes()], 100)[0]]
            assert len(expected) == 100
            assert cells[path.stem].split(" ") == expected
    assert cells["broken"] == ""
    assert len(unanswered) == 2


def test_a_photo_with_a_zero_embedding_has_an_empty_cell(tmp_path: Path) -> None:
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    embedding = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255 / 3**0.5)(inputs))  # white is of unit length
    network = keras.Model(inputs, {"probabilities": layers.Softmax()(embedding), "embedding": embedding})
    bundle = write_bundle(tmp_path / "model/bundle", network, LANDMARKS)
    write_tiny_index(tmp_path / "model/index", read_json(bundle / "bundle.json")["fingerprint"], GALLERY, threshold=0.5)
    for name, level in (("black", 0), ("white", 255)):
        (tmp_path / f"{name}.png").write_bytes(encode_png(np.full((SIZE, SIZE, 3), level, np.uint8)))
    [black] = submit_retrieval(Recognizer.load(tmp_path / "model"), list(tmp_path.glob("*.png")), tmp_path / "out.csv")
    assert (black.path.name, black.reason.split(",")[0]) == ("black.png", "The network finds nothing in this photo")
    cells = read_cells(tmp_path / "out.csv")
    assert cells["black"] == ""
    assert len(cells["white"].split(" ")) == 100


def test_photos_with_the_same_id_are_refused_before_anything_is_written(
    recognizer: Recognizer, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"broken\.jpg and .*broken\.png have the same id, 'broken'"):
        submit_recognition(recognizer, [photos / "broken.jpg", photos / "broken.png"], tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_utf_8_is_refused_before_anything_is_written(recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'caf\\udce9\.jpg' is not UTF-8.*rename the file"):
        submit_recognition(recognizer, [Path(os.fsdecode(b"caf\xe9.jpg"))], tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


def test_the_score_command_reads_what_the_submit_command_writes(model: Path, photos: Path, tmp_path: Path) -> None:
    out, solution = tmp_path / "out.csv", tmp_path / "solution.csv"
    done = CliRunner().invoke(main, ["submit", str(photos), str(out), "--model", str(model)])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"Wrote {out}: 152 photos, 2 of them unreadable with an empty cell.\n"
    assert "broken.jpg: The photo is damaged" in done.stderr
    truth = {7: COLOURS[0], 11: COLOURS[1], 40: COLOURS[2]}
    rows = [
        f"{image_id},{' '.join(str(landmark) for landmark in truth if truth[landmark] == colour)},Private"
        for image_id, colour in TEST.items()
    ]
    solution.write_text("\n".join(["id,landmarks,Usage", *rows, "broken,7,Public", "empty,,Ignored"]) + "\n")
    scored = CliRunner().invoke(main, ["score", str(out), str(solution)])
    assert scored.exit_code == 0, scored.output
    top1 = next(line for line in scored.output.splitlines() if line.startswith("top-1"))
    assert top1.split() == ["top-1", "0.000000", "1.000000", f"{113 / 114:.6f}"]


def test_a_library_has_one_row_for_each_photo_and_for_nothing_else(model: Path, tmp_path: Path) -> None:
    library, photo = tmp_path / "library", encode_png(make_pixels(GREY, 0))
    names = ("IMG_1.jpg", "a/IMG_2.JFIF", "a/0f1e2d3c4b5a6978", "b/large.jpg")
    for name in (*names, "@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_SM.jpg", "a/@eaDir/IMG_2.JFIF/SYNOPHOTO_THUMB_SM.jpg"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_bytes(photo)
    for name in ("._IMG_1.jpg", "a/notes.txt"):
        (library / name).write_bytes(b"\0\5\26\7")
    os.mkfifo(library / "a/pipe.jpg")
    (library / "a/circle").symlink_to("..")
    os.truncate(library / "b/large.jpg", MAX_PHOTO_BYTES + 1)
    done = CliRunner().invoke(main, ["submit", str(library), str(tmp_path / "out.csv"), "--model", str(model)])
    assert done.exit_code == 0, done.output
    cells = read_cells(tmp_path / "out.csv")
    assert list(cells) == ["0f1e2d3c4b5a6978", "IMG_1", "IMG_2", "large"]
    assert cells["large"] == ""
    left_out, large = done.stderr.splitlines()
    assert left_out.startswith("Left out: 3 hidden or of the system (")
    assert left_out.endswith(f"; 1 not a photo ({library}/a/notes.txt); 1 not a regular file ({library}/a/pipe.jpg).")
    assert large.startswith(f"{library}/b/large.jpg: The file has {MAX_PHOTO_BYTES + 1} bytes or more")
    answered = CliRunner().invoke(main, ["classify", "--json", str(library), "--model", str(model)])
    assert [json.loads(line)["path"] for line in answered.stdout.splitlines()] == sorted(
        str(library / n) for n in names
    )
    assert answered.stderr.splitlines()[0] == left_out
    assert answered.exit_code == 1


def test_a_folder_without_photos_says_what_it_has(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    done = CliRunner().invoke(main, ["classify", str(tmp_path), "--model", str(model)])
    assert done.exit_code == 1
    assert done.stderr == (
        f"Error: There is no photo below {tmp_path}. Left out: 1 not a photo ({tmp_path}/notes.txt).\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing", "out.csv"], 2, "'missing' does not exist"),
        ([".", "out.csv", "--model", "none"], 1, "There is no photo below"),
        (["PHOTOS", "out.csv", "--model", "none"], 1, "bundle.json is missing"),
        (["PHOTOS", "."], 2, "is a directory"),
        (["PHOTOS", "out.csv", "--retrieval", "--threshold", "0.5"], 2, "cannot be used with --retrieval"),
    ],
)
def test_invalid_arguments_are_refused_and_nothing_is_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["submit", *(argument.replace("PHOTOS", str(photos)) for argument in arguments)])
    assert done.exit_code == code
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
