"""`landmarks init`: every layout is recognized, what was found is said, and a user's edits are never lost."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from landmarks.cli import main
from landmarks.errors import DataError
from landmarks.params import read_params
from landmarks.tables.survey import describe_changes, find_layout
from photo_sets import make_folder, make_photo

ROOT = Path(__file__).parents[2]


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(make_photo(len(path)))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the experiments of this project."""
    folder = tmp_path / "project"
    (folder / "experiments").mkdir(parents=True)
    for name in ("default.yaml", "photos.yaml", "none.csv"):
        shutil.copy2(ROOT / "experiments" / name, folder / "experiments" / name)
    shutil.copy2(ROOT / "experiments/default.yaml", folder / "params.yaml")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def castles(tmp_path: Path) -> Path:
    """Two landmarks with thirty photos each, and one with a single photo."""
    names = [f"{name}/{number}.jpg" for name in ("Älpburg", "Burg, alt") for number in range(30)]
    put(tmp_path / "Castles", *names, "Turm/1.jpg")
    return tmp_path / "Castles"


def init(*arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)], **options)


def test_each_layout_is_recognized(tmp_path: Path) -> None:
    put(tmp_path / "classes", "a/1.jpg", "b/x/2.jpg")
    assert find_layout(tmp_path / "classes") == {"source": "classes", "photos": str(tmp_path / "classes")}
    put(tmp_path / "listed", "1.jpg")
    table = tmp_path / "listed/list.csv"
    table.write_text("path,label\n1.jpg,a\n")
    assert find_layout(table) == {"source": "table", "table": str(table)}
    make_folder(tmp_path / "kaggle", {7: 1, 9: 1})
    shutil.copy2(tmp_path / "kaggle/train.csv", tmp_path / "kaggle/photos/train.csv")
    kaggle = {"source": "folder", "photos": str(tmp_path / "kaggle/photos")}
    for place in ("kaggle/photos", "kaggle/photos/train.csv"):
        assert find_layout(tmp_path / place) == kaggle | {"table": str(tmp_path / "kaggle/photos/train.csv")}
    (tmp_path / "hub/data").mkdir(parents=True)
    rows = pa.table({"image": [{"bytes": make_photo(1), "path": "1.jpg"}], "label": ["a"]})
    pa.parquet.write_table(rows, tmp_path / "hub/data/train-0.parquet")
    assert find_layout(tmp_path / "hub") == {"source": "huggingface", "photos": str(tmp_path / "hub")}
    (tmp_path / "zip").mkdir()
    (tmp_path / "zip/all.zip").write_bytes(b"")
    (tmp_path / "zip/train.csv").write_text("id,landmark_id\n")
    assert find_layout(tmp_path / "zip/all.zip")["source"] == "archive"


@pytest.mark.parametrize(
    ("files", "given", "message"),
    [
        ((), "nowhere", r"nowhere is missing\. Give the path of a folder per landmark"),
        (("x.doc",), "x.doc", "is none of what can be read"),
        (("1.jpg", "list.csv"), "", r"has no folders with photos in them.*Give the path of list\.csv if it lists them"),
        (("a.zip",), "a.zip", r"train\.csv is missing\. Kaggle's train\.csv must be beside its zip"),
    ],
)
def test_what_has_no_layout_is_explained(tmp_path: Path, files: tuple[str, ...], given: str, message: str) -> None:
    put(tmp_path / "root", *files)
    (tmp_path / "root").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message):
        find_layout(tmp_path / "root" / given)


def test_what_was_found_is_said_and_written(project: Path, castles: Path) -> None:
    (castles / "Älpburg/broken.jpg").write_bytes(b"\xff\xd8\xff")
    done = init(castles)
    assert done.exit_code == 0, done.output
    assert f"{castles} is a folder per landmark: 3 landmarks with 62 photos, 1 to 31 each." in done.stdout
    assert "Unreadable: 1 of 62 photos looked at, such as Älpburg/broken.jpg: The photo is damaged" in done.stdout
    assert (
        "Too small for all splits: 1 of the landmarks, such as Turm (1), without a photo in val or test" in done.stdout
    )
    assert "No distractors (photos of no landmark): every photo will get a name" in done.stdout
    assert done.stdout.endswith("Wrote params.yaml for castles.\nRun `dvc repro` next.\n")
    params = read_params(project / "params.yaml")
    assert (params.acquire.source, params.acquire.photos) == ("classes", str(castles))
    assert (params.acquire.listing, params.register_.model_name) == ("experiments/castles.csv", "castles")
    assert params.prepare.image_size == 128
    listing = pd.read_csv(project / "experiments/castles.csv")
    assert list(listing) == ["set", "path", "bytes", "changed"]
    assert len(listing) == 62


def test_again_it_keeps_edits_and_renews_the_listing(project: Path, castles: Path) -> None:
    init(castles)
    for path in ("params.yaml", "experiments/castles.yaml"):
        with (project / path).open("a") as stream:
            stream.write("# mine\n")
    put(castles, "Turm/2.jpg")
    done = init(castles)
    assert done.exit_code == 0, done.output
    assert "Kept experiments/castles.yaml" in done.stdout
    assert "Kept params.yaml" in done.stdout
    assert (project / "params.yaml").read_text().endswith("# mine\n")
    assert "Turm/2.jpg" in (project / "experiments/castles.csv").read_text()


def test_other_contents_are_replaced_on_demand_only(project: Path, castles: Path) -> None:
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# mine\n")
    before = {path.name: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    done = init(castles)
    assert done.exit_code == 1
    assert "params.yaml has other contents, and nothing was written. Save it elsewhere, or add --yes." in done.stderr
    assert {path.name: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert init(castles, "--yes").exit_code == 0
    assert read_params(project / "params.yaml").acquire.source == "classes"


@pytest.mark.parametrize("name", ["Castles", "a b", "", "../x", "ä"])
@pytest.mark.usefixtures("project")
def test_a_name_that_cannot_be_used_is_refused(castles: Path, name: str) -> None:
    done = init(castles, "--name", name)
    assert done.exit_code == (0 if name == "" else 1)  # an empty one is none
    assert not name or "use lower-case letters, digits and underscores" in done.stderr


def test_distractors_are_listed_too(project: Path, castles: Path, tmp_path: Path) -> None:
    put(tmp_path / "others", *(f"{number}.jpg" for number in range(5)))
    done = init(castles, "--distractors", tmp_path / "others", "--name", "mine")
    assert "Distractors (photos of no landmark): 5." in done.stdout
    listing = pd.read_csv(project / "experiments/mine.csv")
    assert listing["set"].value_counts().to_dict() == {"photos": 61, "distractors": 5}
    assert read_params(project / "params.yaml").acquire.distractors == str(tmp_path / "others")


@pytest.mark.usefixtures("project")
def test_acquire_says_when_photos_changed_since_they_were_listed(
    castles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    init(castles)
    assert CliRunner().invoke(main, ["acquire"]).exit_code == 0
    assert "differ from the listing" not in caplog.text
    put(castles, "Turm/2.jpg", "Turm/3.jpg")
    (castles / "Turm/1.jpg").unlink()
    (castles / "Älpburg/0.jpg").write_bytes(make_photo(99) + b"x")
    assert CliRunner().invoke(main, ["acquire"]).exit_code == 0
    assert "The photos differ from the listing: 2 new, 1 gone, 1 changed." in caplog.text
    assert "Run `landmarks init` again to renew experiments/castles.csv" in caplog.text


def test_a_listing_that_is_gone_is_explained(project: Path, castles: Path) -> None:
    init(castles)
    (project / "experiments/castles.csv").unlink()
    done = CliRunner().invoke(main, ["acquire"])
    assert done.exit_code == 1
    assert "The listing experiments/castles.csv cannot be read" in done.stderr
    assert not (project / "data/raw").exists()


def test_a_kaggle_table_of_texts_is_explained(project: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "kaggle", {7: 2, 9: 2})
    photos = tmp_path / "kaggle/photos"
    text = (tmp_path / "kaggle/train.csv").read_text().replace(",7", ",seven")
    (photos / "train.csv").write_text(text)
    done = init(photos)
    assert done.exit_code == 1
    assert "'seven' is no landmark_id, which must be a whole number in Kaggle's layout" in done.stderr
    assert not (project / "experiments/photos.csv").exists()


def test_a_path_with_a_dollar_is_refused(project: Path, castles: Path) -> None:
    castles.rename(castles.with_name("US$ castles"))
    done = init(castles.with_name("US$ castles"))
    assert done.exit_code == 1
    assert "has a $, which experiments take for an environment variable" in done.stderr
    assert sorted(path.name for path in (project / "experiments").iterdir()) == [
        "default.yaml",
        "none.csv",
        "photos.yaml",
    ]


def test_a_listing_of_another_kind_counts_everything_as_new(project: Path, castles: Path) -> None:
    init(castles)
    from landmarks.tables.collection import collect_photo_set

    photo_set = collect_photo_set(read_params(project / "params.yaml").acquire)
    assert describe_changes("a,b\n1,2\n", photo_set) == "The photos differ from the listing: 62 new."
