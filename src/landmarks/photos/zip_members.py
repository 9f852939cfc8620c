"""Read photos in place from a zip: the central directory once, then single members by offset.

The `zipfile` module needs about 600 bytes of memory per entry, nearly 1 GB for the 1.6 million of Kaggle's archive.

References:
    PKWARE, ".ZIP File Format Specification" (APPNOTE), sections 4.3.7 (local header), 4.3.12 (central directory),
    4.3.14 to 4.3.16 (end of central directory, zip64) and 4.5.3 (zip64 sizes).
"""

import hashlib
import os
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
from landmarks.photos.walk import is_photo_name

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_IN_ZIP64 = 0xFFFFFFFF  # marks a value that is stored in the zip64 extra field
_BLOCK_BYTES = 1 << 20
_STORED, _DEFLATED = 0, 8
_MAX_SUFFIXES = 200
_ENCRYPTED, _SIZES_FOLLOW = 1, 8  # flag bits; with the second, the local header has no CRC-32


@dataclass(frozen=True)
class Members:
    """The photos in an archive, in the order of its central directory.

    Attributes:
        hash: uint64 (n,), of the path without its suffix; 8 bytes instead of about 80 for a text.
        suffix: uint8 (n,), the row in `suffixes`.
        offset: int64 (n,), of the local header.
        compressed_bytes: int64 (n,).
        method: int8 (n,).
        crc32: uint32 (n,).
        suffixes: the different suffixes.
    """

    hash: npt.NDArray[np.uint64]
    suffix: npt.NDArray[np.uint8]
    offset: npt.NDArray[np.int64]
    compressed_bytes: npt.NDArray[np.int64]
    method: npt.NDArray[np.int8]
    crc32: npt.NDArray[np.uint32]
    suffixes: tuple[str, ...]


def hash_path(path: bytes) -> int:
    """Return a hash of 64 bits. Reading compares the whole name, so two equal hashes cannot mix up two photos."""
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "little")


def read_directory(path: Path) -> Members:
    """List the photos of an archive, with 30 bytes of memory each.

    Raises:
        DataError: the file is not a zip, or is damaged or incomplete.
    """
    hashes, kinds, suffixes = array("Q"), array("B"), dict[bytes, int]()
    offset, compressed, method, crc32 = array("q"), array("q"), array("b"), array("I")
    try:
        with path.open("rb") as stream:
            for name, place in _iterate_entries(stream):
                stem, dot, suffix = name.rpartition(b".")
                kind = suffixes.get(suffix)
                if kind is None:
                    # there are few, whatever is in the archive: upper and lower case of known ones
                    if not is_photo_name((dot + suffix).decode("ascii", "replace")) or len(suffixes) >= _MAX_SUFFIXES:
                        continue
                    kind = suffixes[suffix] = len(suffixes)
                hashes.append(hash_path(stem))
                kinds.append(kind)
                offset.append(place[0])
                compressed.append(place[1])
                method.append(min(place[2], 127))  # fits int8; `read_member` refuses unknown methods
                crc32.append(place[3])
    except (struct.error, ValueError, OverflowError) as error:
        raise DataError(f"The archive {path} is damaged or incomplete ({error}). Download it again.") from None
    return Members(
        np.frombuffer(hashes, np.uint64),
        np.frombuffer(kinds, np.uint8),
        np.frombuffer(offset, np.int64),
        np.frombuffer(compressed, np.int64),
        np.frombuffer(method, np.int8),
        np.frombuffer(crc32, np.uint32),
        tuple(f".{suffix.decode('ascii')}" for suffix in suffixes),
    )


def iterate_names(path: Path) -> Iterator[str]:
    """Yield the name of every member of an archive that `read_directory` can read."""
    with path.open("rb") as stream:
        for name, _ in _iterate_entries(stream):
            yield name.decode("utf-8", "replace")


def read_member(path: Path, name: str, place: Place, max_bytes: int) -> bytes:
    """Read one member of an archive, without the central directory.

    Raises:
        DataError: another member is at `place`, or the member is encrypted, damaged or larger than `max_bytes`.
    """
    if place.compressed_bytes > max_bytes:
        raise DataError(f"The photo has {place.compressed_bytes} compressed bytes, more than the {max_bytes} allowed.")
    with path.open("rb") as stream:
        stream.seek(place.offset)
        written = name.encode()
        head = stream.read(_LOCAL.size + len(written))
        if head[:4] != b"PK\3\4" or head[_LOCAL.size :] != written:
            raise DataError("The archive has changed since it was indexed. Run `dvc repro -f acquire`.")
        _, _, flags, method, _, _, crc, _, _, name_length, extra_length = _LOCAL.unpack_from(head)
        if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
            raise DataError("The photo is encrypted, or compressed with a method other than store and deflate.")
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
        # One more byte tells a photo of exactly `max_bytes` from a larger one.
        rest = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error:
        raise DataError("The photo is damaged inside the archive.") from None
    if rest:
        raise DataError(f"The photo decompresses to more than the {max_bytes} bytes allowed.")
    if not inflater.eof:
        raise DataError("The photo is damaged inside the archive.")
    return data


def _iterate_entries(stream: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int, int, int]]]:
    """Yield the name and (offset, compressed bytes, method, CRC-32) of each entry of the central directory."""
    start, left, shift = _find_directory(stream)
    stream.seek(start)
    block, position = b"", 0
    while left or position < len(block):
        # An entry has three fields of up to 65535 bytes: name, extra and comment.
        if len(block) - position < _ENTRY.size + 3 * 0xFFFF and left:
            fresh = stream.read(min(_BLOCK_BYTES, left))
            left -= len(fresh)
            block, position = block[position:] + fresh, 0
        fields = _ENTRY.unpack_from(block, position)
        if fields[0] != b"PK\1\2":
            raise ValueError("its central directory has an invalid entry")
        name_end = position + _ENTRY.size + fields[10]
        extra_end = name_end + fields[11]
        packed, unpacked, offset = fields[8], fields[9], fields[16]
        if _IN_ZIP64 in (packed, unpacked, offset):
            packed, offset = _read_zip64(block[name_end:extra_end], unpacked, packed, offset)
        yield block[position + _ENTRY.size : name_end], (offset + shift, packed, fields[4], fields[7])
        position = extra_end + fields[12]


def _read_zip64(extra: bytes, unpacked: int, packed: int, offset: int) -> tuple[int, int]:
    """Return compressed size and offset; the zip64 field holds only the values that did not fit, in this order."""
    position = 0
    while position < len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            try:
                _, packed, offset = (next(values) if v == _IN_ZIP64 else v for v in (unpacked, packed, offset))
            except RuntimeError:  # StopIteration inside the generator expression: too few values
                raise ValueError("a zip64 field is too short") from None
            return packed, offset
        position += 4 + length
    return packed, offset


def _find_directory(stream: BinaryIO) -> tuple[int, int, int]:
    """Return start and size of the central directory, and the shift to add to every offset."""
    length = stream.seek(0, os.SEEK_END)
    tail_start = max(0, length - _END.size - 0xFFFF - _END64.size - _END64_LOCATOR.size)
    stream.seek(tail_start)
    tail = stream.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0:
        raise ValueError("it has no central directory at its end")
    _, disk, _, _, _, size, start, _ = _END.unpack_from(tail, end)
    end += tail_start
    locator = end - _END64_LOCATOR.size - tail_start
    if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
        end, size, start = _find_zip64(stream, end)
    if disk not in (0, 0xFFFF):
        raise ValueError("it is one part of a multi-part archive")
    shift = end - size - start  # not 0 if other data precedes the archive, as in a self-extracting one
    if shift < 0:
        raise ValueError("its central directory is not at the recorded offset")
    return start + shift, size, shift


def _find_zip64(stream: BinaryIO, end: int) -> tuple[int, int, int]:
    """Return end, size and start of the central directory from the zip64 record."""
    position = end - _END64_LOCATOR.size - _END64.size
    stream.seek(max(0, position))
    fields = _END64.unpack(stream.read(_END64.size))
    if position < 0 or fields[0] != b"PK\6\6":
        raise ValueError("its zip64 record is missing")
    return position, fields[8], fields[9]
