"""A model that sees next to nothing: what it separates, a network deserves no praise for.

Photos of no landmark come from other places than photos of landmarks, and may differ in ways that have nothing to do
with what they show.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from landmarks.data.images import Pixels, encode_png
from landmarks.logistic import fit_balanced
from landmarks.metrics import compute_auroc

_THUMBNAIL_SIDE = 6
_PENALTY = 0.03

Floats = npt.NDArray[np.float64]


def describe_trivially(photos: Iterable[Pixels]) -> Floats:
    """How many bytes each photo takes (their logarithm), its mean colour, and a thumbnail of 6 x 6 pixels.

    Args:
        photos: uint8 (s, s, 3) each, brought to equal squares, so that shape says nothing.

    Returns:
        features: float64 (n, 112).
    """
    rows = [_describe(photo) for photo in photos]
    return np.array(rows, np.float64).reshape(len(rows), 4 + 3 * _THUMBNAIL_SIDE**2)


def measure_trivial_auroc(
    landmarks: Floats, distractors: Floats, test_landmarks: Floats, test_distractors: Floats
) -> float | None:
    """AUROC on test of a linear model fitted on val, or None where a kind of photo is missing.

    Args:
        landmarks: features of the landmark photos of val.
        distractors: features of the photos of no landmark of val.
        test_landmarks: features of the landmark photos of test.
        test_distractors: features of the photos of no landmark of test.
    """
    if not (len(landmarks) and len(distractors) and len(test_landmarks) and len(test_distractors)):
        return None
    model = fit_balanced(landmarks, distractors, _PENALTY)
    return compute_auroc(model.score(test_landmarks), model.score(test_distractors))


def _describe(photo: Pixels) -> list[float]:
    small = Image.fromarray(photo).resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
    colour = photo.reshape(-1, 3).mean(axis=0)
    return [float(np.log(len(encode_png(photo)))), *colour.tolist(), *np.asarray(small, np.float64).ravel().tolist()]
