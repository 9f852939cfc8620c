import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from landmarks.params import ValidateParams
from landmarks.tables.expectations import Outcome, check_suites
from landmarks.tables.inspection import Inspection, count_landmarks_per_photo
from landmarks.tables.suites import Expectation, Suite, build_suites

FRAME = pd.DataFrame(
    {
        "image_id": pd.Series(["aa", "bb", "bb", None], dtype="str"),
        "number": [1.0, 5.0, float("nan"), -1.0],
        "size": pd.Series([1, 0, 2, 0], dtype="int64"),
    }
)


def judge(folder: Path, *expectations: Expectation) -> tuple[Outcome, ...]:
    return check_suites([Suite("things", FRAME, "image_id", expectations)], folder / "docs")


def expect(kind: str, column: str | None = None, **arguments: object) -> Expectation:
    return Expectation("checked", kind, "A sentence of ours.", column, arguments)


@pytest.mark.parametrize(
    ("expectation", "outcome"),
    [
        (expect("column_values_to_not_be_null", "image_id"), Outcome("checked", False, 1, ("row 4",))),
        (expect("column_values_to_be_unique", "image_id"), Outcome("checked", False, 2, ("bb",))),
        (
            expect("column_values_to_be_between", "number", min_value=0, max_value=4),
            Outcome("checked", False, 2, ("bb: 5", "row 4: -1")),
        ),
        (
            expect("column_values_to_not_be_in_set", "size", value_set=[0]),
            Outcome("checked", False, 2, ("bb: 0", "row 4: 0")),
        ),
        (
            expect("column_values_to_not_be_in_set", "size", value_set=[0], mostly=0.5),
            Outcome("checked", True, 2, ("bb: 0", "row 4: 0")),
        ),
        (expect("column_values_to_be_of_type", "size", type_="int64"), Outcome("checked", True, 0, ())),
        (expect("column_values_to_be_of_type", "size", type_="str"), Outcome("checked", False, 1, ("found int64",))),
        (expect("table_row_count_to_be_between", min_value=5), Outcome("checked", False, 1, ("found 4",))),
    ],
)
def test_outcomes_name_the_rows_that_broke_an_expectation(
    tmp_path: Path, expectation: Expectation, outcome: Outcome
) -> None:
    assert judge(tmp_path, expectation) == (outcome,)


def test_an_expectation_that_cannot_be_judged_has_failed(tmp_path: Path) -> None:
    (outcome,) = judge(tmp_path, expect("column_values_to_be_unique", "absent"))
    assert not outcome.success
    assert "absent" in outcome.examples[0]


def test_outcomes_come_in_the_order_asked(tmp_path: Path) -> None:
    kinds = {"z": "column_values_to_be_unique", "a": "column_values_to_not_be_null"}
    asked = [Expectation(name, kind, "x", "size") for name, kind in kinds.items()]
    assert [outcome.name for outcome in judge(tmp_path, *asked)] == ["z", "a"]


def test_data_docs_say_what_was_expected_in_our_words(tmp_path: Path) -> None:
    judge(tmp_path, expect("column_values_to_be_unique", "image_id"))
    (page,) = (tmp_path / "docs/validations").rglob("*.html")
    assert "A sentence of ours." in page.read_text(encoding="utf-8")
    assert (tmp_path / "docs/index.html").is_file()


def test_no_suite_has_two_expectations_of_one_kind_for_one_column() -> None:
    """Great Expectations would drop the first of them without a word."""
    empty = pd.DataFrame()
    params = ValidateParams(sample_photos=1, max_unreadable_fraction=0.7, min_landmark_id=0, max_landmark_id=9)
    suites = build_suites(Inspection(empty, empty, empty, empty, empty, empty), params)
    names = [expectation.name for suite in suites for expectation in suite.expectations]
    assert len(names) == len(set(names)) > 20
    for suite in suites:
        keys = [(expectation.kind, expectation.column) for expectation in suite.expectations]
        assert len(keys) == len(set(keys))


def test_landmarks_per_photo_are_counted() -> None:
    rows = [("a", "1"), ("b", "1"), ("a", "2"), ("c", "3"), ("c", "3"), ("a", "2"), (None, "1"), (None, "2")]
    images = pd.DataFrame(rows, columns=["image_id", "landmark_id"])
    expected = [len({landmark for other, landmark in rows if other == one}) if one else 1 for one, _ in rows]
    assert count_landmarks_per_photo(images).tolist() == expected == [2, 1, 2, 1, 1, 2, 1, 1]


def test_importing_the_adapter_does_not_import_great_expectations() -> None:
    code = "import sys, landmarks.tables.expectations; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
