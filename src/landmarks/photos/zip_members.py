"""Reading photos in place out of a zip: its directory once, then single members by their offset.

The `zipfile` module keeps about 600 bytes of memory for every entry, and Kaggle's archive has 1.6 million of them.

References:
    PKWARE, ".ZIP File Format Specification" (APPNOTE), sections 4.3.7 (local header), 4.3.12 (central directory),
    4.3.14 to 4.3.16 (its end, zip64) and 4.5.3 (zip64 sizes).
"""

import os
import re
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from landmarks.errors import DataError
from landmarks.photos.places import Place

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_SMALL = 0xFFFFFFFF  # says that the true value is in the zip64 field
_BLOCK_BYTES = 1 << 20
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _SIZES_FOLLOW = 1, 8


@dataclass(frozen=True)
class Members:
    """The photos in an archive, in the order of its directory.

    number: uint64 (n,), the image id read as a hexadecimal number; offset, compressed_bytes: int64 (n,);
    method: int8 (n,); crc32: uint32 (n,).
    """

    number: npt.NDArray[np.uint64]
    offset: npt.NDArray[np.int64]
    compressed_bytes: npt.NDArray[np.int64]
    method: npt.NDArray[np.int8]
    crc32: npt.NDArray[np.uint32]


def read_directory(path: Path, prefix: str = "") -> Members:
    """Find every `<prefix>train/a/b/c/<id>.jpg` in an archive, with 29 bytes of memory for each.

    Raises:
        DataError: the file is no zip, or is damaged or incomplete.
    """
    letters = rb"train/([0-9a-f])/([0-9a-f])/([0-9a-f])/(\1\2\3[0-9a-f]{13})\.jpg"
    photo = re.compile(re.escape(prefix.encode()) + letters)
    number, offset, compressed, method, crc32 = array("Q"), array("q"), array("q"), array("b"), array("I")
    try:
        with path.open("rb") as stream:
            for name, place in _iterate_entries(stream):
                if match := photo.fullmatch(name):
                    number.append(int(match[4], 16))
                    offset.append(place[0])
                    compressed.append(place[1])
                    method.append(min(place[2], 127))
                    crc32.append(place[3])
    except (struct.error, ValueError, OverflowError) as error:
        raise DataError(f"The archive {path} is damaged or incomplete ({error}). Fetch it again.") from None
    return Members(
        np.frombuffer(number, np.uint64),
        np.frombuffer(offset, np.int64),
        np.frombuffer(compressed, np.int64),
        np.frombuffer(method, np.int8),
        np.frombuffer(crc32, np.uint32),
    )


def read_member(path: Path, name: str, place: Place, max_bytes: int) -> bytes:
    """Read one member of an archive, without its directory.

    Raises:
        DataError: something else stands at `place`, or the member is encrypted, damaged or larger than `max_bytes`.
    """
    if place.compressed_bytes > max_bytes:
        raise DataError(f"The photo has {place.compressed_bytes} bytes packed, more than the {max_bytes} allowed.")
    with path.open("rb") as stream:
        stream.seek(place.offset)
        head = stream.read(_LOCAL.size + len(name))
        if head[:4] != b"PK\3\4" or head[_LOCAL.size :] != name.encode():
            raise DataError("The archive has changed since it was indexed. Run `dvc repro -f acquire`.")
        _, _, flags, method, _, _, crc, _, _, name_length, extra_length = _LOCAL.unpack_from(head)
        if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
            raise DataError("The photo is encrypted, or packed by a method other than store and deflate.")
        stream.seek(place.offset + _LOCAL.size + name_length + extra_length)
        packed = stream.read(place.compressed_bytes)
    data = packed if method == _STORED else _inflate(packed, max_bytes)
    if len(packed) < place.compressed_bytes or (not flags & _SIZES_FOLLOW and zlib.crc32(data) != crc):
        raise DataError("The photo is damaged inside the archive.")
    return data


def _inflate(packed: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, max_bytes)
        rest = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error:
        raise DataError("The photo is damaged inside the archive.") from None
    if rest:
        raise DataError(f"The photo unpacks to more than the {max_bytes} bytes allowed.")
    if not inflater.eof:
        raise DataError("The photo is damaged inside the archive.")
    return data


def _iterate_entries(stream: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int, int, int]]]:
    """Name and (offset, compressed bytes, method, CRC-32) of each entry of the central directory, a block at a time."""
    start, left, shift = _find_directory(stream)
    stream.seek(start)
    block, position = b"", 0
    while left or position < len(block):
        if len(block) - position < _ENTRY.size + 3 * 0xFFFF and left:
            fresh = stream.read(min(_BLOCK_BYTES, left))
            left -= len(fresh)
            block, position = block[position:] + fresh, 0
        fields = _ENTRY.unpack_from(block, position)
        if fields[0] != b"PK\1\2":
            raise ValueError("an entry of its directory is not one")
        name_end = position + _ENTRY.size + fields[10]
        extra_end = name_end + fields[11]
        packed, unpacked, offset = fields[8], fields[9], fields[16]
        if _SMALL in (packed, unpacked, offset):
            packed, offset = _read_zip64(block[name_end:extra_end], unpacked, packed, offset)
        yield block[position + _ENTRY.size : name_end], (offset + shift, packed, fields[4], fields[7])
        position = extra_end + fields[12]


def _read_zip64(extra: bytes, unpacked: int, packed: int, offset: int) -> tuple[int, int]:
    """The true compressed size and offset; the field holds only those values that did not fit, in this order."""
    position = 0
    while position < len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            try:
                _, packed, offset = (next(values) if v == _SMALL else v for v in (unpacked, packed, offset))
            except RuntimeError:  # the generator met the end of the values
                raise ValueError("a zip64 field is too short") from None
            return packed, offset
        position += 4 + length
    return packed, offset


def _find_directory(stream: BinaryIO) -> tuple[int, int, int]:
    """Start and size of the central directory, and what to add to every offset."""
    length = stream.seek(0, os.SEEK_END)
    tail_start = max(0, length - _END.size - 0xFFFF - _END64.size - _END64_LOCATOR.size)
    stream.seek(tail_start)
    tail = stream.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0:
        raise ValueError("it has no directory at its end")
    _, disk, _, _, _, size, start, _ = _END.unpack_from(tail, end)
    end += tail_start
    locator = end - _END64_LOCATOR.size - tail_start
    if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
        end, size, start = _find_zip64(stream, end)
    if disk not in (0, 0xFFFF):
        raise ValueError("it is one part of several")
    shift = end - size - start  # something may stand before the archive in its file
    if shift < 0:
        raise ValueError("its directory is not where it says")
    return start + shift, size, shift


def _find_zip64(stream: BinaryIO, end: int) -> tuple[int, int, int]:
    """End, size and start of the directory, from the record of a large archive."""
    position = end - _END64_LOCATOR.size - _END64.size
    stream.seek(max(0, position))
    fields = _END64.unpack(stream.read(_END64.size))
    if position < 0 or fields[0] != b"PK\6\6":
        raise ValueError("its zip64 directory is not where it should be")
    return position, fields[8], fields[9]
