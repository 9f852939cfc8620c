"""What all networks have in common: the images that go in, the names of what comes out, and the name of the file."""

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
    """What every image is brought to, and the most pixels a photo may have."""

    image_size: int
    fit: Fit
    max_pixels: int
