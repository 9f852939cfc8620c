"""Find out how a photo is turned, from its Exif or XMP metadata.

References:
    CIPA DC-008 (Exif 2.32), section 4.6.4: tag 0x0112 of the 0th image file directory; TIFF 6.0, section 2, for the
    types of its value; Adobe, "XMP Specification", part 2, for `tiff:Orientation`.
"""

import re
import struct
from collections.abc import Iterator, Sequence

EXIF_PREFIX = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"

MAX_EXIF_BLOCKS = 16  # a megabyte in a JPEG, whose segments have up to 64 KiB each

_TAG = 0x0112
# One value of each integer type, signed or not: BYTE, SHORT, LONG, SBYTE, SSHORT, SLONG, IFD.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
_MAX_FIELDS = 1000  # cameras write about 15
_MAX_XMP_BYTES = 1 << 20
# an attribute or an element
_XMP_VALUE = re.compile(rb"""tiff:Orientation\s{0,9}(?:=\s{0,9}["']|>)\s{0,9}([1-8])\s{0,9}["'<]""")


def choose_orientation(exif: Sequence[bytes], xmp: Sequence[bytes]) -> int:
    """Return the first valid orientation: of the Exif blocks in their order, else of the XMP packets, else 1.

    Args:
        exif: Exif blocks, with or without `EXIF_PREFIX`. A block may continue the one before it.
        xmp: XMP packets in UTF-8.
    """
    blocks = [block.removeprefix(EXIF_PREFIX) for block in exif[:MAX_EXIF_BLOCKS]]
    if len(blocks) > 1:
        blocks.append(b"".join(blocks))
    for tiff in blocks:
        for value in _read_exif(tiff):
            return value
    for packet in xmp[:MAX_EXIF_BLOCKS]:
        if found := _XMP_VALUE.search(packet, 0, _MAX_XMP_BYTES):
            return int(found[1])
    return 1


def _read_exif(tiff: bytes) -> Iterator[int]:
    """Yield the valid orientations of an Exif block."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return
    (position,) = struct.unpack_from(f"{order}I", tiff, 4)
    (fields,) = struct.unpack(f"{order}H", tiff[position : position + 2].ljust(2, b"\0"))
    entries = tiff[position + 2 :][: 12 * min(fields, _MAX_FIELDS)]
    for tag, kind, count, value in struct.iter_unpack(f"{order}HHI4s", entries[: len(entries) // 12 * 12]):
        if tag == _TAG and count >= 1 and kind in _INTEGERS:
            (orientation,) = struct.unpack_from(order + _INTEGERS[kind], value)
            if 1 <= orientation <= 8:
                yield orientation
