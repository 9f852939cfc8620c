"""Photos of every known format: damaged, padded, followed by other data, made of too many parts, or turned."""

import io
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from chaos.campaign import Tally
from landmarks.errors import ImageError
from landmarks.photos.decoding import decode_image
from landmarks.schema.network_format import ImageFormat, Pixels

PROMISE = (
    "A photo is answered upright or refused with a sentence, whatever was done to its file, within two seconds. What "
    "follows the end of its picture changes nothing."
)
TRIES = 5_000
MOST_SECONDS = 2.0  # of a processor, for a file of up to 20 MB

EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}  # the types of TIFF
_SQUARE = ImageFormat(64, "crop", 2_000_000)
_LARGEST = 19_600_000
_WEIGHTS = {"damage": 60, "trailer": 20, "orientation": 20, "parts": 1}


def attack(tries: int, seed: int, scratch: Path) -> Tally:  # noqa: ARG001 - nothing is written
    """Do one random thing to a random photo per try."""
    tally = Tally()
    for number in range(tries):
        rng = random.Random(f"{seed} {number}")
        # so that few tries have one of each kind, too
        what = (
            list(_WEIGHTS)[number] if number < len(_WEIGHTS) else rng.choices(*zip(*_WEIGHTS.items(), strict=True))[0]
        )
        name = rng.choice(list(PHOTOS))
        started = time.thread_time()
        try:
            outcome = _ATTACKS[what](rng, name)
        except Exception as error:  # noqa: BLE001 - any exception of another kind breaks the promise
            tally.fail(f"try {number}, {what} of {name}: {type(error).__name__}: {error}")
            continue
        took = time.thread_time() - started
        if took > MOST_SECONDS:
            tally.fail(f"try {number}, {what} of {name}: took {took:.1f} s")
        elif outcome in ("read", "refused"):
            tally.count(f"{what} {outcome}")
        else:
            tally.fail(f"try {number}, {what} of {name}: {outcome}")
    return tally


def make_exif(value: int = 6, kind: int = 3, order: str = ">", count: int = 1, before: int = 0) -> bytes:
    """Make Exif data with an orientation of any TIFF type and byte order, after `before` other fields."""
    other = struct.pack(f"{order}HHI", 0x010F, 2, 4) + b"abc\0"
    field = struct.pack(f"{order}HHI{INTEGERS.get(kind, 'I')}", 0x0112, kind, count, value).ljust(12, b"\0")
    head = {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(f"{order}IH", 8, before + 1)
    return head + other * before + field + b"\0\0\0\0"


def make_xmp(value: object, element: bool = False) -> bytes:
    """Make an XMP packet with an orientation, as an attribute or as an element."""
    inside = f"><tiff:Orientation>{value}</tiff:Orientation>" if element else f' tiff:Orientation="{value}">'
    return f"<x:xmpmeta><rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/'{inside}</x:xmpmeta>".encode()


def make_raw_profile(exif: bytes) -> bytes:
    """Write Exif data as digits, as ImageMagick does in a PNG."""
    digits = exif.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    return f"\nexif\n{len(exif):8}\n{lines}\n".encode()


def segment(data: bytes, marker: int = 0xE1) -> bytes:
    """Make a segment of a JPEG; 0xE1 marks metadata."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def chunk(name: bytes, data: bytes) -> bytes:
    """Make a chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def webp_chunk(name: bytes, data: bytes) -> bytes:
    """Make a chunk of a WebP."""
    return struct.pack("<4sI", name, len(data)) + data + b"\0" * (len(data) % 2)


def insert_into_jpeg(photo: bytes, segments: bytes) -> bytes:
    """Put segments at the beginning of a JPEG."""
    return photo[:2] + segments + photo[2:]


def insert_into_png(photo: bytes, chunks: bytes, at_end: bool = False) -> bytes:
    """Put chunks after the header of a PNG, or before its end."""
    place = len(photo) - 12 if at_end else 33
    return photo[:place] + chunks + photo[place:]


def append_to_webp(photo: bytes, chunks: bytes) -> bytes:
    """Put chunks at the end of a WebP."""
    body = photo[12:] + chunks
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Turn a stored picture as Exif's orientation says, which names the sides of the first row and column."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _encode(kind: str, mode: str = "RGB", size: tuple[int, int] = (90, 70), **options: object) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    if options.pop("animated", False):
        options |= {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


PHOTOS = {
    "JPEG": _encode("JPEG"),
    "large JPEG": _encode("JPEG", size=(900, 700)),
    "progressive JPEG": _encode("JPEG", progressive=True),
    "JPEG with restarts": _encode("JPEG", restart_marker_blocks=2),
    "grey JPEG": _encode("JPEG", "L"),
    "CMYK JPEG": _encode("JPEG", "CMYK"),
    "PNG": _encode("PNG"),
    "palette PNG": _encode("PNG", "P"),
    "PNG with alpha": _encode("PNG", "RGBA"),
    "16-bit PNG": _encode("PNG", "I;16"),
    "animated PNG": _encode("PNG", animated=True),
    "GIF": _encode("GIF"),
    "animated GIF": _encode("GIF", animated=True),
    "WebP": _encode("WEBP"),
    "lossless WebP": _encode("WEBP", lossless=True),
    "WebP with alpha": _encode("WEBP", "RGBA"),
    "animated WebP": _encode("WEBP", animated=True),
    "BMP": _encode("BMP"),
    "TIFF": _encode("TIFF"),
    "AVIF": _encode("AVIF"),
}
_REFUSED = ("TIFF", "AVIF")  # formats that are recognized but not read


def _decode(data: bytes) -> Pixels | None:
    """Decode a photo; None if it is refused as it should be."""
    try:
        pixels = decode_image(data, _SQUARE)
    except ImageError as error:
        if not str(error).isprintable() or len(str(error)) > 300:
            raise ValueError(f"no sentence: {error}") from None
        return None
    if pixels.shape != (64, 64, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"no photo: {pixels.shape}, {pixels.dtype}")
    return pixels


def _damage(rng: random.Random, name: str) -> str:
    data = bytearray(PHOTOS[name])
    for _ in range(rng.choice((1, 1, 3, 30))):
        place = rng.randrange(min(len(data), rng.choice((40, 700, 10**9))))
        length = rng.choice((1, 1, 2, 4, 50))
        change = rng.choice(("set", "cut", "insert", "repeat", "limit"))
        if change == "set":
            data[place : place + length] = rng.randbytes(length)
        elif change == "cut":
            del data[place : place + length]
        elif change == "insert":
            data[place:place] = rng.randbytes(length)
        elif change == "repeat":
            data[place:place] = data[place : place + rng.choice((1, 20, 500))]
        else:
            data[place : place + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        if not data:
            break
    if rng.random() < 0.2:
        del data[rng.randrange(len(data) + 1) :]
    return "refused" if _decode(bytes(data)) is None else "read"


def _add_trailer(rng: random.Random, name: str) -> str:
    expected = _decode(PHOTOS[name])
    trailers: list[Callable[[], bytes]] = [
        lambda: rng.randbytes(rng.choice((1, 1000, 300_000))),
        lambda: PHOTOS[rng.choice(list(PHOTOS))],
        lambda: b"\xff\xda\0\x02" * 1000 + b"\xff\xd9",
        lambda: rng.choice((b"\0", b"\xff", b"\xff\0", b"\x21\xfe")) * rng.choice((1, 5000)),
        lambda: chunk(b"eXIf", make_exif()) + segment(EXIF + make_exif()) + webp_chunk(b"EXIF", make_exif()),
    ]
    found = _decode(PHOTOS[name] + rng.choice(trailers)())
    if expected is None or found is None:
        return "refused" if name in _REFUSED else "refused for what follows its end"
    return "read" if (found == expected).all() else "altered by what follows its end"


def _turn(rng: random.Random, name: str) -> str:
    photo, value = PHOTOS[name], rng.randint(1, 8)
    stored = _decode(photo)
    if stored is None:
        return "refused"
    wrong = [b"garbage", make_exif(rng.choice((0, 9, 99))), make_exif(kind=2), make_exif(count=0), make_exif()[:14]]
    order, kind = rng.choice("<>"), rng.choice(list(INTEGERS))
    exif = make_exif(value, kind, order, before=rng.choice((0, 1, 40)))
    blocks = [*rng.choices(wrong, k=rng.randint(0, 3)), exif, make_exif(rng.randint(1, 8))]
    prefix, element = rng.choice((b"", EXIF)), rng.random() < 0.5
    xmp, other_xmp = make_xmp(value, element), make_xmp(rng.randint(1, 8))
    if "JPEG" in name:
        long = exif + rng.randbytes(90_000)
        data = rng.choice(
            (
                b"".join(segment(EXIF + block) for block in blocks),
                segment(EXIF + long[:65_000]) + segment(EXIF + long[65_000:]),
                segment(XMP + other_xmp) + segment(EXIF + exif),
                segment(XMP + xmp) + segment(EXIF + rng.choice(wrong)) + segment(XMP + other_xmp),
            )
        )
        turned = insert_into_jpeg(photo, data)
    elif "PNG" in name:
        data = rng.choice(
            (
                b"".join(chunk(b"eXIf", prefix + block) for block in blocks),
                chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + other_xmp) + chunk(b"eXIf", exif),
                chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
                chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(make_raw_profile(EXIF + exif))),
                chunk(b"tEXt", b"Raw profile type APP1\0" + make_raw_profile(EXIF + exif)),
            )
        )
        turned = insert_into_png(photo, data, at_end=rng.random() < 0.5)
    elif "WebP" in name:
        data = rng.choice(
            (
                b"".join(webp_chunk(b"EXIF", prefix + block) for block in blocks),
                webp_chunk(b"XMP ", other_xmp) + webp_chunk(b"EXIF", exif),
                webp_chunk(b"XMP ", xmp),
            )
        )
        turned = append_to_webp(photo, data)
    else:  # GIF and BMP have no Exif data
        turned, value = photo, 1
    found = _decode(turned)
    if found is None:
        return "refused for its metadata"
    return "read" if (found == turn(stored, value)).all() else f"not turned as {value} says"


def _add_parts(rng: random.Random, name: str) -> str:
    photo = PHOTOS[name]
    size = rng.choice((1000, 100_000, _LARGEST))

    def repeat(part: bytes) -> bytes:
        return part * (size // len(part))

    if "JPEG" in name:
        parts = [segment(b"", 0xFE), segment(b"ab", 0xE5), b"\xff", b"\xff\0", b"\xff\xd8", b"a" + segment(b"", 0xC4)]
        parts += [segment(EXIF + make_exif(0, before=rng.choice((0, 5000)))), segment(XMP + b"tiff:Orientation" * 4000)]
        data = repeat(rng.choice(parts)) + rng.choice((b"", b"\0"))
        photo = insert_into_jpeg(photo, data) if rng.random() < 0.5 else photo[:-2] + data + photo[-2:]
    elif "PNG" in name:
        bomb = zlib.compress(b"\nexif\n1000000\n" + b"0" * 1_000_000)
        parts = [
            chunk(b"IDAT", b""),
            chunk(b"tEXt", b"a"),
            chunk(b"eXIf", make_exif(0, before=80)),
            chunk(b"abcd", b""),
        ]
        parts += [chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb)]
        photo = insert_into_png(photo, repeat(rng.choice(parts)), at_end=rng.random() < 0.5)
    elif "GIF" in name:
        place = 13 + (3 << (photo[10] & 7) + 1 if photo[10] & 0x80 else 0)
        parts = [b"\x21\xfe\0", b"\0", b"a", b"\x21\xff", b"\x21\xfe\1a\0", b"\x21\xf9\x04\0\0\0\0\0"]
        blocks = b"\x21\xfe" + repeat(b"\1a") + b"\0"
        photo = photo[:place] + rng.choice((repeat(rng.choice(parts)), blocks)) + photo[place:]
    elif "WebP" in name:
        parts = [
            webp_chunk(b"abcd", b""),
            webp_chunk(b"EXIF", make_exif(0, before=5000)),
            webp_chunk(b"ANMF", bytes(24)),
        ]
        photo = append_to_webp(photo, repeat(rng.choice(parts)))
    else:
        photo += repeat(b"\0")
    return "refused" if _decode(photo) is None else "read"


_ATTACKS = {"damage": _damage, "trailer": _add_trailer, "orientation": _turn, "parts": _add_parts}
