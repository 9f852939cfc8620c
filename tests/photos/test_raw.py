"""RAW photos are answered by their previews; damaged ones are errors like those of other photos."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landmarks.errors import DataError, ImageError
from landmarks.photos.decoding import decode_image
from landmarks.photos.places import Place
from landmarks.photos.raw import extract_preview
from landmarks.photos.sources import FolderSource
from landmarks.photos.walk import find_photos, read_photo
from landmarks.schema.network_format import ImageFormat

_SHORT, _LONG, _BYTE, _ASCII = 3, 4, 1, 2
_WIDTHS = {_SHORT: "H", _LONG: "I", _BYTE: "B"}
FORMAT = ImageFormat(16, "crop", 10**6)


def write_directory(start: int, entries: dict[int, tuple[int, list[int] | bytes]]) -> bytes:
    """Write a directory of TIFF that stands at `start`, with the values that do not fit behind it."""
    end = start + 2 + 12 * len(entries) + 4
    table, values = struct.pack("<H", len(entries)), b""
    for tag, (kind, content) in sorted(entries.items()):
        data = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}{_WIDTHS[kind]}", *content)
        field = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", end + len(values))
        values += data if len(data) > 4 else b""
        table += struct.pack("<HHI", tag, kind, len(content)) + field
    return table + struct.pack("<I", 0) + values


def make_dng(colour: tuple[int, int, int], orientation: int = 1, preview: bool = True, side: int = 32) -> bytes:
    """Make a DNG: a Bayer pattern of one grey, and beside it a JPEG as preview."""
    encoded = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(encoded, "JPEG", quality=95)
    picture, mosaic = encoded.getvalue(), np.full((side, side), 1000, "<u2").tobytes()
    mosaic_at, picture_at = 8, 8 + len(mosaic)
    first_at = picture_at + len(picture) + len(picture) % 2
    raw: dict[int, tuple[int, list[int] | bytes]] = {
        254: (_LONG, [0]),
        256: (_LONG, [side]),
        257: (_LONG, [side]),
        258: (_SHORT, [16]),
        259: (_SHORT, [1]),
        262: (_SHORT, [32803]),
        273: (_LONG, [mosaic_at]),
        277: (_SHORT, [1]),
        278: (_LONG, [side]),
        279: (_LONG, [len(mosaic)]),
        33421: (_SHORT, [2, 2]),
        33422: (_BYTE, b"\0\1\1\2"),
    }
    shown: dict[int, tuple[int, list[int] | bytes]] = {
        271: (_ASCII, b"Drawn\0"),
        272: (_ASCII, b"Camera\0"),
        274: (_SHORT, [orientation]),
        50706: (_BYTE, b"\1\4\0\0"),
        50708: (_ASCII, b"Drawn Camera\0"),
    }
    if preview:
        shown |= {
            254: (_LONG, [1]),
            256: (_LONG, [64]),
            257: (_LONG, [48]),
            258: (_SHORT, [8, 8, 8]),
            259: (_SHORT, [7]),
            262: (_SHORT, [6]),
            273: (_LONG, [picture_at]),
            277: (_SHORT, [3]),
            278: (_LONG, [48]),
            279: (_LONG, [len(picture)]),
            330: (_LONG, [0]),
        }
        shown[330] = (_LONG, [first_at + len(write_directory(first_at, shown))])
        body = write_directory(first_at, shown) + write_directory(shown[330][1][0], raw)
    else:
        body = write_directory(first_at, shown | raw)
    head = struct.pack("<2sHI", b"II", 42, first_at)
    return (head + mosaic + picture).ljust(first_at, b"\0") + body


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
