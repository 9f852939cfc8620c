"""What a photo file itself says: its keywords, in XMP and in IPTC, and whether it has a place.

A sidecar takes the place of the keywords in the photo for most programs, so a new one has to begin with them.

References:
    IPTC-IIM 4.2, datasets 1:90 (character set) and 2:25 (keywords); XMP specification part 3, section 1.1 (where the
    packet stands in each format).
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

from PIL import Image, IptcImagePlugin
from PIL.PngImagePlugin import PngImageFile

from landmarks.albums.keywords import Embedded
from landmarks.albums.xmp import MAX_SIDECAR_BYTES, Sidecar, SidecarError
from landmarks.errors import ImageError
from landmarks.photos.decoding import open_undecoded
from landmarks.photos.raw import is_raw_name
from landmarks.photos.walk import read_photo

_CHARACTER_SET, _KEYWORDS = (1, 90), (2, 25)
_UTF8 = b"\x1b%G"
_GPS, _GPS_LATITUDE = 0x8825, 2
_MAX_KEYWORDS = 1000
_XMP_TAG, _IPTC_TAG = 700, 33723  # of TIFF
_TIFF_HEADERS = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"IIU\0")  # the last three of Olympus and Panasonic
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_WIDE = (4, 9, 13)  # kinds of values that have four bytes each; what is looked for has one otherwise
_DATASET = 0x1C  # how each begins


def read_embedded(path: Path) -> Embedded:
    """Read the keywords and the place of a photo; what cannot be read counts as absent."""
    try:
        if is_raw_name(path.name) and path.is_file() and (found := _read_raw(path)):
            return found
        data = read_photo(path)
        with open_undecoded(data) as image:
            return _read_image(image)
    except ImageError:
        return Embedded()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers of metadata raise many types, and the photo was answered before
        return Embedded()


def _read_raw(path: Path) -> Embedded | None:
    """Read the first directory of a RAW photo that is built as a TIFF; of others, the preview says as much."""
    with path.open("rb") as stream:
        header = stream.read(8)
        if header[:4] not in _TIFF_HEADERS:
            return None
        order = _ORDERS[header[:2]]
        first = _read_directory(stream, order, header[4:])
        place = _read_directory(stream, order, first[_GPS]) if _GPS in first else {}
    return _join(first.get(_XMP_TAG), _split_iptc(first.get(_IPTC_TAG, b"")), _GPS_LATITUDE in place)


def _read_directory(stream: BinaryIO, order: Literal["little", "big"], start: bytes) -> dict[int, bytes]:
    """Read what is looked for in a directory of a TIFF, as bytes."""

    def read(count: int, place: int) -> bytes:
        stream.seek(place)
        return stream.read(min(count, MAX_SIDECAR_BYTES))

    place = int.from_bytes(start, order)
    entries = read(12 * int.from_bytes(read(2, place), order), place + 2)
    found = {}
    for at in range(0, len(entries), 12):
        tag, kind = (int.from_bytes(entries[at + part : at + part + 2], order) for part in (0, 2))
        if tag in (_XMP_TAG, _IPTC_TAG, _GPS, _GPS_LATITUDE):
            size = int.from_bytes(entries[at + 4 : at + 8], order) * (4 if kind in _WIDE else 1)
            value = entries[at + 8 : at + 12]
            found[tag] = read(size, int.from_bytes(value, order)) if size > len(value) else value
    return found


def _split_iptc(data: bytes) -> dict[tuple[int, int], Any]:
    """Return the values of datasets by their numbers, as Pillow does."""
    found: dict[tuple[int, int], Any] = {}
    start = 0
    while len(data) >= start + 5 and data[start] == _DATASET:
        end = start + 5 + int.from_bytes(data[start + 3 : start + 5], "big")
        found.setdefault((data[start + 1], data[start + 2]), []).append(data[start + 5 : end])
        start = end
    if _CHARACTER_SET in found:
        found[_CHARACTER_SET] = found[_CHARACTER_SET][0]
    return found


def _read_image(image: Image.Image) -> Embedded:
    has_place, iptc = False, None
    xmp = _find_xmp(image)
    with suppress(Exception):  # as above
        has_place = _GPS_LATITUDE in image.getexif().get_ifd(_GPS)
    with suppress(Exception):
        iptc = IptcImagePlugin.getiptcinfo(image)  # type: ignore[arg-type]
    return _join(xmp, iptc or {}, has_place)


def _join(xmp: Any, iptc: Mapping[tuple[int, int], Any], has_place: bool) -> Embedded:
    packet = None
    if xmp and isinstance(xmp, str | bytes):
        with suppress(SidecarError):
            packet = Sidecar.parse(xmp.encode() if isinstance(xmp, str) else xmp)
    keywords = packet.read_keywords() if packet else {}
    return Embedded(keywords, tuple(_list_keywords(iptc)), has_place or (packet is not None and packet.has_place()))


def _find_xmp(image: Image.Image) -> Any:
    if isinstance(image, PngImageFile):
        image.load()  # it may stand behind the picture
    return image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or image.getexif().get(_XMP_TAG)


def _list_keywords(iptc: Mapping[tuple[int, int], Any]) -> Iterator[str]:
    values = iptc.get(_KEYWORDS, [])
    encoding = "utf-8" if iptc.get(_CHARACTER_SET) == _UTF8 else None
    for value in (values if isinstance(values, list) else [values])[:_MAX_KEYWORDS]:
        if text := _decode_text(value, encoding):
            yield text


def _decode_text(value: bytes, encoding: str | None) -> str:
    """Decode a keyword; without a character set most programs write UTF-8, and old ones Latin-1."""
    try:
        text = value.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return "".join(letter for letter in text if letter.isprintable()).strip()
