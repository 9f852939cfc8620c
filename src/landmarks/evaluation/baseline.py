"""The shortcut baseline: OOD detection by a linear model on file size and colour alone.

Distractors (non-landmark photos) come from other sources than landmark photos, and may differ in ways that have nothing
to do with what they show. If this baseline reaches the AUROC of a recognizer, that AUROC means little.

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
_PENALTY = 0.03  # L2 penalty, for 112 features on a few hundred photos

Floats = npt.NDArray[np.float64]


def describe_photos(photos: Iterable[Pixels]) -> Floats:
    """Compute the features of the baseline: the log of the PNG size, the mean colour, and a 6 x 6 thumbnail.

    Args:
        photos: uint8 (s, s, 3) each; all of one size, so that size cannot be a feature.

    Returns:
        features: float64 (n, 112).
    """
    rows = []
    for photo in photos:
        small = Image.fromarray(photo).resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
        colour, pixels = photo.reshape(-1, 3).mean(axis=0), np.asarray(small, np.float64).ravel()
        rows.append([float(np.log(len(encode_png(photo)))), *colour.tolist(), *pixels.tolist()])
    return np.array(rows, np.float64).reshape(len(rows), 4 + 3 * _THUMBNAIL_SIDE**2)


def measure_baseline_auroc(
    landmarks: Floats, distractors: Floats, test_landmarks: Floats, test_distractors: Floats
) -> float | None:
    """Compute the AUROC on test of a linear model fitted on val; None if one of the four sets is empty.

    Args:
        landmarks: float64 (n, 112), features of the val photos.
        distractors: float64 (n, 112), features of the val distractors.
        test_landmarks: float64 (n, 112), features of the test photos.
        test_distractors: float64 (n, 112), features of the test distractors.
    """
    if not (len(landmarks) and len(distractors) and len(test_landmarks) and len(test_distractors)):
        return None
    model = fit_balanced(landmarks, distractors, _PENALTY)
    return compute_auroc(model.score(test_landmarks), model.score(test_distractors))
