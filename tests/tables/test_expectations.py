import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from landmarks.params import ValidateParams
from landmarks.tables.expectations import Expectation, ExpectationResult, Suite, build_suites, check_suites
from landmarks.tables.inspection import Inspection, count_landmarks_per_photo

FRAME = pd.DataFrame(
    {
        "image_id": pd.Series(["aa", "bb", "bb", None], dtype="str"),
        "number": [1.0, 5.0, float("nan"), -1.0],
        "size": pd.Series([1, 0, 2, 0], dtype="int64"),
    }
)


def check(folder: Path, *expectations: Expectation) -> tuple[ExpectationResult, ...]:
    return check_suites([Suite("things", FRAME, "image_id", expectations)], folder / "docs")


def expect(kind: str, column: str | None = None, **arguments: object) -> Expectation:
    return Expectation("checked", kind, "Our own sentence.", column, arguments)


@pytest.mark.parametrize(
    ("expectation", "result"),
    [
        (expect("column_values_to_not_be_null", "image_id"), ExpectationResult("checked", False, 1, ("row 4",))),
        (expect("column_values_to_be_unique", "image_id"), ExpectationResult("checked", False, 2, ("bb",))),
        (
            expect("column_values_to_be_between", "number", min_value=0, max_value=4),
            ExpectationResult("checked", False, 2, ("bb: 5", "row 4: -1")),
        ),
        (
            expect("column_values_to_not_be_in_set", "size", value_set=[0]),
            ExpectationResult("checked", False, 2, ("bb: 0", "row 4: 0")),
        ),
        (
            expect("column_values_to_not_be_in_set", "size", value_set=[0], mostly=0.5),
            ExpectationResult("checked", True, 2, ("bb: 0", "row 4: 0")),
        ),
        (expect("column_values_to_be_of_type", "size", type_="int64"), ExpectationResult("checked", True, 0, ())),
        (
            expect("column_values_to_be_of_type", "size", type_="str"),
            ExpectationResult("checked", False, 1, ("found int64",)),
        ),
        (expect("table_row_count_to_be_between", min_value=5), ExpectationResult("checked", False, 1, ("found 4",))),
    ],
)
def test_results_name_the_unexpected_rows(tmp_path: Path, expectation: Expectation, result: ExpectationResult) -> None:
    assert check(tmp_path, expectation) == (result,)


def test_an_expectation_that_cannot_be_evaluated_fails(tmp_path: Path) -> None:
    (result,) = check(tmp_path, expect("column_values_to_be_unique", "absent"))
    assert not result.success
    assert "absent" in result.examples[0]


def test_results_keep_the_given_order(tmp_path: Path) -> None:
    kinds = {"z": "column_values_to_be_unique", "a": "column_values_to_not_be_null"}
    asked = [Expectation(name, kind, "x", "size") for name, kind in kinds.items()]
    assert [result.name for result in check(tmp_path, *asked)] == ["z", "a"]


def test_data_docs_show_our_sentences(tmp_path: Path) -> None:
    check(tmp_path, expect("column_values_to_be_unique", "image_id"))
    (page,) = (tmp_path / "docs/validations").rglob("*.html")
    assert "Our own sentence." in page.read_text(encoding="utf-8")
    assert (tmp_path / "docs/index.html").is_file()


def test_no_suite_has_two_expectations_of_one_kind_for_one_column() -> None:
    """Great Expectations would silently drop the first of them."""
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
