"""Parse the header of a photo: format, size and orientation.

No decoder is involved, so an oversized photo is refused before anything is decoded. The parsers also strip the data:
colour profiles, previews, comments, later frames and whatever follows the end of the picture never reach the decoder,
which keeps the attack surface small.

The work is bounded: a photo of too many blocks (JPEG segments, PNG and WebP chunks, GIF blocks) is refused, and what is
searched is searched in a time that depends on its length alone.

References:
    See `containers` for HEIC, AVIF and TIFF. ITU-T T.81 (JPEG), annex B; W3C, "Portable Network Graphics (PNG)
    Specification (Third Edition)"; CompuServe, "Graphics Interchange Format, Version 89a"; Google, "WebP Container
    Specification".
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from landmarks.errors import ImageError
from landmarks.photos.containers import is_avif, measure_heif, measure_tiff
from landmarks.photos.orientation import EXIF_PREFIX, MAX_EXIF_BLOCKS, XMP_PREFIX, choose_orientation

Kind = Literal["JPEG", "PNG", "GIF", "WebP", "BMP", "HEIC", "AVIF", "TIFF"]

HEAD_BYTES = 32  # how much of a file `identify` needs

_FIRST_SEARCH_BYTES, _LAST_SEARCH_BYTES = 1 << 14, 1 << 20
_JPEG_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment
# Segments to strip. JFIF (E0) and Adobe (EE) stay: decoders derive the colour transform from them.
_JPEG_METADATA = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_JPEG_SCAN, _JPEG_END, _JPEG_APP1 = 0xDA, 0xD9, 0xE1
_WEBP_DECODER_BYTES = 16  # per pixel, four RGBA buffers: two frames of the decoder, a copy and its source
_HEIF_DECODER_BYTES = 8  # per pixel: planes of up to 16 bits, and a copy
_TIFF_DECODER_BYTES = 4  # per pixel: a copy where the photo is turned
_MAX_JPEG_SCANS = 200  # encoders write about 10; a crafted file with thousands takes minutes to decode
_MAX_JPEG_SCAN_BLOCKS = 1024  # scans, and the tables between them
_PNG_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_PNG_XMP = b"XML:com.adobe.xmp\0"
_PNG_RAW_EXIF = (b"Raw profile type exif\0", b"Raw profile type APP1\0")  # written by ImageMagick and ExifTool
_MAX_RAW_EXIF_BYTES = 1 << 18
# A JPEG of any size needs few segments, of up to 64 KiB. Of the other formats' blocks, libpng writes 8 KiB each.
_MAX_BLOCKS = 4096
_BYTES_PER_FURTHER_BLOCK = 2048
_BMP_HEADERS = frozenset((12, 16, 40, 52, 56, 64, 108, 124))  # sizes of the header's versions
_HEIF_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)


@dataclass(frozen=True)
class PhotoFile:
    """A parsed photo, not decoded yet.

    Attributes:
        kind: the file format.
        width: in pixels, from the header; of HEIC and AVIF, of the largest picture in the file.
        height: likewise.
        data: the file, stripped to what the decoder needs.
        orientation: as in Exif, 1 to 8; 1 where the decoder turns the photo itself (HEIC, AVIF, TIFF).
        decoder_bytes: working memory of the decoder per pixel, not counting the decoded photo.
    """

    kind: Kind
    width: int
    height: int
    data: bytes
    orientation: int = 1
    decoder_bytes: int = 0


def read_photo_file(data: bytes) -> PhotoFile:
    """Parse the header of a photo.

    Raises:
        ImageError: the bytes are empty, not a supported format, end inside the header, or are split into too many
            blocks.
    """
    kind = identify(data)
    if kind not in _READERS:
        raise ImageError(_describe_unknown(data, kind), "unsupported" if data else "damaged")
    try:
        return _READERS[kind](data)
    except (struct.error, IndexError):
        raise ImageError("The photo is damaged: it ends inside its header.") from None


def identify(head: bytes) -> str | None:
    """Return the format of a photo from its first `HEAD_BYTES` bytes, also of one that cannot be decoded, or None."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    # two letters alone would take many a text for a bitmap
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return _HEIF_BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def _describe_unknown(data: bytes, kind: str | None) -> str:
    if not data:
        return "The photo is empty: it has 0 bytes."
    if kind:
        return f"The photo is in the {kind} format, which is not supported. Convert it to JPEG or PNG."
    return "The bytes are not a photo of a supported format. Use JPEG, PNG, HEIC, AVIF, WebP, TIFF, GIF or BMP."


def _allow_blocks(most: int) -> Iterator[int]:
    """Count the blocks of a photo, and refuse it when there are more."""
    yield from range(most)
    raise ImageError(
        f"The photo is split into more than {most} blocks. Save it again with another program.", "too_large"
    )


def _read_jpeg(data: bytes) -> PhotoFile:
    view, position = memoryview(data), 2
    parts: list[bytes | memoryview] = [view[:2]]
    exif: list[bytes] = []
    xmp: list[bytes] = []
    size, decoder_bytes = None, 0
    for _ in _allow_blocks(_MAX_BLOCKS):
        position = _find_marker(data, position, in_scan=False)
        if position < 0:
            break
        marker = data[position - 1]
        if marker == _JPEG_SCAN and size is not None:
            parts.append(view[position - 2 : _find_jpeg_end(data, position)])
            return PhotoFile("JPEG", *size, b"".join(parts), choose_orientation(exif, xmp), decoder_bytes)
        if marker in _JPEG_STANDALONE:
            continue
        end = position + _read_length(data, position)
        if marker in _JPEG_FRAMES:
            height, width, components = struct.unpack_from(">HHB", view[:end], position + 3)
            size = width, height
            if marker in _JPEG_PROGRESSIVE:
                # the decoder keeps 16-bit coefficients of all components until the last scan
                decoder_bytes = 2 * components
        if marker not in _JPEG_METADATA:
            parts.append(view[position - 2 : end])
        elif marker == _JPEG_APP1 and data.startswith(EXIF_PREFIX, position + 2):
            exif.append(data[position + 2 : end])
        elif marker == _JPEG_APP1 and data.startswith(XMP_PREFIX, position + 2):
            xmp.append(data[position + 2 : end])
        position = end
    raise ImageError("The photo is damaged: it ends inside its header.")


def _find_jpeg_end(data: bytes, position: int) -> int:
    """Return where the picture ends whose first scan starts at `position`: cameras append previews, videos, raw data.

    Raises:
        ImageError: the picture has too many scans, or segments between them.
    """
    scans = 1
    position += _read_length(data, position)
    for _ in _allow_blocks(_MAX_JPEG_SCAN_BLOCKS):
        position = _find_marker(data, position, in_scan=True)
        if position < 0:
            break
        marker = data[position - 1]
        if marker == _JPEG_END:
            return position
        scans += marker == _JPEG_SCAN
        if scans > _MAX_JPEG_SCANS:
            raise ImageError(
                f"The photo has more than {_MAX_JPEG_SCANS} scans. Save it again as a baseline JPEG.", "too_large"
            )
        # After lost data, a decoder searches markers below C0 without skipping a segment.
        if marker >= 0xC0 and marker not in _JPEG_STANDALONE:
            position += _read_length(data, position)
    return len(data)


def _read_length(data: bytes, position: int) -> int:
    """Return the length of the segment at `position`, which counts its own two bytes."""
    return max(int.from_bytes(data[position : position + 2]), 2)


def _find_marker(data: bytes, position: int, in_scan: bool) -> int:
    """Return the position after the next marker, -1 if there is none; in a scan, restart markers belong to the data.

    One segment usually follows the other. In a scan, an array operation takes as long as a regular expression on a
    photo, but is not 50 times slower on bytes of FF, and does not hold the interpreter lock.
    """
    if data[position : position + 1] == b"\xff" and not in_scan and data[position + 1] not in (0x00, 0xFF):
        return position + 2
    size = _FIRST_SEARCH_BYTES
    while position + 1 < len(data):
        block = np.frombuffer(data, np.uint8, min(size, len(data) - position), position)
        code = block[1:]
        found = (block[:-1] == 0xFF) & (code - 1 < 0xFE)  # 0 wraps to FF
        if in_scan:
            found &= (code & 0xF8) != 0xD0
        first = int(found.argmax())
        if found[first]:
            return position + first + 2
        position += size - 1
        size = min(2 * size, _LAST_SEARCH_BYTES)  # the work is in proportion to the distance
    return -1


def _read_png(data: bytes) -> PhotoFile:
    width, height = struct.unpack_from(">II", data, 16)
    view, position, name = memoryview(data), 8, b""
    parts = [view[:8]]
    exif: list[bytes] = []
    raw_exif: list[tuple[bytes, bool]] = []
    xmp: list[bytes] = []
    blocks = _allow_blocks(_MAX_BLOCKS + len(data) // _BYTES_PER_FURTHER_BLOCK)
    while position + 8 <= len(data) and name != b"IEND":
        next(blocks)
        length, name = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + 8 + length
        if name in _PNG_CHUNKS:
            parts.append(view[position : end + 4])
        elif name == b"eXIf":
            exif.append(data[start:end])
        elif name in (b"tEXt", b"zTXt") and data.startswith(_PNG_RAW_EXIF, start):
            raw_exif.append((data[start:end], name == b"zTXt"))
        elif name == b"iTXt" and data.startswith(_PNG_XMP, start):
            xmp.append(data[start:end])
        position = end + 4
    exif += [_read_raw_profile(chunk, is_compressed) for chunk, is_compressed in raw_exif[:MAX_EXIF_BLOCKS]]
    return PhotoFile("PNG", width, height, b"".join(parts), choose_orientation(exif, xmp))


def _read_raw_profile(chunk: bytes, is_compressed: bool) -> bytes:
    """Read Exif data from a text chunk: name, length and hexadecimal digits; empty if it is damaged."""
    text = chunk.partition(b"\0")[2]
    try:
        if is_compressed:
            text = zlib.decompressobj().decompress(text[1:], _MAX_RAW_EXIF_BYTES)
        digits = b"".join(text[:_MAX_RAW_EXIF_BYTES].split()[2:])
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def _read_gif(data: bytes) -> PhotoFile:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    palette_bytes = 3 << ((flags & 7) + 1) if flags & 0x80 else 0
    position = head = 13 + palette_bytes
    control = b""
    blocks = _allow_blocks(_MAX_BLOCKS + len(data) // _BYTES_PER_FURTHER_BLOCK)
    # some programs write zeros between the blocks
    while data[position] in (0x21, 0x00):
        next(blocks)
        if not data[position]:
            position += 1
            continue
        end = position + 2
        while data[end]:
            next(blocks)
            end += data[end] + 1
        if data[position + 1] == 0xF9:  # graphic control: keep the transparency, drop the animation fields
            control = b"\x21\xf9\x04" + bytes((data[position + 3] & 1,)) + b"\0\0" + data[position + 6 : position + 8]
        position = end + 1
    if data[position] != 0x2C:  # Pillow would search for a picture byte by byte
        raise ImageError("The photo is damaged: no picture follows its header.")
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
    # Pillow enlarges the canvas to the first frame, so the size limit must see the larger of the two.
    size = max(width, left + frame_width), max(height, top + frame_height)
    view = memoryview(data)
    return PhotoFile("GIF", *size, b"".join((view[:head], control, view[position:])))


def _read_webp(data: bytes) -> PhotoFile:
    chunk = data[12:16]
    if chunk == b"VP8X":
        sizes = struct.unpack_from("<HBHB", data, 24)
        width, height = sizes[0] + (sizes[1] << 16) + 1, sizes[2] + (sizes[3] << 16) + 1
    elif chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageError("The photo is damaged: no picture follows its header.")
    (length,) = struct.unpack_from("<I", data, 4)
    data = data[: 8 + length + length % 2]  # what follows is not part of the picture
    return PhotoFile("WebP", width, height, data, _read_webp_orientation(data), _WEBP_DECODER_BYTES)


def _read_webp_orientation(data: bytes) -> int:
    exif: list[bytes] = []
    xmp: list[bytes] = []
    position = 12
    blocks = _allow_blocks(_MAX_BLOCKS + len(data) // _BYTES_PER_FURTHER_BLOCK)
    while position + 8 <= len(data):
        next(blocks)
        name, length = struct.unpack_from("<4sI", data, position)
        if name in (b"EXIF", b"XMP "):
            (exif if name == b"EXIF" else xmp).append(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return choose_orientation(exif, xmp)


def _read_bmp(data: bytes) -> PhotoFile:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the OS/2 header has 16-bit sizes
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return PhotoFile("BMP", width, abs(height), data)  # a negative height means rows from top to bottom


def _read_heif(data: bytes) -> PhotoFile:
    kind: Kind = "AVIF" if is_avif(data) else "HEIC"
    try:
        return PhotoFile(kind, *measure_heif(data), data, 1, _HEIF_DECODER_BYTES)
    except ValueError as error:
        raise ImageError(f"The {kind} photo cannot be read: {error}. Save it as a JPEG.") from None


def _read_tiff(data: bytes) -> PhotoFile:
    try:
        return PhotoFile("TIFF", *measure_tiff(data), data, 1, _TIFF_DECODER_BYTES)
    except ValueError as error:
        raise ImageError(f"The TIFF photo cannot be read: {error}. Save it as a JPEG.") from None


_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}
_READERS: dict[str | None, Callable[[bytes], PhotoFile]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "GIF": _read_gif,
    "WebP": _read_webp,
    "BMP": _read_bmp,
    "HEIC": _read_heif,
    "AVIF": _read_heif,
    "TIFF": _read_tiff,
}
