"""GAP and top-1 against a slow oracle written from their definition, and the properties that follow from it."""

from collections.abc import Callable, Mapping
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from landmarks.errors import DataError, ScoringError
from landmarks.evaluation.gap import Guess, compute_gap, compute_submission_gap, compute_submission_top1

Predictions = dict[str, Guess | None]
Truth = dict[str, frozenset[int]]

GOLDEN_SOLUTION: Truth = {
    "0123456789abcd01": frozenset({0, 12}),
    "0123456789abcd02": frozenset({100, 200, 300}),
    "0123456789abcd03": frozenset({1}),
    "0123456789abcd04": frozenset(),
    "0123456789abcd05": frozenset(),
}
GOLDEN_PREDICTIONS: Predictions = {
    "0123456789abcd02": Guess(0, 0.01),
    "0123456789abcd03": Guess(1, 10),
    "0123456789abcd04": Guess(150, 15),
}


def compute_gap_slowly(predictions: Predictions, solution: Truth, ignore: bool = False) -> float:
    given = [
        (image_id, guess.landmark_id, guess.score)
        for image_id, guess in predictions.items()
        if guess is not None and not (ignore and not solution[image_id])
    ]
    given.sort(key=lambda one: one[1])
    given.sort(key=lambda one: one[0])
    given.sort(key=lambda one: one[2], reverse=True)
    total = 0.0
    right_so_far = 0
    for place, (image_id, landmark_id, _) in enumerate(given, start=1):
        if landmark_id in solution[image_id]:
            right_so_far += 1
            total += right_so_far / place
    return total / sum(1 for truth in solution.values() if truth)


@st.composite
def draw_cases(draw: st.DrawFn) -> tuple[Predictions, Truth]:
    """Few landmarks and few different scores, so that hits and ties are frequent; some photos without a prediction."""
    image_ids = draw(
        st.lists(st.text("0123456789abcdef", min_size=1, max_size=3), min_size=1, max_size=12, unique=True)
    )
    landmarks = st.integers(0, 3)
    solution = {image_id: draw(st.frozensets(landmarks, max_size=2)) for image_id in image_ids}
    solution["always"] = frozenset({draw(landmarks)})
    scores = st.sampled_from([-1.5, 0.0, -0.0, 0.25, 0.25000001, 7.0]) | st.floats(allow_nan=False)
    guesses = st.none() | st.builds(Guess, landmarks, scores)
    predicted = draw(st.lists(st.sampled_from(list(solution)), unique=True))
    return {image_id: draw(guesses) for image_id in predicted}, solution


def test_golden_values() -> None:
    assert compute_submission_gap(GOLDEN_PREDICTIONS, GOLDEN_SOLUTION) == pytest.approx(0.166667, abs=1e-6)
    ignoring = compute_submission_gap(GOLDEN_PREDICTIONS, GOLDEN_SOLUTION, ignore_non_landmarks=True)
    assert ignoring == pytest.approx(0.333333, abs=1e-6)
    assert compute_submission_top1(GOLDEN_PREDICTIONS, GOLDEN_SOLUTION) == pytest.approx(0.333333, abs=1e-6)


@given(draw_cases(), st.booleans())
def test_agrees_with_the_oracle(case: tuple[Predictions, Truth], ignore: bool) -> None:
    predictions, solution = case
    expected = compute_gap_slowly(predictions, solution, ignore)
    assert compute_submission_gap(predictions, solution, ignore) == pytest.approx(expected, abs=1e-12)


@given(draw_cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(case: tuple[Predictions, Truth], random: Random) -> None:
    predictions, solution = case
    rows = list(predictions.items())
    random.shuffle(rows)
    assert compute_submission_gap(dict(rows), solution) == compute_submission_gap(predictions, solution)


RISING: Mapping[str, Callable[[float], float]] = {
    "halved": lambda rank: rank / 2,
    "exponential": lambda rank: 2.0**rank,
    "negative": lambda rank: rank - 1000.0,
}


@pytest.mark.parametrize("name", RISING)
@given(case=draw_cases())
def test_a_monotone_transform_of_the_scores_changes_nothing(name: str, case: tuple[Predictions, Truth]) -> None:
    predictions, solution = case
    scores = sorted({guess.score for guess in predictions.values() if guess is not None})
    moved: Predictions = {
        image_id: guess and Guess(guess.landmark_id, RISING[name](scores.index(guess.score)))
        for image_id, guess in predictions.items()
    }
    assert compute_submission_gap(moved, solution) == compute_submission_gap(predictions, solution)


@given(draw_cases())
def test_leaving_non_landmarks_out_never_hurts_and_bounds_hold(case: tuple[Predictions, Truth]) -> None:
    gap, without = (compute_submission_gap(*case, ignore_non_landmarks=ignore) for ignore in (False, True))
    top1 = compute_submission_top1(*case)
    assert 0 <= gap <= without + 1e-12
    assert without <= top1 + 1e-12 <= 1 + 1e-12


@given(draw_cases())
def test_a_photo_without_a_prediction_and_one_with_an_empty_one_are_the_same(case: tuple[Predictions, Truth]) -> None:
    predictions, solution = case
    everywhere = dict.fromkeys(solution) | predictions
    assert compute_submission_gap(everywhere, solution) == compute_submission_gap(predictions, solution)
    assert compute_submission_top1(everywhere, solution) == compute_submission_top1(predictions, solution)


@given(draw_cases(), st.data())
def test_one_score_that_is_no_number_anywhere_is_refused(case: tuple[Predictions, Truth], data: st.DataObject) -> None:
    predictions, solution = case
    image_id = data.draw(st.sampled_from(sorted(solution)))
    spoilt = predictions | {image_id: Guess(1, float("nan"))}
    with pytest.raises(ScoringError, match=f"1 scores are NaN, the first that of photo '{image_id}'"):
        compute_submission_gap(spoilt, solution)


@given(draw_cases(), st.text(min_size=1), st.booleans())
def test_one_photo_that_the_solution_does_not_know_is_refused(
    case: tuple[Predictions, Truth], image_id: str, is_empty: bool
) -> None:
    predictions, solution = case
    assume(image_id not in solution)
    unknown = predictions | {image_id: None if is_empty else Guess(1, 0.5)}
    for compute in (compute_submission_gap, compute_submission_top1):
        with pytest.raises(ScoringError, match="1 predictions are for photos"):
            compute(unknown, solution)


def test_of_equal_scores_the_lower_image_id_comes_first() -> None:
    solution: Truth = {"a": frozenset({1}), "b": frozenset({1})}
    for right, wrong, expected in (("a", "b", 0.5), ("b", "a", 0.25)):
        predictions: Predictions = {wrong: Guess(2, 0.5), right: Guess(1, 0.5)}
        assert compute_submission_gap(predictions, solution) == expected


def test_every_photo_of_a_landmark_counts_whether_predicted_or_not() -> None:
    solution: Truth = {str(number): frozenset({1}) for number in range(4)}
    assert compute_submission_gap({"0": Guess(1, 0.1)}, solution) == 0.25
    assert compute_submission_gap({}, solution) == 0.0
    assert compute_submission_top1({}, solution) == 0.0


def test_arrays_give_what_dictionaries_give() -> None:
    scores = np.array([0.5, 0.5, 0.9, 0.1], np.float32)
    correct = np.array([True, False, False, True])
    assert compute_gap(scores, correct, 3, ["b", "a", "c", "d"]) == pytest.approx((1 / 3 + 2 / 4) / 3)
    assert compute_gap(scores, correct, 3, ["a", "b", "c", "d"]) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert compute_gap(np.empty(0), np.empty(0, np.bool_), 3, []) == 0.0


ARRAYS = (np.array([0.5, 0.4]), np.array([True, False]), 2, ["a", "b"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({0: np.array([0.5, np.nan])}, "1 scores are NaN, the first that of photo 'b'"),
        ({0: np.array([np.nan, np.nan])}, "2 scores are NaN, the first that of photo 'a'"),
        ({2: 0}, "photos that show a landmark, received 0"),
        ({2: -1}, "photos that show a landmark, received -1"),
        ({3: ["a", "a"]}, "2 predictions for 1 photos"),
        ({0: np.array([0.5])}, "1 scores, 2 values of `correct` and 2 ids"),
        ({0: np.array([0.5, 0.4, 0.3])}, "3 scores, 2 values of `correct` and 2 ids"),
        ({3: ["a", "b", "c"]}, "2 scores, 2 values of `correct` and 3 ids"),
        ({3: ["a"]}, "2 scores, 2 values of `correct` and 1 ids"),
        ({1: np.array([True, True]), 2: 1}, "2 correct predictions, but only 1 photos show a landmark"),
    ],
)
def test_what_has_no_gap_is_refused(changes: dict[int, object], words: str) -> None:
    arguments = [changes.get(number, argument) for number, argument in enumerate(ARRAYS)]
    with pytest.raises(ScoringError, match=words):
        compute_gap(*arguments)  # type: ignore[arg-type]  # some are wrong on purpose


@pytest.mark.parametrize("compute", [compute_submission_gap, compute_submission_top1])
def test_unknown_photos_and_solutions_without_landmarks_are_refused(compute: Callable[..., float]) -> None:
    with pytest.raises(ScoringError, match=r"1 predictions are for photos .* for example 'x'"):
        compute({"x": Guess(1, 0.5)}, {"a": frozenset({1})})
    with pytest.raises(ScoringError, match="for example 'x'"):
        compute({"x": None}, {"a": frozenset({1})})
    with pytest.raises(ScoringError, match="received 0"):
        compute({"a": Guess(1, 0.5)}, {"a": frozenset()})
    with pytest.raises(ScoringError, match="received 0"):
        compute({}, {})


def test_the_error_is_one_of_ours_and_a_value_error() -> None:
    with pytest.raises(ValueError, match="1 scores are NaN") as caught:
        compute_submission_gap({"a": Guess(1, float("nan"))}, {"a": frozenset({1})})
    assert isinstance(caught.value, DataError)
