"""WebP files: what is one, its three kinds of size, and an orientation behind chunks of odd lengths."""

import struct

import pytest

from landmarks.errors import ImageError
from landmarks.photos.headers import read_photo_file


def make_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def make_webp(*chunks: bytes, kind: bytes = b"WEBP") -> bytes:
    body = kind + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def make_extended(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return make_chunk(b"VP8X", b"\x08\0\0\0" + sides)


def make_exif(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"


@pytest.mark.parametrize(("width", "height"), [(1, 2), (300, 65_536), (65_537, 1 << 24), (1 << 24, 70_000)])
def test_an_extended_header_has_sides_of_24_bits(width: int, height: int) -> None:
    photo = read_photo_file(make_webp(make_extended(width, height)))
    assert (photo.kind, photo.width, photo.height, photo.orientation) == ("WebP", width, height, 1)


@pytest.mark.parametrize(("width", "height"), [(1, 2), (300, 16_384), (16_384, 513)])
def test_a_lossless_header_has_sides_of_14_bits(width: int, height: int) -> None:
    bits = (width - 1) | (height - 1) << 14 | 1 << 28
    photo = read_photo_file(make_webp(make_chunk(b"VP8L", b"\x2f" + struct.pack("<I", bits) + b"\0")))
    assert (photo.width, photo.height) == (width, height)


@pytest.mark.parametrize(("width", "height"), [(1, 2), (300, 16_383), (16_383, 513)])
def test_a_lossy_header_has_sides_of_14_bits_and_a_scale(width: int, height: int) -> None:
    frame = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width | 1 << 14, height | 2 << 14)
    photo = read_photo_file(make_webp(make_chunk(b"VP8 ", frame)))
    assert (photo.width, photo.height) == (width, height)


@pytest.mark.parametrize(
    "data",
    [
        make_webp(make_extended(8, 8), kind=b"WAVE"),
        make_webp(make_chunk(b"VP9 ", bytes(20))),
        make_webp(make_chunk(b"ALPH", bytes(20))),
        make_webp(make_chunk(b"fmt ", bytes(20)), kind=b"WAVE"),
    ],
)
def test_other_riff_files_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"not a photo of a supported format|no picture follows its header"):
        read_photo_file(data)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 255])
def test_an_orientation_is_found_behind_chunks_of_any_length(length: int) -> None:
    chunks = (make_extended(8, 8), make_chunk(b"ICCP", b"\x07" * length), make_chunk(b"EXIF", make_exif(6)))
    assert read_photo_file(make_webp(*chunks)).orientation == 6
    assert read_photo_file(make_webp(*chunks[:2])).orientation == 1
    assert read_photo_file(make_webp(*chunks)[:-20]).orientation == 1
