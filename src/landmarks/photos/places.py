"""Where a photo is: its id, its path in Kaggle's layout, and its place inside a source."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

IMAGE_ID_PATTERN = r"^[0-9a-f]{16}$"
_IMAGE_ID = re.compile(IMAGE_ID_PATTERN)


@dataclass(frozen=True)
class Place:
    """Where a photo's bytes are inside its source.

    For a folder only `image_id` counts: the photo is at `train/a/b/c/<image_id>.jpg`. For an archive the
    compressed bytes of `compressed_bytes` length stand at `offset`, stored by zip `method` 0 or 8.
    """

    image_id: str
    offset: int = -1
    compressed_bytes: int = -1
    method: int = -1


def is_image_id(text: object) -> bool:
    """Whether this is a photo id: 16 hexadecimal digits, in lower case."""
    return isinstance(text, str) and _IMAGE_ID.match(text) is not None and len(text) == 16


def build_photo_path(image_id: str, part: str = "train") -> PurePosixPath:
    """The path of a photo below its source's root, as Kaggle lays it out; `part` is `train` or `test`.

    >>> str(build_photo_path("17660ef415d37059"))
    'train/1/7/6/17660ef415d37059.jpg'
    """
    return PurePosixPath(part, *image_id[:3], f"{image_id}.jpg")
