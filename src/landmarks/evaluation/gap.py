"""GAP and top-1 for one prediction per photo, on landmark photos and distractors. NumPy only.

`compute_gap` works on arrays. The functions for dictionaries by image id, as in Kaggle's files, use it.

References:
    Weyand et al., "Google Landmarks Dataset v2", 2020, section 4 (there: micro average precision). The conventions for
    ties and missing predictions are those of the evaluation code published with that data set.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from landmarks.errors import ScoringError

_EXAMPLES = 3  # unknown ids in a message

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


class Guess(NamedTuple):
    """The predicted landmark of a photo, with its score."""

    landmark_id: int
    score: float


def compute_gap(
    scores: Floats, correct: Bools, landmark_photos: int, image_ids: Sequence[str], weights: Floats | None = None
) -> float:
    """Compute global average precision (GAP): (1/M) * sum over i of P(i) * rel(i).

    All predictions are sorted by descending score, ties by image id. P(i) is the precision of the first i predictions,
    and rel(i) is 1 if the i-th is correct, else 0. Only the order of the scores matters.

    Args:
        scores: float (n,), of the photos with a prediction.
        correct: bool (n,), whether the prediction is correct; False for distractors (non-landmark photos).
        landmark_photos: M, the number of landmark photos, with or without a prediction.
        image_ids: of the n photos, without duplicates.
        weights: float (n,), weight of each photo in P(i), for distractors that are a sample of more; 1 each if None.

    Raises:
        ScoringError: M is below 1 or below the number of correct predictions, a score is NaN, an id is repeated, or the
            lengths differ.

    >>> compute_gap(np.array([0.01, 10, 15]), np.array([False, True, False]), 3, ["02", "03", "04"])
    0.16666666666666666
    """
    _check_predictions(scores, correct, landmark_photos, image_ids)
    if not len(scores):
        return 0.0
    order = np.lexsort((np.asarray(image_ids), -scores.astype(np.float64)))
    right, counts = correct[order], np.ones(len(order)) if weights is None else weights[order]
    precisions = np.cumsum(right * counts) / np.cumsum(counts)
    return float(precisions[right].sum() / landmark_photos)


def compute_submission_gap(
    predictions: Mapping[str, Guess | None],
    solution: Mapping[str, Collection[int]],
    ignore_non_landmarks: bool = False,
) -> float:
    """Compute GAP by image id. A photo may show several landmarks, and any of them is correct.

    Args:
        predictions: by image id; None and absent photos have no prediction, but count in M.
        solution: the landmarks of every photo; empty for distractors.
        ignore_non_landmarks: leave out predictions for distractors. Otherwise each of them is wrong and lowers the
            precision of all predictions with lower scores.

    Raises:
        ScoringError: a photo is not in the solution, the solution has no landmark photos, or a score is NaN.
    """
    guesses = _list_guesses(predictions, solution)
    if ignore_non_landmarks:
        guesses = {image_id: guess for image_id, guess in guesses.items() if solution[image_id]}
    return compute_gap(
        np.array([guess.score for guess in guesses.values()], np.float64),
        np.array([guess.landmark_id in solution[image_id] for image_id, guess in guesses.items()], np.bool_),
        _count_landmark_photos(solution),
        list(guesses),
    )


def compute_submission_top1(predictions: Mapping[str, Guess | None], solution: Mapping[str, Collection[int]]) -> float:
    """Compute the top-1 accuracy over landmark photos; distractors do not count.

    Raises:
        ScoringError: a photo is not in the solution, or the solution has no landmark photos.
    """
    guesses = _list_guesses(predictions, solution)
    photos = _require_landmark_photos(_count_landmark_photos(solution))
    return sum(guess.landmark_id in solution[image_id] for image_id, guess in guesses.items()) / photos


def refuse_unknown(predictions: Mapping[str, object], solution: Mapping[str, object]) -> None:
    """Check that all photos with predictions are in the solution.

    Raises:
        ScoringError: some are not.
    """
    unknown = [image_id for image_id in predictions if image_id not in solution]
    if unknown:
        shown = ", ".join(f"{image_id!r:.60}" for image_id in unknown[:_EXAMPLES])
        raise ScoringError(
            f"{len(unknown)} predictions are for photos that the solution does not have, for example {shown}. "
            "Remove them, or use the solution that belongs to them."
        )


def _list_guesses(predictions: Mapping[str, Guess | None], solution: Mapping[str, Collection[int]]) -> dict[str, Guess]:
    refuse_unknown(predictions, solution)
    return {image_id: guess for image_id, guess in predictions.items() if guess is not None}


def _count_landmark_photos(solution: Mapping[str, Collection[int]]) -> int:
    return sum(len(landmark_ids) > 0 for landmark_ids in solution.values())


def _require_landmark_photos(landmark_photos: int) -> int:
    if landmark_photos < 1:
        raise ScoringError(
            f"GAP and top-1 divide by the number of photos that show a landmark, received {landmark_photos}. "
            "Score at least one such photo."
        )
    return landmark_photos


def _check_predictions(scores: Floats, correct: Bools, landmark_photos: int, image_ids: Sequence[str]) -> None:
    if not len(scores) == len(correct) == len(image_ids):
        raise ScoringError(
            f"Each prediction needs a score, whether it is correct, and an image id, received {len(scores)} scores, "
            f"{len(correct)} values of `correct` and {len(image_ids)} ids."
        )
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        raise ScoringError(
            f"{len(bad)} scores are NaN, the first that of photo {image_ids[bad[0]]!r:.60}. GAP sorts predictions by "
            "score, so give each a number."
        )
    if len(set(image_ids)) < len(image_ids):
        raise ScoringError(f"{len(image_ids)} predictions for {len(set(image_ids))} photos: give one for each photo.")
    if correct.sum() > _require_landmark_photos(landmark_photos):
        raise ScoringError(f"{correct.sum()} correct predictions, but only {landmark_photos} photos show a landmark.")
