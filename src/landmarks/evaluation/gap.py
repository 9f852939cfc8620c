"""GAP and top-1: how good one prediction per photo is, when some photos show no landmark. NumPy only.

`compute_gap` works on arrays; the functions that take dictionaries by photo id, as Kaggle's files give them, use it.

References:
    Weyand et al., "Google Landmarks Dataset v2", 2020, section 4 (there: micro average precision). The conventions for
    ties and for what is missing are those of the evaluation code published with that data set.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from landmarks.errors import ScoringError

_EXAMPLES = 3

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


class Guess(NamedTuple):
    """The one landmark a photo is said to show; a higher score means more certain."""

    landmark_id: int
    score: float


def compute_gap(
    scores: Floats, correct: Bools, landmark_photos: int, image_ids: Sequence[str], weights: Floats | None = None
) -> float:
    """Global average precision of one prediction per photo: (1/M) * sum over i of P(i) * rel(i).

    All predictions are sorted together, by score from the highest, equal scores by image id (the convention goes on by
    class, but one photo has one prediction). P(i) is the part of right ones among the first i, rel(i) whether the i-th
    is right. Only the order of the scores matters.

    Args:
        scores: float (n,), of the photos that have a prediction.
        correct: bool (n,), whether it is right; never for a photo that shows no landmark.
        landmark_photos: M, the photos that show a landmark, with a prediction or without.
        image_ids: of the n photos, no two alike.
        weights: float (n,), as how many photos each counts in P(i); one each where None. For photos of no landmark that
            stand for more of their kind.

    Raises:
        ScoringError: M is below 1 or below the number of right predictions, a score is NaN, an id is repeated, or the
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
    """`compute_gap` by image id. A photo may show several landmarks, and any of them is right.

    Args:
        predictions: None, like a photo that is absent, stands for no prediction; it still counts in M.
        solution: the landmarks in every photo; none for a photo of no landmark.
        ignore_non_landmarks: leave out predictions for photos of no landmark. Without it each is wrong and lowers the
            precision of all that come after it.

    Raises:
        ScoringError: a photo is not in the solution, no photo there shows a landmark, or a score is NaN.
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
    """Part of the photos that show a landmark whose prediction is right; photos of none do not count.

    Raises:
        ScoringError: a photo is not in the solution, or no photo there shows a landmark.
    """
    guesses = _list_guesses(predictions, solution)
    photos = _require_landmark_photos(_count_landmark_photos(solution))
    return sum(guess.landmark_id in solution[image_id] for image_id, guess in guesses.items()) / photos


def refuse_unknown(predictions: Mapping[str, object], solution: Mapping[str, object]) -> None:
    """Refuse answers for photos that are not asked about.

    Raises:
        ScoringError: there are some.
    """
    unknown = [image_id for image_id in predictions if image_id not in solution]
    if unknown:
        shown = ", ".join(f"{image_id!r:.60}" for image_id in unknown[:_EXAMPLES])
        raise ScoringError(
            f"{len(unknown)} predictions are for photos that the solution does not have, for example {shown}. "
            "Leave them out, or take the solution that belongs to them."
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
            f"Each prediction needs a score, a verdict and an image id, received {len(scores)} scores, "
            f"{len(correct)} verdicts and {len(image_ids)} ids."
        )
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        raise ScoringError(
            f"{len(bad)} scores are not a number, the first that of photo {image_ids[bad[0]]!r:.60}. Predictions "
            "cannot be put in order by them."
        )
    if len(set(image_ids)) < len(image_ids):
        raise ScoringError(f"{len(image_ids)} predictions for {len(set(image_ids))} photos: give one for each photo.")
    if correct.sum() > _require_landmark_photos(landmark_photos):
        raise ScoringError(f"{correct.sum()} right predictions, but only {landmark_photos} photos show a landmark.")
