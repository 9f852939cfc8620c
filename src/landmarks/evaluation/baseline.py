"""The shortcut baseline: how well a linear model on file size and colour separates landmarks from distractors.

Distractors come from other sources than photos of landmarks, and may differ in ways that have nothing to do with what
they show. The AUROC of a recognizer means little where this baseline reaches it.

References:
    Geirhos et al., "Shortcut Learning in Deep Neural Networks", 2020.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from landmarks.evaluation.metrics import compute_auroc
from landmarks.export.fitting import fit_balanced
from landmarks.schema.network_format import Pixels
from landmarks.shards.format import encode_png

_THUMBNAIL_SIDE = 6
_PENALTY = 0.03

Floats = npt.NDArray[np.float64]


def describe_photos(photos: Iterable[Pixels]) -> Floats:
    """The features of the baseline: the logarithm of the bytes of a photo, its mean colour, and 6 x 6 pixels of it.

    Args:
        photos: uint8 (s, s, 3) each, brought to equal squares, so that shape says nothing.

    Returns:
        features: float64 (n, 112).
    """
    rows = [_describe(photo) for photo in photos]
    return np.array(rows, np.float64).reshape(len(rows), 4 + 3 * _THUMBNAIL_SIDE**2)


def measure_baseline_auroc(
    landmarks: Floats, distractors: Floats, test_landmarks: Floats, test_distractors: Floats
) -> float | None:
    """AUROC on test of a linear model fitted on val, or None where a kind of photo is missing.

    Args:
        landmarks: features of the val photos.
        distractors: features of the val distractors.
        test_landmarks: features of the test photos.
        test_distractors: features of the test distractors.
    """
    if not (len(landmarks) and len(distractors) and len(test_landmarks) and len(test_distractors)):
        return None
    model = fit_balanced(landmarks, distractors, _PENALTY)
    return compute_auroc(model.score(test_landmarks), model.score(test_distractors))


def _describe(photo: Pixels) -> list[float]:
    small = Image.fromarray(photo).resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
    colour = photo.reshape(-1, 3).mean(axis=0)
    return [float(np.log(len(encode_png(photo)))), *colour.tolist(), *np.asarray(small, np.float64).ravel().tolist()]
