"""Sizes of photos in two containers that their decoders parse: HEIF (HEIC and AVIF) and TIFF.

Both are trees of boxes and tables that point at each other. What is read here is what the limits need: an upper bound
of the pixels. The decoders themselves turn such photos, or say how.

References:
    ISO/IEC 14496-12 (boxes), section 4.2; ISO/IEC 23008-12 (HEIF), sections 6.5.3 (`ispe`) and 10.2 (brands);
    TIFF 6.0, section 2.
"""

import struct
from collections.abc import Iterator
from itertools import islice

_MAX_BOXES = 4096  # an iPhone writes about 150, of which 60 are tiles
_AVIF_BRANDS, _HEIC_BRANDS = frozenset((b"avif", b"avis")), frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc"))
_MAX_BRANDS = 32
_MAX_FIELDS = 1000
_MAX_STRIPS = 1 << 16
_WIDTH, _HEIGHT, _STRIPS, _TILES = 0x0100, 0x0101, 0x0111, 0x0144
_LENGTHS = {1: 1, 2: 1, 3: 2, 4: 4, 16: 8}  # bytes of a value, by type: BYTE, ASCII, SHORT, LONG, LONG8


def is_avif(data: bytes) -> bool:
    """Return whether a HEIF file is coded as AVIF, by its brand, or where that is a general one by those beside it."""
    (length,) = struct.unpack_from(">I", data)
    brands = [data[8:12], *(data[start : start + 4] for start in range(16, min(length, 4 * _MAX_BRANDS), 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS or brand in _HEIC_BRANDS:
            return brand in _AVIF_BRANDS
    return False


def measure_heif(data: bytes) -> tuple[int, int]:
    """Return width and height of the largest picture in a HEIF file: the photo, unless something is crafted.

    Raises:
        ValueError: it has no picture, or too many boxes.
        struct.error: it ends inside a box.
    """
    sizes = []
    budget = [_MAX_BOXES]
    for name, start, end in _iterate_boxes(data, 0, len(data), budget):
        if name != b"meta":
            continue
        for inner, inner_start, inner_end in _iterate_boxes(data, start + 4, end, budget):
            if inner != b"iprp":
                continue
            for part, part_start, part_end in _iterate_boxes(data, inner_start, inner_end, budget):
                if part != b"ipco":
                    continue
                for prop, place, _ in _iterate_boxes(data, part_start, part_end, budget):
                    if prop == b"ispe":
                        sizes.append(struct.unpack_from(">II", data, place + 4))
    if not sizes:
        raise ValueError("it has no picture, only a film or nothing")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return width, height


def _iterate_boxes(data: bytes, start: int, end: int, budget: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the content of each box between two positions."""
    while start + 8 <= end:
        budget[0] -= 1
        if budget[0] < 0:
            raise ValueError(f"it has more than {_MAX_BOXES} boxes")
        length, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        stop = min(end, start + length) if length else end
        if length and length < head:
            raise ValueError("a box is shorter than its head")
        yield name, start + head, stop
        start = stop


def measure_tiff(data: bytes) -> tuple[int, int]:
    """Return width and height of the first picture of a TIFF file, as stored.

    Raises:
        ValueError: it has no picture, or is divided into too many strips.
        struct.error: it ends inside the table.
    """
    order = "<" if data.startswith(b"II") else ">"
    found: dict[int, int] = {}
    for tag, kind, count, place in islice(_iterate_fields(data, order), _MAX_FIELDS):
        if tag in (_STRIPS, _TILES):
            found[tag] = count
        elif tag in (_WIDTH, _HEIGHT) and kind in (3, 4, 16) and count == 1:
            (found[tag],) = struct.unpack_from(order + {3: "H", 4: "I", 16: "Q"}[kind], data, place)
    if max(found.get(_STRIPS, 0), found.get(_TILES, 0)) > _MAX_STRIPS:
        raise ValueError(f"it is divided into more than {_MAX_STRIPS} strips")
    if _WIDTH not in found or _HEIGHT not in found:
        raise ValueError("its first table names no width and height")
    return found[_WIDTH], found[_HEIGHT]


def _iterate_fields(data: bytes, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, number of values, and position of the first value of each field of the first table."""
    is_big = data[2:4] in (b"+\0", b"\0+")
    if is_big:
        (position,) = struct.unpack_from(f"{order}Q", data, 8)
        (fields,) = struct.unpack_from(f"{order}Q", data, position)
        position, entry = position + 8, struct.Struct(f"{order}HHQ8s")
    else:
        (position,) = struct.unpack_from(f"{order}I", data, 4)
        (fields,) = struct.unpack_from(f"{order}H", data, position)
        position, entry = position + 2, struct.Struct(f"{order}HHI4s")
    for number in range(fields):
        start = position + number * entry.size
        tag, kind, count, _ = entry.unpack_from(data, start)
        room = 8 if is_big else 4
        place = start + entry.size - room
        if count * _LENGTHS.get(kind, room + 1) > room:
            (place,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, place)
        yield tag, kind, count, place
