"""Kaggle's files: reading, writing, and errors that name file, line and value."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import DataError, ScoringError
from landmarks.evaluation.gap import Guess
from landmarks.kaggle import files
from landmarks.kaggle.files import (
    Solution,
    Task,
    Usage,
    read_recognition_solution,
    read_recognition_submission,
    read_retrieval_solution,
    read_retrieval_submission,
    read_task,
    write_recognition_submission,
    write_retrieval_submission,
)

RECOGNITION = "id,landmarks,Usage\na,0 12,Public\nb,,Private\nc,5,Private\nd,,Ignored\n"
RETRIEVAL = "id,images,Usage\nq1,x y,Public\nq2,z,Private\nq3,None,Ignored\n"
SOLUTION: Solution[int] = Solution(
    {"a": frozenset({0, 12}), "b": frozenset(), "c": frozenset({5})},
    {"a": Usage.PUBLIC, "b": Usage.PRIVATE, "c": Usage.PRIVATE, "d": Usage.IGNORED},
)
RETRIEVAL_SOLUTION: Solution[str] = Solution(
    {"q1": frozenset({"x", "y"}), "q2": frozenset({"z"})},
    {"q1": Usage.PUBLIC, "q2": Usage.PRIVATE, "q3": Usage.IGNORED},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_solutions_of_both_tasks_are_detected_and_read(path: Path) -> None:
    assert read_task(put(path, RECOGNITION)) == Task.RECOGNITION
    assert read_recognition_solution(path) == SOLUTION
    assert read_task(put(path, RETRIEVAL)) == Task.RETRIEVAL
    assert read_retrieval_solution(path) == RETRIEVAL_SOLUTION


def test_a_solution_is_split_by_usage() -> None:
    assert SOLUTION.split_by_usage() == {
        "Public": {"a": frozenset({0, 12})},
        "Private": {"b": frozenset(), "c": frozenset({5})},
        "all": SOLUTION.truth,
    }
    only: Solution[int] = Solution({"c": frozenset({5})}, {"c": Usage.PRIVATE})
    assert list(only.split_by_usage()) == ["Private", "all"]


@pytest.mark.parametrize(
    "text",
    [
        "id,landmarks\na,12 0.5\nb,\n",
        "id,landmarks\na,12 0.5 \nb,",
        "\ufeffid,landmarks\r\na,12 0.5\r\nb,\r\n",
        "id,landmarks\ra,12 0.5\rb,\r",
        "id,landmarks\ra,12 0.5\nb,\r\n",
        '"id","landmarks"\n"a","12 0.5"\n"b",""\n',
        "id,landmarks\n\na,12 5e-1\n\n,\nb,\n\n",
    ],
)
def test_every_csv_dialect_is_read(path: Path, text: str) -> None:
    assert read_recognition_submission(put(path, text), SOLUTION) == {"a": Guess(12, 0.5), "b": None}


@pytest.mark.parametrize(
    ("cell", "guess"),
    [("7 -1e-300", Guess(7, -1e-300)), ("-1 0", Guess(-1, 0.0)), ("007 1e400", Guess(7, math.inf)), ("", None)],
)
def test_valid_predictions_are_parsed(path: Path, cell: str, guess: Guess | None) -> None:
    assert read_recognition_submission(put(path, f"id,landmarks\na,{cell}\n"), SOLUTION) == {"a": guess}


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("12", "expected '<landmark id> <score>' or nothing, received '12'"),
        ("12 0.5 13 0.4", "expected '<landmark id> <score>' or nothing, received '12 0.5 13 0.4'"),
        ("12  0.5", "single spaces between the parts of the cell, received '12  0.5'"),
        ("12 0.5  ", "single spaces"),
        (" 12 0.5", "single spaces"),
        (" ", "single spaces between the parts of the cell, received ' '"),
        ("12\t0.5", "expected '<landmark id> <score>'"),
        ("x 0.5", "a landmark id must be a whole number, received 'x'"),
        ("1.0 0.5", "a landmark id must be a whole number, received '1.0'"),
        ("1_2 0.5", "a landmark id must be a whole number, received '1_2'"),
        ("\u0661 0.5", "a landmark id must be a whole number"),
        ("9" * 5000 + " 0.5", "a landmark id must be a whole number"),
        ("12 x", "a score must be a number, received 'x'"),
        ("12 nan", "a score must be a number, received 'nan'"),
        ("12 -NaN", "a score must be a number, received '-NaN'"),
        ("12 1_0", "a score must be a number, received '1_0'"),
        ('"12 0,5"', "a score must be a number, received '0,5'"),
    ],
)
def test_a_malformed_prediction_is_refused_with_file_line_and_value(path: Path, cell: str, problem: str) -> None:
    put(path, f"id,landmarks\nb,\na,{cell}\n")
    with pytest.raises(ScoringError) as caught:
        read_recognition_submission(path, SOLUTION)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3: ")
    assert problem in message
    assert len(message) < 400 + len(str(path))


MALFORMED: dict[str, tuple[Callable[[Path], Any], str | bytes, str]] = {
    "repeated": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\na,1 1\nb,\na,2 2\n",
        "line 4: the id 'a' is already in line 2.",
    ),
    "repeated with empty cells": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\na,\na,\n",
        "line 3: the id 'a' is already in line 2.",
    ),
    "repeated and ignored": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\nd,\nd,\n",
        "line 3: the id 'd'",
    ),
    "unknown": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\na,1 1\nzz,1 1\n",
        "line 3: the solution has no photo 'zz'",
    ),
    "unknown with an empty cell": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\nzz,\n",
        "line 2: the solution has no photo 'zz'",
    ),
    "retrieval submission for recognition": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,images\na,x\n",
        "line 1: expected the header id,landmarks, received 'id,images'",
    ),
    "solution for a submission": (
        lambda path: read_recognition_submission(path, SOLUTION),
        RECOGNITION,
        "expected the header id,landmarks, received 'id,landmarks,Usage'",
    ),
    "no bytes": (lambda path: read_recognition_submission(path, SOLUTION), b"", "received nothing"),
    "one cell": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\na\n",
        "line 2: expected 2 cells (id,landmarks), received 1: 'a'",
    ),
    "three cells": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\na,1 0,5\n",
        "line 2: expected 2 cells (id,landmarks), received 3: 'a,1 0,5'",
    ),
    "no id": (
        lambda path: read_recognition_submission(path, SOLUTION),
        "id,landmarks\n,1 0.5\n",
        "line 2: the id is empty: ',1 0.5'",
    ),
    "open quote": (
        lambda path: read_recognition_submission(path, SOLUTION),
        'id,landmarks\na,"1 0.5\nb,\n',
        "is not CSV after line 1: unexpected end of data",
    ),
    "no text": (
        lambda path: read_recognition_submission(path, SOLUTION),
        b"id,landmarks\na,\n\xff,1 0.5\n",
        "is not UTF-8 text after line 0: invalid start byte",
    ),
    "unknown query": (
        lambda path: read_retrieval_submission(path, RETRIEVAL_SOLUTION),
        "id,images\nq9,x\n",
        "line 2: the solution has no photo 'q9'",
    ),
    "repeated query": (
        lambda path: read_retrieval_submission(path, RETRIEVAL_SOLUTION),
        "id,images\nq1,x\nq1,y\n",
        "line 3: the id 'q1' is already in line 2.",
    ),
    "two spaces between images": (
        lambda path: read_retrieval_submission(path, RETRIEVAL_SOLUTION),
        "id,images\nq1,x  y\n",
        "line 2: expected single spaces between the parts of the cell, received 'x  y'",
    ),
    "other usage": (
        read_recognition_solution,
        "id,landmarks,Usage\na,1,Public\nb,1,public\n",
        "line 3: Usage must be Public, Private, Ignored, received 'public'",
    ),
    "no usage": (read_retrieval_solution, "id,images,Usage\nq,x,\n", "line 2: Usage must be"),
    "landmark that is no number": (
        read_recognition_solution,
        "id,landmarks,Usage\na,1 x,Public\n",
        "line 2: a landmark id must be a whole number, received 'x'",
    ),
    "repeated in the solution": (
        read_recognition_solution,
        "id,landmarks,Usage\na,1,Public\na,2,Private\n",
        "line 3: the id 'a' is already in line 2.",
    ),
    "no solution": (
        read_task,
        "id,landmarks\na,1 1\n",
        "expected the header id,landmarks,Usage or id,images,Usage",
    ),
    "neither": (read_task, b"", "received nothing"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_file_and_line(path: Path, name: str) -> None:
    read, text, problem = MALFORMED[name]
    with pytest.raises(ScoringError) as caught:
        read(put(path, text))
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused_as_data_errors(path: Path) -> None:
    with pytest.raises(DataError, match=r"table\.csv cannot be read: No such file"):
        read_task(path)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_recognition_solution(path.parent)


def test_ignored_rows_are_dropped_from_both_files_even_if_malformed(path: Path) -> None:
    put(path, "id,landmarks,Usage\na,1,Public\nd,not a number,Ignored\n")
    assert read_recognition_solution(path).truth == {"a": frozenset({1})}
    put(path, "id,landmarks\na,1 1\nd,malformed\n")
    assert read_recognition_submission(path, SOLUTION) == {"a": Guess(1, 1.0)}
    put(path, "id,images\nq1,x\nq3,x\n")
    assert read_retrieval_submission(path, RETRIEVAL_SOLUTION) == {"q1": ("x",)}


def test_a_query_without_relevant_images_has_an_empty_truth(path: Path) -> None:
    put(path, "id,images,Usage\nq1,None,Public\nq2,x y ,Private\n")
    assert read_retrieval_solution(path).truth == {"q1": frozenset(), "q2": frozenset({"x", "y"})}


def test_ids_before_and_after_none_in_the_alphabet_are_relevant_images(path: Path) -> None:
    put(path, "id,images,Usage\nq1,0a,Public\nq2,Zz,Private\nq3,None ,Private\n")
    assert [set(images) for images in read_retrieval_solution(path).truth.values()] == [{"0a"}, {"Zz"}, {"None"}]


def test_a_cell_may_have_256_mebibytes(path: Path) -> None:
    limit = csv.field_size_limit()
    rows = files._iterate_rows(put(path, RECOGNITION))
    next(rows)
    assert csv.field_size_limit() == 256 << 20
    assert len(list(rows)) == 4
    assert csv.field_size_limit() == limit


def test_long_cells_are_read_and_the_limit_of_the_csv_module_is_restored(path: Path) -> None:
    limit = csv.field_size_limit()
    images = tuple(f"{number:016x}" for number in range(20_000))
    put(path, f"id,images\nq1,{' '.join(images)}\n")
    assert read_retrieval_submission(path, RETRIEVAL_SOLUTION) == {"q1": images}
    assert csv.field_size_limit() == limit


IDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\ufeff"), min_size=1, max_size=8)
GUESSES = st.none() | st.builds(Guess, st.integers(0, 203_093), st.floats(allow_nan=False))


@settings(max_examples=50)
@given(st.dictionaries(IDS, GUESSES))
def test_a_submission_survives_a_round_trip_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, predictions: dict[str, Guess | None]
) -> None:
    path = tmp_path_factory.mktemp("written") / "submission.csv"
    assert write_recognition_submission(path, predictions.items()) == len(predictions)
    solution: Solution[int] = Solution({}, dict.fromkeys(predictions, Usage.PUBLIC))
    assert read_recognition_submission(path, solution) == predictions


def test_a_submission_has_kaggles_format(path: Path) -> None:
    write_recognition_submission(path, [("a", Guess(12, 0.5)), ("b", None)])
    assert path.read_bytes() == b"id,landmarks\na,12 0.5\nb,\n"
    write_retrieval_submission(path, [("q1", ("x", "y")), ("q2", ())])
    assert path.read_bytes() == b"id,images\nq1,x y\nq2,\n"
    assert read_retrieval_submission(path, RETRIEVAL_SOLUTION) == {"q1": ("x", "y"), "q2": ()}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("a", Guess(1, math.nan))], "The score of photo 'a' is not a number"),
        ([("a", None), ("a", None)], "the id 'a' is empty or repeated"),
        ([("", None)], "the id '' is empty or repeated"),
    ],
)
def test_invalid_submissions_are_not_written(path: Path, rows: list[tuple[str, Guess | None]], problem: str) -> None:
    put(path, "as it was")
    with pytest.raises(ScoringError, match=problem):
        write_recognition_submission(path, rows)
    assert path.read_text() == "as it was"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_path_that_cannot_be_written_is_named(path: Path) -> None:
    put(path, "a file, no folder")
    with pytest.raises(ScoringError, match=r"table\.csv/out\.csv cannot be written"):
        write_recognition_submission(path / "out.csv", [])
