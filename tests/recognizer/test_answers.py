"""The answers for many photos: `landmarks classify`, and `Recognizer.classify` with photos of every kind."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from landmarks.cli import main
from landmarks.recognizer.recognizer import Photo, Recognizer
from tiny_recognizers import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LANDMARKS,
    RED,
    encode_png,
    make_pixels,
    write_tiny_recognizer,
)

NAMES = {colour: landmark.name for colour, landmark in zip(COLOURS, LANDMARKS, strict=True)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_recognizer(tmp_path_factory.mktemp("recognizer"))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Forty photos of each of three landmarks, which is several batches, ten of none, and one that is damaged."""
    folder = tmp_path / "album"
    folder.mkdir()
    for colour in (RED, GREEN, BLUE):
        for number in range(40):
            (folder / f"{NAMES[colour]} {number:02d}.png").write_bytes(encode_png(make_pixels(colour, number)))
    for number in range(10):
        (folder / f"grey {number}.png").write_bytes(encode_png(make_pixels(GREY, number)))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def classify(*arguments: object, **options: object) -> Result:
    return CliRunner().invoke(main, ["classify", *map(str, arguments)], **options)  # type: ignore[arg-type]


def test_a_line_per_photo_has_its_name_and_confidence(model: Path, album: Path) -> None:
    done = classify(album, "--model", model)
    assert done.exit_code == 1, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 130
    recognizer = Recognizer.load(model)
    for line in lines:
        path, _, answer = line.partition(": ")
        [expected] = recognizer.classify([path])
        if Path(path).name.startswith("grey"):
            assert answer == "no landmark"
        else:
            assert answer == f"{Path(path).name.rpartition(' ')[0]} ({expected.confidence:.0%})"
    first, *summary = done.stderr.splitlines()
    assert first.startswith(f"{album}/broken.jpg: The photo is damaged")
    assert summary[0] == "131 photos: 120 of 3 landmarks, 10 of no landmark, 1 unreadable"
    assert sorted(summary[1:]) == sorted(f"      40  {NAMES[colour]}" for colour in (RED, GREEN, BLUE))


def test_more_landmarks_and_the_evidence_on_request(model: Path, album: Path) -> None:
    photo = album / f"{NAMES[RED]} 00.png"
    assert len(classify(photo, "-k", 3, "--model", model).stdout.splitlines()) == 3
    text = classify(photo, "-v", "--model", model).stdout
    assert "landmark score" in text
    assert "above the threshold of 0.50" in text
    assert "nearest photo" in text


def test_csv_has_a_row_for_every_photo(model: Path, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out/answers.csv"
    out.parent.mkdir()
    done = classify(album, "--csv", "--output", out, "--model", model)
    assert done.exit_code == 1
    assert done.stdout == ""
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert len(rows) == 131
    broken = next(row for row in rows if row["path"].endswith("broken.jpg"))
    assert broken["error"].startswith("The photo is damaged")
    assert {row["answer"] for row in rows} == {*(NAMES[colour] for colour in (RED, GREEN, BLUE)), "no landmark", ""}
    assert f"Wrote {out}" in done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["answers.csv"]


def test_json_has_an_object_for_every_photo_with_five_landmarks(model: Path, album: Path) -> None:
    rows = [json.loads(line) for line in classify(album, "--json", "--model", model).stdout.splitlines()]
    assert [row["path"] for row in rows] == sorted(str(path) for path in album.iterdir())
    assert {len(row["predictions"]) for row in rows if "error" not in row} == {min(5, len(LANDMARKS))}


def test_a_photo_from_stdin(model: Path) -> None:
    photo = encode_png(make_pixels(GREEN, 0))
    done = classify("-", "--model", model, input=photo)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"-: {NAMES[GREEN]} (")


def test_the_environment_may_name_the_model(model: Path, album: Path) -> None:
    done = classify(album / f"{NAMES[RED]} 00.png", env={"LANDMARKS_MODEL": str(model)})
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models:/none@champion", "There is no tracking store"),
        ("models:none", "There is no Bento models:none"),
        ("models:/a/b/c", "is no name of a registered version"),
        ("nowhere", "bundle.json is missing"),
    ],
)
def test_a_model_that_is_not_there_leaves_nothing_behind(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = classify(album, "--model", name)
    assert done.exit_code == 1
    assert message in done.stderr
    assert list(Path.cwd().iterdir()) == []


def test_both_kinds_of_data_at_once_are_refused(album: Path) -> None:
    assert classify(album, "--json", "--csv").exit_code == 2


def test_photos_may_be_paths_bytes_or_images(model: Path, album: Path) -> None:
    path = album / f"{NAMES[BLUE]} 00.png"
    with Image.open(path) as image:
        image.load()
        photos: list[Photo] = [str(path), path, path.read_bytes(), image, image.convert("RGBA")]
    answers = Recognizer.load(str(model)).classify(photos)
    assert {answer.predictions[0].name for answer in answers} == {NAMES[BLUE]}
    assert len({answer.confidence for answer in answers}) == 1


def test_an_image_is_turned_as_its_exif_data_say(model: Path) -> None:
    recognizer = Recognizer.load(model)
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=100, exif=exif.tobytes())
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        image.load()
        turned, encoded = recognizer.classify([image, stream.getvalue()])
    assert turned.landmark_score == pytest.approx(encoded.landmark_score, abs=0.02)


@pytest.mark.parametrize("photo", ["photo.jpg", b"photo", Path("photo.jpg")])
def test_a_single_photo_in_place_of_a_list_is_explained(model: Path, photo: object) -> None:
    with pytest.raises(TypeError, match=r"put a single one into a list"):
        Recognizer.load(model).classify(photo)  # type: ignore[arg-type]


def test_a_photo_of_another_type_is_named(model: Path) -> None:
    with pytest.raises(TypeError, match="received int"):
        Recognizer.load(model).classify([7])  # type: ignore[list-item]
