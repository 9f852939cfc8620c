"""Sample photos of a selection, decoded for the picture in its report."""

from itertools import islice

import numpy as np
import numpy.typing as npt
import pandas as pd

from landmarks.errors import DataError, ImageError
from landmarks.photos.decoding import decode_image
from landmarks.photos.places import Place
from landmarks.photos.sources import PhotoSource
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.vocabulary import Landmark
from landmarks.tables.photo_set import build_places
from landmarks.tables.selection import Selection

_LANDMARKS = 30
_PHOTOS = 5
_FORMAT = ImageFormat(image_size=96, fit="crop", max_pixels=50_000_000)


def sample_photos(selection: Selection, source: PhotoSource) -> list[tuple[Landmark, list[npt.NDArray[np.uint8]]]]:
    """Decode some training photos, uint8 (s, s, 3), of landmarks that are spread evenly over the vocabulary."""
    count = min(_LANDMARKS, len(selection.vocabulary))
    labels = np.linspace(0, len(selection.vocabulary) - 1, count, dtype=int)
    train = selection.images[selection.images["split"] == Split.TRAIN]
    # twice as many as are shown, since some may be unreadable
    rows = {label: train[train["label"] == label].head(2 * _PHOTOS) for label in labels.tolist()}
    return [(selection.vocabulary[label], _decode_first(rows[label], source)) for label in rows]


def _decode_first(rows: pd.DataFrame, source: PhotoSource) -> list[npt.NDArray[np.uint8]]:
    """Decode the first photos that can be read; `prepare` counts and reports the others."""
    photos = (_decode(source, place) for place in build_places(rows))
    return list(islice((photo for photo in photos if photo is not None), _PHOTOS))


def _decode(source: PhotoSource, place: Place) -> npt.NDArray[np.uint8] | None:
    try:
        return decode_image(source.read(place), _FORMAT)
    except (DataError, ImageError):
        return None
