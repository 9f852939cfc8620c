"""RAW photos, drawn: a mosaic of one grey, and a preview."""

import io
import struct

import numpy as np
from PIL import Image

_SHORT, _LONG, _BYTE, _ASCII = 3, 4, 1, 2
_WIDTHS = {_SHORT: "H", _LONG: "I", _BYTE: "B"}


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
