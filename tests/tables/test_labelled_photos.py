import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from landmarks.errors import DataError
from landmarks.params import AcquireParams
from landmarks.photos.sources import open_source
from landmarks.tables.collection import collect_photo_set
from landmarks.tables.labelled_photos import hash_label, number_labels
from landmarks.tables.photo_set import PhotoSet, build_places
from photo_sets import make_acquire_params, make_photo

NAMES = ("Eiffel Tower", "Sagrada Família", "برج خليفة", "東京タワー", "O'Connell, “Bridge” 🌉", "[a] (b) 50 %_#")


def make_params(tmp_path: Path, **changes: Any) -> AcquireParams:
    blank = tmp_path / "none.csv"
    blank.write_bytes(b"")
    tables = dict.fromkeys(("table", "names_csv", "distractors_csv", "attribution_csv", "listing"), str(blank))
    return make_acquire_params(tmp_path, **{**tables, **changes})


def put(root: Path, *paths: str) -> None:
    for seed, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(make_photo(seed))


def read_photos(photo_set: PhotoSet) -> dict[str, bytes]:
    source = open_source(photo_set.sources["photos"])
    return {place.image_id: source.read(place) for place in build_places(photo_set.images)}


def name_photos(photo_set: PhotoSet) -> dict[str, str]:
    """The name of the landmark of each photo."""
    names = dict(zip(photo_set.names["landmark_id"], photo_set.names["name"], strict=True))
    images = photo_set.images
    return dict(zip(images["image_id"], images["landmark_id"].map(names), strict=True))


def test_a_folder_per_landmark_is_a_photo_set(tmp_path: Path) -> None:
    paths = [f"{name}/{n}{suffix}" for name in NAMES for n, suffix in enumerate((".jpg", ".JPEG", ".png"))]
    deep = f"{NAMES[0]}/2019/may/x y.webp"
    put(
        tmp_path / "photos",
        *paths,
        deep,
        "loose.jpg",
        f"{NAMES[1]}/.hidden.jpg",
        f"{NAMES[1]}/notes.txt",
        "empty/x.doc",
    )
    photo_set = collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "photos")))
    expected = {path: path.split("/")[0] for path in [*paths, deep]}
    assert name_photos(photo_set) == expected
    assert read_photos(photo_set)[paths[4]] == make_photo(4)
    assert photo_set.distractors.empty
    assert photo_set.attributions.empty
    assert photo_set.images["landmark_id"].map(int).between(0, 2**53).all()


def test_what_is_left_out_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "photos", "a/1.jpg", "b/1.jpg", "loose.jpg", "a/._1.jpg", "a/film.mov", "a/1.aae")
    collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "photos")))
    text = " ".join(record.message for record in caplog.records)
    assert "1 without a folder of its landmark (loose.jpg)" in text
    assert "1 hidden or of the system" in text
    assert "2 not a photo" in text
    assert "film.mov" in text


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "testing"), ("train", "test")])
def test_folders_of_splits_above_the_landmarks_are_the_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    put(tmp_path / "photos", *(f"{split}/{landmark}/{n}.jpg" for split in names for landmark in "ab" for n in range(2)))
    photo_set = collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "photos")))
    kinds = {"training": "train", "validation": "val", "testing": "test"}
    found = dict(zip(photo_set.images["image_id"], photo_set.images["given_split"], strict=True))
    assert len(found) == 4 * len(names)
    for image_id, split in found.items():
        top = image_id.split("/")[0].lower()
        assert split == kinds.get(top, top)
    assert set(name_photos(photo_set).values()) == {"a", "b"}


def test_landmarks_named_like_a_split_are_landmarks_beside_others(tmp_path: Path) -> None:
    put(tmp_path / "photos", "train/1.jpg", "castle/1.jpg", "test/1.jpg")
    photo_set = collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "photos")))
    assert set(name_photos(photo_set).values()) == {"train", "castle", "test"}
    assert "given_split" not in photo_set.images


def test_ids_stay_the_same_when_the_root_moves(tmp_path: Path) -> None:
    for place in ("here", "elsewhere/deep"):
        put(tmp_path / place, *(f"{name}/1.jpg" for name in NAMES))
    one, other = (
        collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / place)))
        for place in ("here", "elsewhere/deep")
    )
    pd.testing.assert_frame_equal(one.images.drop(columns="stamp"), other.images.drop(columns="stamp"))


def test_two_paths_that_differ_in_their_unicode_form_alone_are_an_error(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        put(tmp_path / "photos", unicodedata.normalize(form, "café/é.jpg"), "b/1.jpg")
    with pytest.raises(DataError, match=r"Two photos have the id 'café/é.jpg': .*Rename one") as caught:
        collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "photos")))
    assert r"caf\xe9" in str(caught.value)
    assert r"cafe\u0301" in str(caught.value)


def test_a_folder_without_landmarks_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "photos", "1.jpg")
    with pytest.raises(DataError, match="has no folders with photos in them"):
        collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "photos")))
    with pytest.raises(DataError, match="nowhere is missing"):
        collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "nowhere")))


TABLE = pd.DataFrame(
    {
        "Image": ["a/1.jpg", "./a//2.jpg", "b/3.png", "b/../b/4.jpg"],
        "landmark": ["Tower, old", "Tower, old", "Tor", "Tor"],
        "subset": ["train", "Validation", "test", ""],
        "author": ["Ann", None, "Bob", ""],
        "license": ["CC0", "", "", ""],
    }
)


def write_table(path: Path, table: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep={".csv": ",", ".ssv": ";", ".tsv": "\t"}[path.suffix])
    return path


@pytest.mark.parametrize("suffix", [".csv", ".ssv", ".tsv", ".parquet"])
def test_a_table_of_paths_and_labels_is_a_photo_set(tmp_path: Path, suffix: str) -> None:
    put(tmp_path / "photos", "a/1.jpg", "a/2.jpg", "b/3.png", "b/4.jpg")
    table = write_table(tmp_path / f"photos/list{suffix}", TABLE)
    photo_set = collect_photo_set(make_params(tmp_path, source="table", table=str(table), photos=""))
    assert name_photos(photo_set) == {
        "a/1.jpg": "Tower, old",
        "a/2.jpg": "Tower, old",
        "b/3.png": "Tor",
        "b/4.jpg": "Tor",
    }
    assert photo_set.images["given_split"].tolist() == ["train", "val", "test", ""]
    assert photo_set.attributions["author"].tolist() == ["Ann", "", "Bob", ""]
    assert list(photo_set.attributions) == ["image_id", "author", "license", "url", "title"]
    assert read_photos(photo_set)["b/3.png"] == make_photo(2)


def test_whole_numbers_are_landmark_ids_and_get_their_names_from_the_table_of_names(tmp_path: Path) -> None:
    put(tmp_path / "photos", "1.jpg", "2.jpg", "3.jpg")
    rows = pd.DataFrame({"path": ["1.jpg", "2.jpg", "3.jpg"], "class": [7, 7, 12]})
    table = write_table(tmp_path / "photos/list.parquet", rows)
    names = write_table(tmp_path / "names.csv", pd.DataFrame({"landmark_id": [7, 9], "name": ["Seven", "Nine"]}))
    params = make_params(tmp_path, source="table", table=str(table), photos="", names_csv=str(names))
    photo_set = collect_photo_set(params)
    assert photo_set.images["landmark_id"].tolist() == ["7", "7", "12"]
    assert photo_set.names.to_dict("list") == {"landmark_id": ["7"], "name": ["Seven"]}


def test_a_table_may_lie_elsewhere_and_name_its_columns(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a/1.jpg", "b/2.jpg")
    rows = {"where": [str(tmp_path / "photos/a/1.jpg"), "b\\2.jpg"], "what": ["x", "y"], "path": ["no", "no"]}
    table = write_table(tmp_path / "tables/list.csv", pd.DataFrame(rows))
    columns = make_params(tmp_path).columns.model_dump() | {"path": "where", "label": "what"}
    params = make_params(tmp_path, source="table", table=str(table), photos=str(tmp_path / "photos"), columns=columns)
    assert name_photos(collect_photo_set(params)) == {"a/1.jpg": "x", "b/2.jpg": "y"}


def test_paths_in_another_unicode_form_are_found(tmp_path: Path) -> None:
    put(tmp_path / "photos", unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "ö.jpg"))
    rows = {"file": [unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "ö.jpg")], "label": ["e", "o"]}
    table = write_table(tmp_path / "photos/list.csv", pd.DataFrame(rows))
    photo_set = collect_photo_set(make_params(tmp_path, source="table", table=str(table), photos=""))
    assert read_photos(photo_set) == {"é.jpg": make_photo(0), "ö.jpg": make_photo(1)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"path": ["../x.jpg"], "label": ["a"]}, r"'\.\./x\.jpg', which is not below .*Set acquire\.photos"),
        ({"path": ["/etc/passwd"], "label": ["a"]}, "'/etc/passwd', which is not below"),
        ({"path": ["https://x.org/1.jpg"], "label": ["a"]}, "an address. Photos must be files"),
        (
            {"path": ["no.jpg", "none.jpg"], "label": ["a", "b"]},
            "None of 2 photos is there: no.jpg was looked for",
        ),
        (
            {"path": ["1.jpg"], "kind": ["a"]},
            r"no column label, .*It has 'path', 'kind'.*acquire\.columns\.label",
        ),
        ({"id": ["1.jpg"], "label": ["a"]}, r"no column path, .*acquire\.columns\.path"),
        ({"path": ["1.jpg"], "label": ["a"], "split": ["holdout"]}, r"a split 'holdout'\. Known are train"),
        ({"path": ["1.jpg"], "label": ["a"], "Label": ["b"]}, "has the column 'label' more than once"),
        ({"path": [], "label": []}, "has a header but no rows"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, rows: dict[str, list[str]], message: str, suffix: str
) -> None:
    put(tmp_path / "photos", "1.jpg")
    table = write_table(tmp_path / f"photos/list{suffix}", pd.DataFrame(rows, dtype="str"))
    with pytest.raises(DataError, match=message):
        collect_photo_set(make_params(tmp_path, source="table", table=str(table), photos=""))


def test_a_column_that_is_given_but_not_there_is_named(tmp_path: Path) -> None:
    table = write_table(tmp_path / "list.csv", TABLE)
    columns = make_params(tmp_path).columns.model_dump() | {"label": "monument"}
    with pytest.raises(DataError, match=r"no column 'monument', acquire\.columns\.label\. It has 'Image'"):
        collect_photo_set(make_params(tmp_path, source="table", table=str(table), photos="", columns=columns))


def make_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": make_photo(first + n), "path": f"{first + n}.jpg"} for n in range(count)]


def write_dataset(path: Path, labels: list[Any], names: list[str] | None, arrow: bool) -> None:
    """Write a file as Hugging Face Datasets does, with the features in the metadata."""
    label: dict[str, Any] = {"_type": "Value", "dtype": "string"}
    if names:
        label = {"_type": "ClassLabel", "names": names}
    features = {"image": {"_type": "Image"}, "label": label}
    table = pa.table({"image": make_rows(len(labels)), "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    if not arrow:
        pa.parquet.write_table(table, path, row_group_size=2)
        return
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


@pytest.mark.parametrize("arrow", [False, True])
def test_a_data_set_of_hugging_face_is_a_photo_set(tmp_path: Path, arrow: bool) -> None:
    train, test = (
        ("train/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow")
        if arrow
        else ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")
    )
    write_dataset(tmp_path / "hub" / train, [0, 1, 0, 1, 1], ["Eiffel Tower", "Tor"], arrow)
    write_dataset(tmp_path / "hub" / test, [1, 0], ["Eiffel Tower", "Tor"], arrow)
    photo_set = collect_photo_set(make_params(tmp_path, source="huggingface", photos=str(tmp_path / "hub")))
    assert photo_set.images["image_id"].tolist() == [f"{test}/0", f"{test}/1", *(f"{train}/{n}" for n in range(5))]
    assert photo_set.images["given_split"].tolist() == ["test"] * 2 + ["train"] * 5
    assert name_photos(photo_set)[f"{train}/0"] == "Eiffel Tower"
    assert photo_set.images["landmark_id"].tolist() == ["1", "0", "0", "1", "0", "1", "1"]
    photos = read_photos(photo_set)
    assert [photos[f"{train}/{n}"] for n in range(5)] == [make_photo(n) for n in range(5)]


def test_a_row_without_a_photo_is_missing_and_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "hub/all.parquet"
    path.parent.mkdir()
    rows = [*make_rows(1), {"bytes": None, "path": "x.jpg"}]
    pa.parquet.write_table(pa.table({"photo": rows, "landmark": ["a", "b"]}), path)
    photo_set = collect_photo_set(make_params(tmp_path, source="huggingface", photos=str(tmp_path / "hub")))
    first, second = build_places(photo_set.images)
    source = open_source(photo_set.sources["photos"])
    assert source.read(first) == make_photo(0)
    with pytest.raises(DataError, match="The photo is missing"):
        source.read(second)
    with pytest.raises(DataError, match="has changed since it was indexed"):
        source.read(type(first)(first.image_id, first.path, 1, 5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 not parquet PAR1", "is damaged or not a Parquet file"),
        (None, "has no photos in the column 'image'"),
        (b"", "is damaged or not a Parquet file"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    (tmp_path / "hub").mkdir()
    if content is None:
        pa.parquet.write_table(pa.table({"image": ["a.jpg"], "label": ["x"]}), tmp_path / "hub/a.parquet")
    else:
        (tmp_path / "hub/a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=message):
        collect_photo_set(make_params(tmp_path, source="huggingface", photos=str(tmp_path / "hub")))


def test_a_folder_of_distractors_is_divided_by_its_folders_or_by_its_ids(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a/1.jpg", "b/1.jpg")
    put(tmp_path / "few", *(f"{n}.jpg" for n in range(40)), "food/x.jpg")
    put(tmp_path / "many", *(f"{kind}/{n}.jpg" for kind in "cdefgh" for n in range(2)))
    for folder, categories in (("few", None), ("many", set("cdefgh"))):
        params = make_params(
            tmp_path, source="classes", photos=str(tmp_path / "photos"), distractors=str(tmp_path / folder)
        )
        found = collect_photo_set(params).distractors
        assert len(found) == {"few": 41, "many": 12}[folder]
        assert (found["compressed_bytes"] > 0).all()
        assert set(found["category"]) == categories if categories else found["category"].nunique() > 20


def test_numbers_of_labels_do_not_depend_on_each_other() -> None:
    some, names = number_labels(pd.Series(["b", "a", None, "a"], dtype="str"), {"a": "Alpha"})
    more, _ = number_labels(pd.Series(["c", "b"], dtype="str"), {})
    assert some[0] == more[1] == str(hash_label("b"))
    assert some.isna().tolist() == [False, False, True, False]
    assert dict(zip(names["landmark_id"], names["name"], strict=True)) == {some[1]: "Alpha", some[0]: "b"}
    assert number_labels(pd.Series(["1", "02"], dtype="str"), {})[0].tolist() == [
        str(hash_label(t)) for t in ("1", "02")
    ]


def test_photos_of_other_formats_are_read_from_any_folder(tmp_path: Path) -> None:
    for name, kind in (("1.png", "PNG"), ("2.WEBP", "WEBP"), ("3.bmp", "BMP")):
        stream = io.BytesIO()
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(stream, kind)
        (tmp_path / "photos/a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos/a" / name).write_bytes(stream.getvalue())
    photo_set = collect_photo_set(make_params(tmp_path, source="classes", photos=str(tmp_path / "photos")))
    assert sorted(read_photos(photo_set)) == ["a/1.png", "a/2.WEBP", "a/3.bmp"]
