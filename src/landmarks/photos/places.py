"""Photo ids, their paths in Kaggle's layout, and the location of a photo inside its source."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

MAX_ID_BYTES = 1024  # of UTF-8; a longer path is none on most systems
_CONTROL = r"\x00-\x1f\x7f\\"
# No part of the path is empty, `.` or `..`, so that it lies below its root and has one spelling.
PHOTO_ID_PATTERN = rf"^(?!(?:.*/)?\.{{0,2}}(?:/|\Z))[^{_CONTROL}]+\Z"
_PHOTO_ID = re.compile(PHOTO_ID_PATTERN)


@dataclass(frozen=True)
class Place:
    """The location of a photo inside its source.

    Attributes:
        image_id: the photo's id.
        path: relative to the source's root: of the file, of the zip member, or of the file that has the row.
        offset: of the local header in an archive; the row in a data set of Hugging Face; else -1.
        compressed_bytes: what is to be read, or -1 if the photo is missing.
        method: of a zip member, 0 (stored) or 8 (deflated); else -1.
    """

    image_id: str
    path: str = ""
    offset: int = -1
    compressed_bytes: int = -1
    method: int = -1


def is_photo_id(text: object) -> bool:
    """Return whether a value is a photo id: a file name, or a relative path with `/` that leads nowhere above.

    It has no control characters and no backslashes, no part that is empty, `.` or `..`, and at most 1,024 bytes.
    """
    return isinstance(text, str) and _PHOTO_ID.match(text) is not None and _fits(text)


def _fits(text: str) -> bool:
    try:
        return len(text.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:  # bytes of a file name that are not UTF-8
        return False


def is_file_id(text: object) -> bool:
    """Return whether a photo id can be a file name in Kaggle's layout: it has no `/`."""
    return isinstance(text, str) and "/" not in text and is_photo_id(text)


def build_photo_path(image_id: str, part: str = "train", suffix: str = ".jpg") -> PurePosixPath:
    """Return the path of a photo relative to the source's root, in Kaggle's layout; `part` is `train` or `test`.

    >>> str(build_photo_path("17660ef415d37059"))
    'train/1/7/6/17660ef415d37059.jpg'
    """
    return PurePosixPath(part, *image_id[:3], f"{image_id}{suffix}")
