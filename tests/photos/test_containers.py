"""HEIC, AVIF and TIFF: photos as phones and scanners make them, and what a hostile file of them tries."""

import contextlib
import io
import random
import struct
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from pillow_heif.as_plugin import _save_heif

from landmarks.errors import ImageError
from landmarks.photos.containers import measure_heif, measure_tiff
from landmarks.photos.decoding import decode_image
from landmarks.photos.headers import HEAD_BYTES, identify, read_photo_file
from landmarks.schema.network_format import ImageFormat, Pixels

SQUARE = ImageFormat(64, "crop", 2_000_000)
CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
KINDS = ["HEIC", "AVIF", "TIFF"]
ORIENTATION = 0x0112


@pytest.fixture(autouse=True, scope="module")
def _heif() -> None:
    Image.register_save("HEIC", _save_heif)


def make_corners(mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (300, 200))
    for number, colour in enumerate(CORNERS):
        left, top = 150 * (number % 2), 100 * (number // 2)
        image.paste(colour, (left, top, left + 150, top + 100))
    return image.convert(mode)


def encode(image: Image.Image, kind: str, orientation: int = 1, **options: Any) -> bytes:
    stream = io.BytesIO()
    if kind == "TIFF":
        tags = ImageFileDirectory_v2()
        tags[ORIENTATION] = orientation
        image.save(stream, kind, tiffinfo=tags, **options)
    else:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        image.save(stream, kind, exif=exif.tobytes(), **options)
    return stream.getvalue()


def assert_equal(first: Pixels, second: Pixels) -> None:
    assert np.abs(first.astype(int) - second.astype(int)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_photos_are_turned_like_a_jpeg(kind: str, orientation: int) -> None:
    photo = encode(make_corners(), kind, orientation)
    assert_equal(decode_image(photo, SQUARE), decode_image(encode(make_corners(), "JPEG", orientation), SQUARE))
    assert read_photo_file(photo).kind == identify(photo[:HEAD_BYTES]) == kind


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA"])
def test_tiff_files_of_every_kind_are_read(mode: str, compression: str | None) -> None:
    image = make_corners(mode)
    assert_equal(
        decode_image(encode(image, "TIFF", compression=compression), SQUARE),
        decode_image(encode(image.convert("RGB"), "PNG"), SQUARE),
    )


def test_the_first_of_several_pages_is_taken() -> None:
    pages = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    assert decode_image(stream.getvalue(), SQUARE)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_transparency_is_over_white(kind: str) -> None:
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert decode_image(encode(image, kind), SQUARE).min() > 250


@pytest.mark.parametrize("kind", KINDS)
def test_large_photos_are_refused_before_they_are_decoded(kind: str) -> None:
    photo = encode(Image.new("L", (2000, 1100)), kind)
    with pytest.raises(ImageError, match="has 2000 x 1100 pixels, more than the 2000000 allowed"):
        decode_image(photo, SQUARE)


def test_a_size_that_lies_is_noticed() -> None:
    heic = encode(Image.new("RGB", (1200, 1200)), "HEIC")
    lying = heic.replace(struct.pack(">II", 1200, 1200), struct.pack(">II", 12, 12))
    with pytest.raises(ImageError, match="damaged, incomplete or unusual"):
        decode_image(lying, SQUARE)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def make_boxes(*sizes: tuple[int, int]) -> bytes:
    properties = b"".join(box(b"ispe", bytes(4) + struct.pack(">II", *size)) for size in sizes)
    return box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", properties)))


def test_the_largest_picture_counts() -> None:
    assert measure_heif(make_boxes((10, 20), (300, 200), (40, 40))) == (300, 200)
    with pytest.raises(ValueError, match="it has no picture"):
        measure_heif(make_boxes())


def test_boxes_may_have_long_lengths_or_reach_to_the_end() -> None:
    inner = box(b"iprp", box(b"ipco", box(b"ispe", bytes(4) + struct.pack(">II", 7, 9))))
    content = bytes(4) + inner
    long = struct.pack(">I4sQ", 1, b"meta", 16 + len(content)) + content
    to_the_end = struct.pack(">I4s", 0, b"meta") + content
    for meta in (long, to_the_end):
        assert measure_heif(box(b"ftyp", b"heic\0\0\0\0") + meta) == (7, 9)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (box(b"ftyp", b"heic\0\0\0\0") + box(b"free", b"") * 5000, "more than 4096 boxes"),
        (box(b"ftyp", b"heic\0\0\0\0") + struct.pack(">I4s", 4, b"meta"), "a box is shorter than its head"),
        (box(b"ftyp", b"avif\0\0\0\0"), "The AVIF photo cannot be read: it has no picture"),
        (b"II*\0\x08\0\0\0\0\0", "names no width and height"),
        (b"MM\0*\0\0\0\x08", "ends inside its header"),
        (b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x111, 4, 1 << 20, 0), "more than 65536 strips"),
    ],
)
def test_crafted_files_are_refused(photo: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_photo_file(photo)


def test_sizes_of_tiff_files_are_read_in_both_orders_and_in_64_bits() -> None:
    for order, magic in (("<", b"II*\0"), (">", b"MM\0*")):
        fields = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, size, 0) for tag, size in ((256, 300), (257, 200)))
        assert measure_tiff(magic + struct.pack(f"{order}IH", 8, 2) + fields) == (300, 200)
        big = magic[:2] + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, 2)
        fields = b"".join(struct.pack(f"{order}HHQQ", tag, 16, 1, size) for tag, size in ((256, 300), (257, 200)))
        assert measure_tiff(big + fields) == (300, 200)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_answered_or_refused_quickly(kind: str) -> None:
    whole, random_ = encode(make_corners(), kind), random.Random(0)
    for _ in range(150):
        photo = bytearray(whole)
        for _ in range(random_.choice((1, 8))):
            photo[random_.randrange(len(photo) if kind != "TIFF" else 8, len(photo) + 1) - 1] = random_.randrange(256)
        if random_.random() < 0.3:
            del photo[random_.randrange(len(photo)) :]
        started = time.process_time()
        with contextlib.suppress(ImageError):
            assert decode_image(bytes(photo), SQUARE).shape == (64, 64, 3)
        assert time.process_time() - started < 2
