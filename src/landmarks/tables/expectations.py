"""What is expected of a photo set, as suites for Great Expectations, and how they are checked.

The first half declares the expectations as plain values, the second half runs them and writes the Data Docs.
"""

import importlib
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from landmarks.files.writing import replace_folder
from landmarks.params import ValidateParams
from landmarks.photos.places import PHOTO_ID_PATTERN
from landmarks.tables.inspection import MISSING, READABLE, Inspection

MAX_EXAMPLES = 5
# More than are reported, because all rows of one repeated id count as one example.
_MAX_UNEXPECTED_ROWS = 20
# Ids are matched as text, so that 007 or 7.0 cannot become a second spelling of landmark 7. 18 digits fit int64.
_INTEGER_PATTERN = r"^(0|-?[1-9][0-9]{0,17})$"


@dataclass(frozen=True)
class Expectation:
    """One expectation, in Great Expectations' vocabulary.

    A column can have only one expectation of each `kind`: Great Expectations silently replaces the first by the second.

    Attributes:
        name: the key in reports.
        kind: the expectation type, without `expect_`.
        sentence: the description in the Data Docs.
        column: the column to check; None for the whole table.
        arguments: further arguments of the expectation.
    """

    name: str
    kind: str
    sentence: str
    column: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A table and its expectations; the column `key` identifies a row in examples."""

    name: str
    frame: pd.DataFrame
    key: str
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True)
class ExpectationResult:
    """The result of one expectation, with up to five examples of unexpected rows."""

    name: str
    success: bool
    unexpected_count: int
    examples: tuple[str, ...]


def build_suites(inspection: Inspection, params: ValidateParams) -> tuple[Suite, ...]:
    """Return the suites for all tables of a photo set."""
    low, high = params.min_landmark_id, params.max_landmark_id
    bounds: tuple[Expectation, ...] = ()
    if low is not None or high is not None:
        sentence = f"Every landmark_id is in {'' if low is None else low} … {'' if high is None else high}."
        bounds = (_is_between("photo_landmarks_are_in_range", sentence, "landmark_number", low, high),)
    readable = round(1 - params.max_unreadable_fraction, 12)  # in float64, 1 - 0.7 is slightly above 0.3
    photos = (
        _has_columns("photo", ["image_id", "landmark_id", "compressed_bytes"]),
        Expectation(
            "photo_table_has_rows", "table_row_count_to_be_between", "There are photos.", None, {"min_value": 1}
        ),
        *_expect_ids("photo"),
        *_expect_landmark_ids("photo"),
        *bounds,
        _is_between("photos_show_one_landmark", "No photo is listed for two landmarks.", "landmarks", 0, 1),
        *_expect_files("photo"),
    )
    landmarks = (
        Expectation(
            "landmarks_with_one_photo_are_counted",
            "column_values_to_be_between",
            "Landmarks have more than one photo. Those with a single one are counted here, and never fail validation.",
            "photos",
            {"min_value": 2, "mostly": 0},  # mostly 0: report the count, accept any fraction
        ),
    )
    names = (
        _has_columns("name", ["landmark_id", "name"]),
        *_expect_landmark_ids("name"),
        _is_unique("name_landmarks_are_unique", "No landmark has two names.", "landmark_id"),
    )
    distractors = (
        _has_columns("distractor", ["image_id", "category", "compressed_bytes"]),
        *_expect_ids("distractor"),
        _is_given("distractor_categories_are_given", "No category is empty.", "category"),
        _is_not("distractors_show_no_landmark", "No distractor is also a landmark photo.", "landmark_photo", True),
        *_expect_files("distractor"),
    )
    return (
        Suite("photos", inspection.photos, "image_id", photos),
        Suite("landmarks", inspection.landmarks, "landmark_id", landmarks),
        Suite("names", inspection.names, "landmark_id", names),
        Suite("distractors", inspection.distractors, "image_id", distractors),
        Suite("photo_sample", inspection.photo_sample, "image_id", _expect_sample("photo", readable)),
        Suite("distractor_sample", inspection.distractor_sample, "image_id", _expect_sample("distractor", readable)),
    )


def _expect_ids(thing: str) -> tuple[Expectation, ...]:
    sentence = "Every id is a file name, or a relative path with / that leads nowhere above."
    return (
        _is_of_type(f"{thing}_ids_are_texts", "Ids are texts.", "image_id", "str"),
        _is_given(f"{thing}_ids_are_given", "No id is empty.", "image_id"),
        _matches(f"{thing}_ids_are_paths", sentence, "image_id", PHOTO_ID_PATTERN),
        _is_unique(f"{thing}_ids_are_unique", "No id is repeated.", "image_id"),
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


def _expect_sample(thing: str, readable: float) -> tuple[Expectation, ...]:
    sentence = f"At least a fraction of {readable:g} of the decoded sample is readable."
    arguments = {"value_set": [READABLE], "mostly": readable}
    return (Expectation(f"{thing}_sample_is_readable", "column_values_to_be_in_set", sentence, "decoding", arguments),)


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


def _is_between(name: str, sentence: str, column: str, low: int | None, high: int | None) -> Expectation:
    return Expectation(name, "column_values_to_be_between", sentence, column, {"min_value": low, "max_value": high})


def _matches(name: str, sentence: str, column: str, pattern: str) -> Expectation:
    return Expectation(name, "column_values_to_match_regex", sentence, column, {"regex": pattern})


def check_suites(suites: Sequence[Suite], docs: Path) -> tuple[ExpectationResult, ...]:
    """Check every table and write the Data Docs to the folder `docs`.

    Returns:
        One result per expectation, in the given order.
    """
    gx = _import_great_expectations()
    with replace_folder(docs) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside Great Expectations and pandas, not caused by our calls
        context = _build_context(gx, folder)
        source = context.data_sources.add_pandas("landmarks")
        results = [result for suite in suites for result in _check_suite(gx, context, source, suite)]
        context.build_data_docs()
    return tuple(results)


def _import_great_expectations() -> ModuleType:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import time, so set before the import
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # it logs what it raises as well
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports a module that Python deprecates
        return importlib.import_module("great_expectations")


def _build_context(gx: ModuleType, docs: Path) -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    site = {
        "class_name": "SiteBuilder",
        "store_backend": store,
        "show_how_to_buttons": False,  # links that promote Great Expectations
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site("landmarks", site)
    context.delete_data_docs_site("local_site")  # the default site, which would be written to a temporary folder
    return context


def _check_suite(gx: ModuleType, context: Any, source: Any, suite: Suite) -> list[ExpectationResult]:
    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=context.suites.add(_build_suite(gx, suite)))
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": suite.frame},
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": _MAX_UNEXPECTED_ROWS},
        run_id=gx.RunIdentifier(run_name="validate"),
    )
    # Great Expectations does not keep the order of the expectations.
    by_name = {one.expectation_config.meta["name"]: one for one in result.results}
    return [_read_result(suite, expectation.name, by_name[expectation.name]) for expectation in suite.expectations]


def _build_suite(gx: ModuleType, suite: Suite) -> Any:
    built = gx.ExpectationSuite(name=suite.name)
    configuration = gx.expectations.expectation_configuration.ExpectationConfiguration
    for expectation in suite.expectations:
        column = {} if expectation.column is None else {"column": expectation.column}
        built.add_expectation_configuration(
            configuration(
                type=f"expect_{expectation.kind}",
                kwargs=column | dict(expectation.arguments),
                meta={"name": expectation.name},
                description=expectation.sentence,
            )
        )
    return built


def _read_result(suite: Suite, name: str, one: Any) -> ExpectationResult:
    details = one.result
    if "unexpected_count" in details:
        rows, values = details["partial_unexpected_index_list"], details["partial_unexpected_list"]
        # A dict removes repeated examples and keeps their order.
        examples = dict.fromkeys(_format_example(suite, row, value) for row, value in zip(rows, values, strict=True))
        shown = tuple(examples)[:MAX_EXAMPLES]
        return ExpectationResult(name, bool(one.success), int(details["unexpected_count"]), shown)
    if one.success:
        return ExpectationResult(name, True, 0, ())
    return ExpectationResult(name, False, 1, (_describe_failure(details, one.exception_info)[:300],))


def _describe_failure(details: dict[str, Any], exceptions: dict[str, Any]) -> str:
    if "observed_value" in details:
        return f"found {details.get('details', {}).get('mismatched') or details['observed_value']}"
    # An expectation reports either one exception, or one for each of the metrics that it computes.
    raised = [exceptions, *(one for one in exceptions.values() if isinstance(one, dict))]
    return next(str(one["exception_message"]) for one in raised if one.get("exception_message"))


def _format_example(suite: Suite, row: int, value: Any) -> str:
    """Return the key of a row, with the unexpected value unless that is missing or the key itself."""
    key = suite.frame[suite.key].loc[row]
    label = f"row {row + 1}" if pd.isna(key) else str(key)[:80]
    if pd.isna(value) or value == key:
        return label
    shown = int(value) if isinstance(value, float) and value.is_integer() else value
    return f"{label}: {str(shown)[:120]}"
