"""Thumbnails on disk: what was written is read, by row, and files that do not belong together are refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landmarks.errors import ArtifactError
from landmarks.recognizer.thumbnails import OFFSETS_FILE, THUMBNAILS_FILE, Thumbnails, open_thumbnails

COLOURS = ((250, 10, 10), (10, 250, 10), (10, 10, 250))


def write(folder: Path, side: int = 300) -> Thumbnails:
    with open_thumbnails(folder) as thumbnails:
        for colour in COLOURS:
            thumbnails.add(np.full((side, side // 2, 3), colour, np.uint8))
    return Thumbnails.load(folder)


def test_each_row_is_a_small_jpeg_of_its_photo(tmp_path: Path) -> None:
    thumbnails = write(tmp_path)
    assert len(thumbnails) == len(COLOURS)
    for row, colour in enumerate(COLOURS):
        with Image.open(io.BytesIO(thumbnails.read(row))) as image:
            assert (image.format, image.size) == ("JPEG", (64, 128))
            assert image.getpixel((5, 5)) == pytest.approx(colour, abs=4)


def test_small_photos_are_not_enlarged(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(write(tmp_path, 40).read(0))) as image:
        assert image.size == (20, 40)


def test_no_photos(tmp_path: Path) -> None:
    with open_thumbnails(tmp_path):
        pass
    assert len(Thumbnails.load(tmp_path)) == 0


@pytest.mark.parametrize(
    "offsets",
    [
        np.array([], np.int64),
        np.array([0, 5], np.int64),
        np.array([[0], [5]], np.int64),
        np.array([0.0, 1.0]),
    ],
)
def test_offsets_of_another_file(tmp_path: Path, offsets: np.ndarray) -> None:
    write(tmp_path)
    np.save(tmp_path / OFFSETS_FILE, offsets)
    with pytest.raises(ArtifactError, match=r"does not fit thumbnails\.jpegs"):
        Thumbnails.load(tmp_path)


@pytest.mark.parametrize("name", [THUMBNAILS_FILE, OFFSETS_FILE])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match="no usable thumbnails"):
        Thumbnails.load(tmp_path)
