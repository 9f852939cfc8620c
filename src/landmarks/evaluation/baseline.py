"""The shortcut baseline: OOD detection by a linear model on file size, sharpness and colour alone.

Distractors (non-landmark photos) come from other sources than landmark photos, and may differ in ways that have nothing
to do with what they show. If this baseline reaches the AUROC of a recognizer, that AUROC means little.

References:
    Geirhos et al., "Shortcut Learning in Deep Neural Networks", 2020.
    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000 (the variance of the Laplacian).
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
_PENALTY = 0.03  # L2 penalty, for 113 features on a few hundred photos

Floats = npt.NDArray[np.float64]


def describe_photos(photos: Iterable[Pixels]) -> Floats:
    """Compute the features: the logs of the PNG size and of the sharpness, the mean colour, and a 6 x 6 thumbnail.

    Args:
        photos: uint8 (s, s, 3) each; all of one size, so that size cannot be a feature.

    Returns:
        features: float64 (n, 113).
    """
    rows = []
    for photo in photos:
        small = Image.fromarray(photo).resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
        colour, pixels = photo.reshape(-1, 3).mean(axis=0), np.asarray(small, np.float64).ravel()
        logs = np.log(len(encode_png(photo))), np.log1p(_measure_sharpness(photo))
        rows.append([*map(float, logs), *colour.tolist(), *pixels.tolist()])
    return np.array(rows, np.float64).reshape(len(rows), 5 + 3 * _THUMBNAIL_SIDE**2)


def _measure_sharpness(photo: Pixels) -> float:
    """Measure the variance of the Laplacian of a photo in grey."""
    grey = photo.mean(axis=2)
    across = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1]
    return float(np.var(across - 4.0 * grey[1:-1, 1:-1]))


def measure_baseline_auroc(
    landmarks: Floats, distractors: Floats, test_landmarks: Floats, test_distractors: Floats
) -> float | None:
    """Compute the AUROC on test of a linear model fitted on val; None if one of the four sets is empty.

    Args:
        landmarks: float64 (n, 113), features of the val photos.
        distractors: float64 (n, 113), features of the val distractors.
        test_landmarks: float64 (n, 113), features of the test photos.
        test_distractors: float64 (n, 113), features of the test distractors.
    """
    if not (len(landmarks) and len(distractors) and len(test_landmarks) and len(test_distractors)):
        return None
    model = fit_balanced(landmarks, distractors, _PENALTY)
    return compute_auroc(model.score(test_landmarks), model.score(test_distractors))
