"""Photo ids, their paths in Kaggle's layout, and the location of a photo inside its source."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

IMAGE_ID_PATTERN = r"^[0-9a-f]{16}$"
_IMAGE_ID = re.compile(IMAGE_ID_PATTERN)


@dataclass(frozen=True)
class Place:
    """The location of a photo inside its source.

    In a folder, only `image_id` is used: the photo is `train/a/b/c/<image_id>.jpg`. In an archive, its local header is
    at `offset`, followed by `compressed_bytes` bytes, compressed with zip `method` 0 (stored) or 8 (deflated).
    """

    image_id: str
    offset: int = -1
    compressed_bytes: int = -1
    method: int = -1


def is_image_id(text: object) -> bool:
    """Return whether a value is a photo id: 16 lower-case hexadecimal digits."""
    # The length is checked too because `$` also matches before a newline at the end.
    return isinstance(text, str) and _IMAGE_ID.match(text) is not None and len(text) == 16


def build_photo_path(image_id: str, part: str = "train") -> PurePosixPath:
    """Return the path of a photo relative to the source's root, in Kaggle's layout; `part` is `train` or `test`.

    >>> str(build_photo_path("17660ef415d37059"))
    'train/1/7/6/17660ef415d37059.jpg'
    """
    return PurePosixPath(part, *image_id[:3], f"{image_id}.jpg")
