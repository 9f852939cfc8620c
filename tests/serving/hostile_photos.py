"""Photos that are broken, unusual or meant to do harm. Most show red; `NAMED` are those that must be answered."""

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

RED = (255, 0, 0)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(kind: str = "JPEG", size: tuple[int, int] = (60, 40), **options: Any) -> bytes:
    return encode(Image.new("RGB", size, RED), kind, **options)


def make_bomb(side: int) -> bytes:
    """A PNG of side x side white pixels in a few hundred kilobytes, written without making them."""
    row = b"\0" + b"\xff" * ((side + 7) // 8)
    squeeze = zlib.compressobj(9)
    packed = b"".join([squeeze.compress(row) for _ in range(side)]) + squeeze.flush()
    return make_png(side, side, packed, depth=1, colour=0)


def make_png(width: int, height: int, packed: bytes, depth: int = 8, colour: int = 2, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + more + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def red_rows(width: int = 30, height: int = 30) -> bytes:
    return zlib.compress((b"\0" + bytes(RED) * width) * height)


def animate() -> bytes:
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0)


def add_zip(photo: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("payload.txt", "hidden")
    return photo + stream.getvalue()


def sixteen_bits() -> bytes:
    rows = zlib.compress((b"\0" + b"\xff\xff\0\0\0\0" * 30) * 30)
    return make_png(30, 30, rows, depth=16)


def rotate_by_exif() -> bytes:
    image = Image.new("RGB", (40, 80), RED)
    exif = image.getexif()
    exif[0x0112] = 6
    return encode(image, "JPEG", exif=exif)


def loop_exif() -> bytes:
    """An EXIF directory that points at itself, with the largest count of entries."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 0xFFFF) + b"\x12\x01" * 100
    segment = b"Exif\0\0" + tiff
    jpeg = plain()
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def repeat_scans() -> bytes:
    data = plain(progressive=True)
    scan = data.rindex(b"\xff\xda")
    return data[:-2] + data[scan:-2] * 5000 + data[-2:]


MAKERS: dict[str, Callable[[], bytes]] = {
    # must be answered, and show red
    "baseline": plain,
    "progressive": functools.partial(plain, progressive=True),
    "cmyk": lambda: encode(Image.new("CMYK", (50, 50), (0, 255, 255, 0)), "JPEG"),
    "exif-rotated": rotate_by_exif,
    "exif-loop": loop_exif,
    "huge-icc": functools.partial(plain, icc_profile=bytes(1_000_000)),
    "png-16-bit": sixteen_bits,
    "png-palette": lambda: encode(Image.new("RGB", (50, 50), RED).quantize(4), "PNG"),
    "png-huge-text": lambda: make_png(30, 30, red_rows(), more=chunk(b"tEXt", b"a\0" + b"x" * 1_000_000)),
    "png-text-bomb": lambda: make_png(
        30, 30, red_rows(), more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000), 9))
    ),
    "png-profile-bomb": lambda: make_png(
        30, 30, red_rows(), more=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000), 9))
    ),
    "webp": functools.partial(plain, "WEBP", lossless=True),
    "bmp": functools.partial(plain, "BMP"),
    "tiff": functools.partial(plain, "TIFF"),
    "avif": functools.partial(plain, "AVIF"),
    "gif-animated": animate,
    "one-pixel": functools.partial(plain, "PNG", (1, 1)),
    "one-by-60000": functools.partial(plain, "PNG", (1, 60_000)),
    "60000-by-one": functools.partial(plain, "JPEG", (60_000, 1)),
    "polyglot-zip": lambda: add_zip(plain()),
    "polyglot-html": lambda: plain() + b"<script>alert(1)</script>",
    "comment-php": functools.partial(plain, comment=b"<?php system($_GET['c']); ?>"),
    # must be refused
    "empty": lambda: b"",
    "text": lambda: b"Dear Sir or Madam",
    "address": lambda: b"http://127.0.0.1:1/photo.jpg",
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "pdf": lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "heic": lambda: b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(500),
    "tiff-truncated": lambda: plain("TIFF")[:30],
    "tiff-many-strips": lambda: b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x111, 4, 1 << 28, 0) + bytes(20),
    "heic-many-boxes": lambda: b"\0\0\0\x10ftypheic\0\0\0\0" + b"\0\0\0\x08free" * 100_000,
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "jpeg-truncated": lambda: encode(Image.effect_noise((300, 300), 90), "JPEG")[:2000],
    "jpeg-header-only": lambda: plain()[:20],
    "png-truncated": lambda: plain("PNG")[:50],
    "png-bad-checksum": lambda: plain("PNG").replace(b"IDAT", b"IDAT\0", 1),
    "png-no-pixels": lambda: make_png(0, 0, red_rows()),
    "png-without-data": lambda: make_png(30, 30, b""),
    "png-bomb": lambda: make_bomb(10_000),
    "png-lying-size": lambda: make_png(2**31 - 1, 2**31 - 1, red_rows()),
    "gif-truncated": lambda: animate()[:30],
    "gif-huge-frame": lambda: b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
    "webp-truncated": lambda: plain("WEBP", lossless=True)[:20],
    "bmp-negative": lambda: b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, -5, 2**31 - 1, 1, 24, 0) + bytes(20),
    "many-scans": repeat_scans,
    "bytes-of-noise": lambda: np.random.default_rng(0).bytes(20_000),
    "jpeg-of-noise": lambda: b"\xff\xd8\xff\xe0" + np.random.default_rng(1).bytes(20_000),
}
NAMED = frozenset(list(MAKERS)[: list(MAKERS).index("empty")])
# what their pixels take is within `max_pixels` of 50 million, and more than that in copies
SIDE = 7000
LARGE: dict[str, Callable[[], bytes]] = {
    "png-rgb": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "PNG", compress_level=1),
    "png-rgba": lambda: encode(Image.new("RGBA", (SIDE, SIDE), (*RED, 255)), "PNG", compress_level=1),
    "png-colour-key": lambda: encode(
        Image.new("RGB", (SIDE, SIDE), RED), "PNG", compress_level=1, transparency=(1, 2, 3)
    ),
    "png-16-bit": lambda: encode(Image.fromarray(np.full((SIDE, SIDE), 30_000, np.uint16)), "PNG", compress_level=1),
    "gif": lambda: encode(Image.new("P", (SIDE, SIDE), 3), "GIF", transparency=3),
    "jpeg-progressive": lambda: encode(
        Image.new("RGB", (SIDE, SIDE), RED), "JPEG", progressive=True, subsampling=0, quality=30
    ),
    "jpeg-cmyk": lambda: encode(
        Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "JPEG", progressive=True, quality=30
    ),
    "webp": lambda: encode(Image.new("RGB", (SIDE, SIDE), RED), "WEBP", method=0),
}
