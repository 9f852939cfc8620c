"""The interface of all networks: input images, names of the outputs, and the file name."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

KERAS_MODEL_FILE = "model.keras"
PROBABILITIES = "probabilities"
EMBEDDING = "embedding"

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Fit = Literal["crop", "stretch"]


@dataclass(frozen=True)
class ImageFormat:
    """The size and fit of the input images, and the maximum number of pixels of a photo."""

    image_size: int
    fit: Fit
    max_pixels: int
