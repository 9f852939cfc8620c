"""From the bytes of a photo to the square the network sees: one way, for shards, command line and service alike."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageFormat:
    """What every image is brought to, and the most pixels a photo may have."""

    image_size: int
    fit: Literal["crop", "stretch"]
    max_pixels: int


def decode_image(data: bytes, target: ImageFormat) -> Pixels:
    """Decode a photo and bring it to the square of `target`.

    Returns:
        RGB: uint8 (image_size, image_size, 3).

    Raises:
        ImageError: the bytes are no image, are damaged, or have more than `target.max_pixels` pixels.
    """
    raise NotImplementedError
