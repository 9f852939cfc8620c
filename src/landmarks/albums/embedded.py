"""What a photo file itself says: its keywords, in XMP and in IPTC, and whether it has a place.

A sidecar takes the place of the keywords in the photo for most programs, so a new one has to begin with them.

References:
    IPTC-IIM 4.2, datasets 1:90 (character set) and 2:25 (keywords); XMP specification part 3, section 1.1 (where the
    packet stands in each format).
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, IptcImagePlugin
from PIL.PngImagePlugin import PngImageFile

from landmarks.albums.keywords import Embedded
from landmarks.albums.xmp import Sidecar, SidecarError
from landmarks.errors import ImageError
from landmarks.photos.decoding import open_undecoded
from landmarks.photos.walk import read_photo

_CHARACTER_SET, _KEYWORDS = (1, 90), (2, 25)
_UTF8 = b"\x1b%G"
_GPS, _GPS_LATITUDE = 0x8825, 2
_MAX_KEYWORDS = 1000
_XMP_TAG = 700  # of TIFF


def read_embedded(path: Path) -> Embedded:
    """Read the keywords and the place of a photo; what cannot be read counts as absent."""
    try:
        data = read_photo(path)
        with open_undecoded(data) as image:
            return _read_image(image)
    except ImageError:
        return Embedded()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - Pillow's parsers of metadata raise many types, and the photo was answered before
        return Embedded()


def _read_image(image: Image.Image) -> Embedded:
    packet = None
    with suppress(SidecarError):
        packet = Sidecar.parse(data) if (data := _find_xmp(image)) else None
    has_place = packet is not None and packet.has_place()
    with suppress(Exception):  # as above
        has_place = has_place or _GPS_LATITUDE in image.getexif().get_ifd(_GPS)
    return Embedded(packet.read_keywords() if packet else {}, tuple(_read_iptc(image)), has_place)


def _find_xmp(image: Image.Image) -> bytes | None:
    if isinstance(image, PngImageFile):
        image.load()  # it may stand behind the picture
    found: Any = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or image.getexif().get(_XMP_TAG)
    return found.encode() if isinstance(found, str) else found if isinstance(found, bytes) else None


def _read_iptc(image: Any) -> Iterator[str]:
    found: Any = None
    with suppress(Exception):  # as above
        found = IptcImagePlugin.getiptcinfo(image)
    if not found:
        return
    values = found.get(_KEYWORDS, [])
    encoding = "utf-8" if found.get(_CHARACTER_SET) == _UTF8 else None
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
