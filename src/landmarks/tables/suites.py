"""What is expected of a photo set: suites of expectations over the tables of an inspection.

Expectations are plain values in Great Expectations' vocabulary; `adapters.expectations` judges them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from landmarks.params import ValidateParams
from landmarks.photos.places import IMAGE_ID_PATTERN
from landmarks.tables.inspection import MISSING, READABLE, Inspection

# Texts, so that 007 or 7.0 never becomes a second spelling of landmark 7; 18 digits fit int64.
_INTEGER_PATTERN = r"^(0|-?[1-9][0-9]{0,17})$"


@dataclass(frozen=True)
class Expectation:
    """One thing expected of a table, in Great Expectations' vocabulary.

    One `column` can have one expectation of each `kind`: Great Expectations replaces the first by the second.
    """

    name: str
    kind: str
    sentence: str
    column: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A table and what is expected of it; the column `key` names a row in examples."""

    name: str
    frame: pd.DataFrame
    key: str
    expectations: tuple[Expectation, ...]


def build_suites(inspection: Inspection, params: ValidateParams) -> tuple[Suite, ...]:
    """Everything expected of a photo set."""
    readable = round(1 - params.max_unreadable_fraction, 12)  # 1 - 0.7 is a little more than 0.3
    return (
        Suite("photos", inspection.photos, "image_id", _expect_photos(params)),
        Suite("landmarks", inspection.landmarks, "landmark_id", _expect_landmarks()),
        Suite("names", inspection.names, "landmark_id", _expect_names()),
        Suite("distractors", inspection.distractors, "image_id", _expect_distractors()),
        Suite("photo_sample", inspection.photo_sample, "image_id", _expect_sample("photo", readable)),
        Suite("distractor_sample", inspection.distractor_sample, "image_id", _expect_sample("distractor", readable)),
    )


def _expect_photos(params: ValidateParams) -> tuple[Expectation, ...]:
    low, high = params.min_landmark_id, params.max_landmark_id
    return (
        _has_columns("photo", ["image_id", "landmark_id", "compressed_bytes"]),
        Expectation(
            "photo_table_has_rows", "table_row_count_to_be_between", "There are photos.", None, {"min_value": 1}
        ),
        *_expect_ids("photo"),
        *_expect_landmark_ids("photo"),
        _is_between(
            "photo_landmarks_are_in_range", f"Every landmark_id is in {low} … {high}.", "landmark_number", low, high
        ),
        _is_between("photos_show_one_landmark", "No photo stands under two landmarks.", "landmarks", 0, 1),
        *_expect_files("photo"),
    )


def _expect_landmarks() -> tuple[Expectation, ...]:
    sentence = "Landmarks have more than one photo. Those with a single one are counted here; they fail nothing."
    arguments = {"min_value": 2, "mostly": 0}
    kind = "column_values_to_be_between"
    return (Expectation("landmarks_with_one_photo_are_counted", kind, sentence, "photos", arguments),)


def _expect_names() -> tuple[Expectation, ...]:
    return (
        _has_columns("name", ["landmark_id", "name"]),
        *_expect_landmark_ids("name"),
        _is_unique("name_landmarks_are_unique", "No landmark is named twice.", "landmark_id"),
    )


def _expect_distractors() -> tuple[Expectation, ...]:
    return (
        _has_columns("distractor", ["image_id", "category", "compressed_bytes"]),
        *_expect_ids("distractor"),
        _is_given("distractor_categories_are_given", "No category is empty.", "category"),
        _is_not("distractors_show_no_landmark", "No distractor is also a landmark's photo.", "landmark_photo", True),
        *_expect_files("distractor"),
    )


def _expect_sample(thing: str, readable: float) -> tuple[Expectation, ...]:
    sentence = f"Of a sample that was decoded, a fraction of at least {readable:g} is readable."
    arguments = {"value_set": [READABLE], "mostly": readable}
    return (Expectation(f"{thing}_sample_is_readable", "column_values_to_be_in_set", sentence, "decoding", arguments),)


def _expect_ids(thing: str) -> tuple[Expectation, ...]:
    sentence = "Every id is 16 hexadecimal digits in lower case."
    return (
        _is_of_type(f"{thing}_ids_are_texts", "Ids are texts.", "image_id", "str"),
        _is_given(f"{thing}_ids_are_given", "No id is empty.", "image_id"),
        _matches(f"{thing}_ids_are_hexadecimal", sentence, "image_id", IMAGE_ID_PATTERN),
        _is_unique(f"{thing}_ids_are_unique", "No id stands twice.", "image_id"),
    )


def _expect_landmark_ids(thing: str) -> tuple[Expectation, ...]:
    return (
        _is_given(f"{thing}_landmarks_are_given", "No landmark_id is empty.", "landmark_id"),
        _matches(
            f"{thing}_landmarks_are_integers", "Every landmark_id is an integer.", "landmark_id", _INTEGER_PATTERN
        ),
    )


def _expect_files(thing: str) -> tuple[Expectation, ...]:
    return (
        _is_of_type(f"{thing}_sizes_are_integers", "Sizes are whole bytes.", "compressed_bytes", "int64"),
        _is_not(f"{thing}_files_are_present", "Every photo is in its source.", "photo", MISSING),
        _is_not(f"{thing}_files_are_not_empty", "No photo has 0 bytes.", "compressed_bytes", 0),
    )


def _has_columns(thing: str, columns: list[str]) -> Expectation:
    name, sentence = f"{thing}_columns_are_there", f"The table has the columns {', '.join(columns)}."
    arguments = {"column_set": columns, "exact_match": False}
    return Expectation(name, "table_columns_to_match_set", sentence, None, arguments)


def _is_given(name: str, sentence: str, column: str) -> Expectation:
    return Expectation(name, "column_values_to_not_be_null", sentence, column)


def _is_unique(name: str, sentence: str, column: str) -> Expectation:
    return Expectation(name, "column_values_to_be_unique", sentence, column)


def _is_of_type(name: str, sentence: str, column: str, dtype: str) -> Expectation:
    return Expectation(name, "column_values_to_be_of_type", sentence, column, {"type_": dtype})


def _is_not(name: str, sentence: str, column: str, value: object) -> Expectation:
    return Expectation(name, "column_values_to_not_be_in_set", sentence, column, {"value_set": [value]})


def _is_between(name: str, sentence: str, column: str, low: int, high: int) -> Expectation:
    return Expectation(name, "column_values_to_be_between", sentence, column, {"min_value": low, "max_value": high})


def _matches(name: str, sentence: str, column: str, pattern: str) -> Expectation:
    return Expectation(name, "column_values_to_match_regex", sentence, column, {"regex": pattern})
