"""The pyfunc flavour of a registered version: names and confidences for photos through MLflow's common interface.

MLflow imports this module by name where a version is loaded with `mlflow.pyfunc.load_model` or served with
`mlflow models serve --env-manager local`. So a version holds no code, and this package must be installed there.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from landmarks.errors import ImageError
from landmarks.recognizer.answers import COLUMNS, build_row
from landmarks.recognizer.recognizer import Photo, Recognition, Recognizer

PHOTO_COLUMN = "photo"
ANSWER_COLUMNS = {
    name: {"is_landmark": "boolean", "confidence": "double", "landmark_score": "double", "threshold": "double"}.get(
        name, "string"
    )
    for name in COLUMNS[1:]
}
_DIMENSIONS = 3
_WHITE = 255


class PhotoModel:
    """Answers tables of photos, as MLflow asks its models."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Recognize the landmarks in photos.

        Args:
            model_input: a table with a column `photo`: encoded photos, as bytes or as base64 text, or pixels, uint8
                (height, width, 3) of any size.
            params: none are known; MLflow passes them.

        Returns:
            One row per photo, with the columns of `landmarks classify --csv` after the path. A photo that cannot be
            read has the reason in `error`, and None in all other columns.
        """
        rows = [build_row(self._answer(photo)) for photo in model_input[PHOTO_COLUMN]]
        # objects keep None, which JSON has a word for; the columns of numbers and texts would hold NaN
        return pd.DataFrame(rows, columns=list(ANSWER_COLUMNS), dtype=object)

    def _answer(self, photo: Any) -> Recognition | ImageError:
        try:
            return self._recognizer.classify([_read(photo)], k=1)[0]
        except ImageError as error:
            return error


def _read(photo: Any) -> Photo:
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str):
        try:
            return base64.b64decode(photo, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ImageError(f"A photo that is text has to be base64: {error}.") from error
    return Image.fromarray(_read_pixels(photo))


def _read_pixels(photo: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        pixels = np.asarray(photo)
    except ValueError as error:  # lists of different lengths
        raise ImageError(f"Pixels have to be (height, width, 3): {error}.", "unsupported") from error
    if pixels.ndim != _DIMENSIONS or pixels.shape[-1] != _DIMENSIONS or not pixels.size:
        raise ImageError(f"Pixels have to be (height, width, 3), received {pixels.shape}.", "unsupported")
    if pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > _WHITE:
        raise ImageError(f"Pixels have to be whole numbers from 0 to {_WHITE}, received {pixels.dtype}.", "unsupported")
    return pixels.astype(np.uint8)


def _load_pyfunc(path: str) -> PhotoModel:
    """Load the recognizer of a version; MLflow calls it with the folder that the flavour names as its data.

    Raises:
        ArtifactError: a file is missing or was altered.
    """
    return PhotoModel(Recognizer.load(Path(path)))
