import json
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from landmarks.errors import DataError
from landmarks.stages.acquire import acquire
from landmarks.stages.validate import validate
from landmarks.tables.photo_set import read_photo_set
from photo_sets import make_acquire_params, make_folder, make_id, make_validate_params, put_photo

pytestmark = pytest.mark.slow


def run(root: Path, **changes: Any) -> Path:
    raw = acquire(root / "raw", make_acquire_params(root))
    return validate(raw, root / "validated", root / "reports", make_validate_params(**changes))


def read_report(root: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((root / "reports/validation.json").read_text())
    return report


def find_failures(report: dict[str, Any]) -> dict[str, tuple[int, list[str]]]:
    return {
        one["name"]: (one["unexpected_count"], one["examples"]) for one in report["expectations"] if not one["success"]
    }


def append(path: Path, *rows: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{row}\n" for row in rows)


def test_good_data_pass_and_get_their_types(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 3, 9: 1}, {"animal": 2})
    photo_set = read_photo_set(run(tmp_path))
    assert photo_set.images["landmark_id"].dtype == "int64"
    assert photo_set.images["landmark_id"].tolist() == [7, 7, 7, 9]
    assert photo_set.names["landmark_id"].tolist() == [7, 9]
    report = read_report(tmp_path)
    counts = {key: report[key] for key in ("success", "images", "landmarks", "distractors", "single_photo_landmarks")}
    assert counts == {"success": True, "images": 4, "landmarks": 2, "distractors": 2, "single_photo_landmarks": 1}
    lonely = next(one for one in report["expectations"] if one["name"] == "landmarks_with_one_photo_are_counted")
    assert lonely == {
        "name": "landmarks_with_one_photo_are_counted", "success": True, "unexpected_count": 1, "examples": ["9: 1"],
    }  # fmt: skip
    pages = [page.name for page in (tmp_path / "reports/data_docs").rglob("*.html")]
    assert {"index.html", "landmarks-photos.html", "landmarks-distractors.html"} <= set(pages)


def test_the_page_says_the_same_and_needs_nothing_else(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 3, 9: 1}, {"animal": 2})
    append(tmp_path / "train.csv", "<b>bad</b>\\,7")
    with pytest.raises(DataError, match=r"Full report: .*validation\.html"):
        run(tmp_path)
    page = (tmp_path / "reports/validation.html").read_text(encoding="utf-8")
    report = read_report(tmp_path)
    failed = [one for one in report["expectations"] if not one["success"]]
    assert f"{len(failed)} of {len(report['expectations'])} expectations do not hold" in page
    assert page.count("✗") == len(failed)
    assert page.count("✓") == len(report["expectations"]) - len(failed)
    assert "&lt;b&gt;bad&lt;/b&gt;" in page
    assert "<b>bad" not in page
    assert not re.findall(r"https?:|src=|href=|url\(|@import", page)


def test_the_report_holds_no_times(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 2, 9: 2})
    run(tmp_path)
    first = (tmp_path / "reports/validation.json").read_bytes()
    run(tmp_path)
    assert (tmp_path / "reports/validation.json").read_bytes() == first


def test_a_set_without_names_and_distractors_passes(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 2, 9: 2})
    (tmp_path / "names.csv").write_text("")
    (tmp_path / "others/images.csv").write_text("")
    photo_set = read_photo_set(run(tmp_path))
    assert photo_set.names["landmark_id"].dtype == "int64"
    assert photo_set.distractors.empty


FIRST, SECOND = make_id("7/0"), make_id("9/0")
FLAWS = [
    ("train.csv", f"{FIRST},7", "photo_ids_are_unique", [FIRST]),
    ("train.csv", f"{FIRST},9", "photos_show_one_landmark", [f"{FIRST}: 2"]),
    ("train.csv", f"{make_id('absent')},7", "photo_files_are_present", [f"{make_id('absent')}: missing"]),
    ("train.csv", "../../etc/passwd,7", "photo_ids_are_paths", ["../../etc/passwd"]),
    ("train.csv", "a\\\\b,7", "photo_ids_are_paths", ["a\\\\b"]),
    ("train.csv", ",7", "photo_ids_are_given", ["row 5"]),
    ("train.csv", f"{make_id('x')},", "photo_landmarks_are_given", [make_id("x")]),
    ("train.csv", f"{make_id('x')},7.0", "photo_landmarks_are_integers", [f"{make_id('x')}: 7.0"]),
    ("train.csv", f"{make_id('x')},007", "photo_landmarks_are_integers", [f"{make_id('x')}: 007"]),
    ("train.csv", f"{make_id('x')},203094", "photo_landmarks_are_in_range", [f"{make_id('x')}: 203094"]),
    ("train.csv", f"{make_id('x')},-1", "photo_landmarks_are_in_range", [f"{make_id('x')}: -1"]),
    ("names.csv", "7,Another", "name_landmarks_are_unique", ["7"]),
    ("names.csv", "seven,Another", "name_landmarks_are_integers", ["seven"]),
    ("others/images.csv", f"{make_id('animal/0')},food,x", "distractor_ids_are_unique", [make_id("animal/0")]),
    ("others/images.csv", f"{SECOND},food,x", "distractors_show_no_landmark", [f"{SECOND}: True"]),
    ("others/images.csv", f"{make_id('x')},,x", "distractor_categories_are_given", [make_id("x")]),
    ("others/images.csv", f"{make_id('x')},food,x", "distractor_files_are_present", [f"{make_id('x')}: missing"]),
]


def test_every_flaw_is_found_and_named_in_one_error(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 2, 9: 2}, {"animal": 1})
    for table, row, _, _ in FLAWS:
        append(tmp_path / table, row)
    with pytest.raises(DataError) as caught:
        run(tmp_path)
    failures = find_failures(read_report(tmp_path))
    assert set(failures) == {name for _, _, name, _ in FLAWS}
    for name, (_, examples) in failures.items():
        assert name in str(caught.value)
        assert all(example in str(caught.value) for example in examples)
    for _, _, name, expected in FLAWS:
        assert all(example.split(":")[0] in " ".join(failures[name][1]) for example in expected if "row" not in example)


@pytest.mark.parametrize(("table", "row", "name", "examples"), [FLAWS[i] for i in (1, 2, 5, 9, 14)])
def test_one_flaw_stops_the_pipeline_with_its_example(
    tmp_path: Path, table: str, row: str, name: str, examples: list[str]
) -> None:
    make_folder(tmp_path, {7: 2, 9: 2}, {"animal": 1})
    append(tmp_path / table, row)
    with pytest.raises(DataError, match=name):
        run(tmp_path)
    assert find_failures(read_report(tmp_path))[name][1] == examples
    assert (tmp_path / "reports/data_docs/index.html").is_file()
    assert not (tmp_path / "validated").exists()


def test_at_most_five_examples_are_shown(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 8, 9: 2})
    for number in range(8):
        os.truncate(put_photo(tmp_path / "photos", make_id(f"7/{number}"), b"x"), 0)
    with pytest.raises(DataError, match="photo_files_are_not_empty: 8 found"):
        run(tmp_path)
    count, examples = find_failures(read_report(tmp_path))["photo_files_are_not_empty"]
    assert (count, examples) == (8, [f"{make_id(f'7/{number}')}: 0" for number in range(5)])


@pytest.mark.parametrize(("allowed", "passes"), [(0.1, False), (0.3, True), (0.7, True)])
def test_unreadable_photos_of_the_sample_count_against_the_limit(tmp_path: Path, allowed: float, passes: bool) -> None:
    make_folder(tmp_path, {7: 6, 9: 4})
    for number in range(3):
        put_photo(tmp_path / "photos", make_id(f"7/{number}"), b"no photo at all")
    if passes:
        run(tmp_path, max_unreadable_fraction=allowed)
        return
    with pytest.raises(DataError, match="photo_sample_is_readable: 3 found"):
        run(tmp_path, max_unreadable_fraction=allowed)
    (failure,) = find_failures(read_report(tmp_path)).items()
    assert failure[0] == "photo_sample_is_readable"
    assert [example[:16] for example in failure[1][1]] == [make_id(f"7/{number}") for number in range(3)]


def test_without_a_sample_no_photo_is_opened(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 2, 9: 2})
    put_photo(tmp_path / "photos", make_id("7/0"), b"no photo at all")
    assert isinstance(read_photo_set(run(tmp_path, sample_photos=0)).images, pd.DataFrame)
    assert read_report(tmp_path)["success"]
