"""Parse the header of a photo: format, size and orientation.

No decoder is involved, so an oversized photo is refused before anything is decoded. The parsers also strip the data:
colour profiles, previews, comments and later frames never reach the decoder, which keeps the attack surface small.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from landmarks.errors import ImageError

Kind = Literal["JPEG", "PNG", "GIF", "WebP", "BMP"]

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_JPEG_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment
# Segments to strip. JFIF (E0) and Adobe (EE) stay: decoders derive the colour transform from them.
_JPEG_METADATA = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_WEBP_DECODER_BYTES = 16  # per pixel, four RGBA buffers: two frames of the decoder, a copy and its source
_MAX_JPEG_SCANS = 200  # encoders write about 10; a crafted file with thousands takes minutes to decode
_PNG_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class PhotoFile:
    """A parsed photo, not decoded yet.

    Attributes:
        kind: the file format.
        width: in pixels, from the header.
        height: in pixels, from the header.
        data: the file, stripped to what the decoder needs.
        orientation: the EXIF value, 1 to 8.
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
        ImageError: the bytes are empty, not a supported format, or end inside the header.
    """
    for magic, reader in _READERS.items():
        if data.startswith(magic):
            try:
                return reader(data)
            except (struct.error, IndexError):
                raise ImageError("The photo is damaged: it ends inside its header.") from None
    raise ImageError(_describe_unknown(data))


def _describe_unknown(data: bytes) -> str:
    if not data:
        return "The photo is empty: it has 0 bytes."
    if data[4:8] == b"ftyp":
        return "The photo is in the HEIC or AVIF format, which is not supported. Convert it to JPEG or PNG."
    return "The bytes are not a photo of a supported format. Use JPEG, PNG, GIF, WebP or BMP."


def _read_jpeg(data: bytes) -> PhotoFile:
    parts, orientation, size, position, decoder_bytes = [b"\xff\xd8"], 1, None, 2, 0
    while found := _JPEG_MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker == 0xDA and size is not None:
            parts.append(data[position - 2 :])
            cleaned = b"".join(parts)
            if cleaned.count(b"\xff\xda") > _MAX_JPEG_SCANS:
                raise ImageError(f"The photo has more than {_MAX_JPEG_SCANS} scans. Save it again as a baseline JPEG.")
            return PhotoFile("JPEG", *size, cleaned, orientation, decoder_bytes)
        if marker in _JPEG_STANDALONE:
            continue
        segment = data[position : position + struct.unpack_from(">H", data, position)[0]]
        position += max(len(segment), 2)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", segment, 3)
            size = width, height
            if (
                marker in _JPEG_PROGRESSIVE
            ):  # the decoder keeps 16-bit coefficients of all components until the last scan
                decoder_bytes = 2 * segment[7]
        if marker not in _JPEG_METADATA:
            parts += (bytes((0xFF, marker)), segment)
        elif marker == 0xE1 and segment[2:].startswith(_EXIF_PREFIX):
            orientation = _read_orientation(segment[2:])
    raise ImageError("The photo is damaged: it ends inside its header.")


def _read_png(data: bytes) -> PhotoFile:
    width, height = struct.unpack_from(">II", data, 16)
    parts, orientation, position = [data[:8]], 1, 8
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name in _PNG_CHUNKS:
            parts.append(data[position : position + length + 12])
        elif name == b"eXIf":
            orientation = _read_orientation(data[position + 8 : position + 8 + length])
        position += length + 12
    return PhotoFile("PNG", width, height, b"".join(parts), orientation)


def _read_gif(data: bytes) -> PhotoFile:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    palette_bytes = 3 << ((flags & 7) + 1) if flags & 0x80 else 0
    position = head = 13 + palette_bytes
    control = b""
    while data[position] == 0x21:
        end = position + 2
        while data[end]:
            end += data[end] + 1
        end += 1
        if data[position + 1] == 0xF9:  # graphic control: keep the transparency, drop the animation fields
            control = b"\x21\xf9\x04" + bytes((data[position + 3] & 1,)) + b"\0\0" + data[position + 6 : position + 8]
        position = end
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, position + 1)
    # Pillow enlarges the canvas to the first frame, so the size limit must see the larger of the two.
    size = max(width, left + frame_width), max(height, top + frame_height)
    return PhotoFile("GIF", *size, data[:head] + control + data[position:])


def _read_webp(data: bytes) -> PhotoFile:
    chunk = data[12:16]
    if data[8:12] != b"WEBP" or chunk not in (b"VP8X", b"VP8L", b"VP8 "):
        raise ImageError(_describe_unknown(data))
    if chunk == b"VP8X":
        sizes = struct.unpack_from("<HBHB", data, 24)
        width, height = sizes[0] + (sizes[1] << 16) + 1, sizes[2] + (sizes[3] << 16) + 1
    elif chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return PhotoFile("WebP", width, height, data, _read_webp_orientation(data), _WEBP_DECODER_BYTES)


def _read_webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"EXIF":
            return _read_orientation(data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    return 1


def _read_bmp(data: bytes) -> PhotoFile:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the OS/2 header has 16-bit sizes
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return PhotoFile("BMP", width, abs(height), data)  # a negative height means rows from top to bottom


def _read_orientation(exif: bytes) -> int:
    """Return the orientation in an EXIF block, 1 if it is absent or invalid.

    References:
        CIPA DC-008 (Exif 2.32), section 4.6.4: tag 0x0112 of the 0th image file directory.
    """
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    position = struct.unpack_from(f"{order}I", tiff, 4)[0]
    entries = tiff[position + 2 :][: 12 * 0xFFFF]
    for entry in range(0, len(entries) - 11, 12):
        if struct.unpack_from(f"{order}H", entries, entry)[0] == _ORIENTATION_TAG:
            value: int = struct.unpack_from(f"{order}H", entries, entry + 8)[0]
            return value if 1 <= value <= 8 else 1
    return 1


_READERS: dict[bytes, Callable[[bytes], PhotoFile]] = {
    b"\xff\xd8\xff": _read_jpeg,
    b"\x89PNG\r\n\x1a\n": _read_png,
    b"GIF87a": _read_gif,
    b"GIF89a": _read_gif,
    b"RIFF": _read_webp,
    b"BM": _read_bmp,
}
