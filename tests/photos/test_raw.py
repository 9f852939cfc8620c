"""RAW photos are answered by their previews; damaged ones are errors like those of other photos."""

from pathlib import Path

import numpy as np
import pytest

from landmarks.errors import DataError, ImageError
from landmarks.photos.decoding import decode_image
from landmarks.photos.places import Place
from landmarks.photos.raw import extract_preview
from landmarks.photos.sources import FolderSource
from landmarks.photos.walk import find_photos, read_photo
from landmarks.schema.network_format import ImageFormat
from raw_photos import make_dng

FORMAT = ImageFormat(16, "crop", 10**6)


def test_a_raw_photo_is_its_preview(tmp_path: Path) -> None:
    photo = tmp_path / "IMG_1.DNG"
    photo.write_bytes(make_dng((200, 40, 40)))
    (found,), left_out = find_photos([tmp_path])
    assert (found, left_out.counts) == (photo, {})
    pixels = decode_image(read_photo(found), FORMAT)
    assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - (200, 40, 40)).max() < 4
    place = Place("1", "IMG_1.DNG")
    assert FolderSource(tmp_path).read(place) == read_photo(photo)


def test_a_raw_photo_without_a_preview_says_so() -> None:
    with pytest.raises(ImageError, match="has no preview"):
        extract_preview(make_dng((0, 0, 0), preview=False))


@pytest.mark.parametrize("data", [b"", b"II*\0", b"no photo" * 100, make_dng((9, 9, 9))[:-200]])
def test_a_damaged_raw_photo_is_an_error(tmp_path: Path, data: bytes) -> None:
    photo = tmp_path / "a.cr2"
    photo.write_bytes(data)
    with pytest.raises(ImageError):
        read_photo(photo)
    with pytest.raises(DataError):
        FolderSource(tmp_path).read(Place("1", "a.cr2"))


def test_mutated_raw_photos_are_photos_or_errors() -> None:
    random, whole = np.random.default_rng(5), bytearray(make_dng((10, 200, 10), orientation=6))
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(len(data) - 600, len(data), 4):
            data[place] = random.integers(256)
        try:
            decode_image(extract_preview(bytes(data)), FORMAT)
            outcomes.add("photo")
        except ImageError:
            outcomes.add("error")
    assert outcomes == {"photo", "error"}
