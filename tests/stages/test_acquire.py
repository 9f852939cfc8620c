import os
import re
import zipfile
from pathlib import Path

import pytest

from landmarks.errors import DataError, ParamsError
from landmarks.files.digests import compute_tree_sha256
from landmarks.photos.places import build_photo_path
from landmarks.photos.sources import open_source
from landmarks.stages.acquire import acquire
from landmarks.tables.photo_set import build_places, read_photo_set
from photo_sets import make_acquire_params, make_folder, make_id, make_photo


def test_a_folder_becomes_a_photo_set_whose_photos_can_be_read(tmp_path: Path) -> None:
    params = make_folder(tmp_path, {7: 2, 9: 1}, {"animal": 1})
    photo_set = read_photo_set(acquire(tmp_path / "raw", params))
    ids = [make_id("7/0"), make_id("7/1"), make_id("9/0")]
    assert photo_set.images["image_id"].tolist() == ids
    assert photo_set.images["landmark_id"].tolist() == ["7", "7", "9"]
    assert photo_set.images["compressed_bytes"].tolist() == [len(make_photo(seed)) for seed in range(3)]
    assert photo_set.names.to_dict("list") == {"landmark_id": ["7", "9"], "name": ["Place No. 7", "Place No. 9"]}
    source = open_source(photo_set.sources["photos"])
    assert [source.read(place) for place in build_places(photo_set.images)] == [make_photo(seed) for seed in range(3)]
    assert photo_set.distractors[["image_id", "category"]].to_numpy().tolist() == [[make_id("animal/0"), "animal"]]
    everyone = [*ids, make_id("animal/0")]
    assert photo_set.attributions.to_dict("list") == {
        "image_id": everyone,
        "author": [f"Author of {image_id}" for image_id in everyone],
        "license": ["CC BY 0.0", "CC BY 1.0", "CC BY 2.0", "CC BY 3.0"],
        "url": [f"https://photos/{image_id}" for image_id in everyone],
        "title": [""] * 4,
    }
    (place,) = build_places(photo_set.distractors)
    assert open_source(photo_set.sources["distractors"]).read(place) == make_photo(10_000)


def test_an_archive_is_read_in_place(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 2, 9: 2})
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for seed, name in enumerate(("7/0", "7/1", "9/0")):
            archive.writestr(str(build_photo_path(make_id(name))), make_photo(seed))
    params = make_acquire_params(tmp_path, source="archive", photos=str(tmp_path / "all.zip"))
    photo_set = read_photo_set(acquire(tmp_path / "raw", params))
    assert photo_set.sources["photos"] == {"kind": "archive", "path": str(tmp_path / "all.zip")}
    places = build_places(photo_set.images)
    assert places[3].compressed_bytes == -1
    source = open_source(photo_set.sources["photos"])
    assert [source.read(place) for place in places[:3]] == [make_photo(seed) for seed in range(3)]


def test_equal_input_gives_equal_bytes_whatever_was_there_before(tmp_path: Path) -> None:
    params = make_folder(tmp_path, {7: 2, 9: 1}, {"animal": 1})
    (tmp_path / "first").mkdir()
    (tmp_path / "first/left_over.txt").write_text("old")
    digests = {compute_tree_sha256(acquire(tmp_path / name, params)) for name in ("first", "second")}
    assert len(digests) == 1
    assert not (tmp_path / "first/left_over.txt").exists()


def test_a_photo_replaced_by_one_of_the_same_size_is_seen(tmp_path: Path) -> None:
    params = make_folder(tmp_path, {7: 2, 9: 1}, {"animal": 1})
    before = compute_tree_sha256(acquire(tmp_path / "first", params))
    path = tmp_path / "photos" / build_photo_path(make_id("7/0"))
    path.write_bytes(bytes(len(path.read_bytes())))
    os.utime(path, ns=(0, 0))
    assert compute_tree_sha256(acquire(tmp_path / "second", params)) != before


def test_relative_paths_are_recorded_as_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path, {7: 1, 9: 1})
    monkeypatch.chdir(tmp_path)
    out = acquire(Path("data/raw"), make_acquire_params(Path()))
    assert read_photo_set(out).sources == {
        "photos": {"kind": "folder", "path": str(tmp_path / "photos")},
        "distractors": {"kind": "folder", "path": str(tmp_path / "others")},
    }


def test_distractors_may_be_the_photos_without_landmarks_of_googles_test_set(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 1, 9: 1})
    ids = {name: make_id(name) for name in ("none", "blank", "tower", "gone", "unknown")}
    for seed, name in enumerate(("none", "blank", "tower")):
        path = tmp_path / "gldv2/test" / Path(*ids[name][:3]) / f"{ids[name]}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(make_photo(seed))
    rows = [(ids["none"], "", "Private"), (ids["tower"], "7 9", "Public"), (ids["blank"], " ", "Public")]
    lines = [",".join(row) for row in [*rows, (ids["gone"], "", "Public"), (ids["unknown"], "", "Ignored")]]
    solution = tmp_path / "gldv2/recognition_solution_v2.1.csv"
    solution.write_text("\n".join(["id,landmarks,Usage", *lines, ""]))
    params = make_acquire_params(tmp_path, distractors_csv=str(solution))
    photo_set = read_photo_set(acquire(tmp_path / "raw", params))
    assert photo_set.sources["distractors"] == {"kind": "folder", "path": str(tmp_path / "gldv2"), "part": "test"}
    found = photo_set.distractors
    assert found["image_id"].tolist() == [ids["none"], ids["blank"], ids["gone"]]
    assert found["category"].tolist() == [ids[name][:2] for name in ("none", "blank", "gone")]
    assert (found["compressed_bytes"] >= 0).tolist() == [True, True, False]
    source, places = open_source(photo_set.sources["distractors"]), build_places(found)
    assert [source.read(place) for place in places[:2]] == [make_photo(0), make_photo(1)]
    with pytest.raises(DataError, match="is missing"):
        source.read(places[2])


def test_blank_files_mean_no_names_no_distractors_and_no_attributions(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 1, 9: 1}, {"animal": 1})
    (tmp_path / "none.csv").touch()
    none = str(tmp_path / "none.csv")
    params = make_acquire_params(tmp_path, names_csv=none, distractors_csv=none, attribution_csv=none)
    photo_set = read_photo_set(acquire(tmp_path / "raw", params))
    assert photo_set.names.empty
    assert photo_set.distractors.empty
    assert photo_set.attributions.empty
    assert len(photo_set.images) == 2


def test_ids_that_are_paths_reach_no_file(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 1, 9: 1})
    escape = "../secret"
    built = tmp_path / "photos" / build_photo_path(escape)
    secret = Path(os.path.normpath(built))  # where the naive path would end
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_bytes(b"secret")
    with (tmp_path / "train.csv").open("a") as stream:
        stream.write(f"{escape},7\n,9\n")
    images = read_photo_set(acquire(tmp_path / "raw", make_acquire_params(tmp_path))).images
    assert images["compressed_bytes"].tolist()[2:] == [-1, -1]
    assert images["image_id"].tolist()[2] == escape


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"table": "absent.csv"}, DataError, "absent.csv is missing"),
        ({"names_csv": "absent.csv"}, DataError, "absent.csv is missing"),
        ({"distractors_csv": "absent.csv"}, DataError, "absent.csv is missing"),
        ({"attribution_csv": "absent.csv"}, DataError, "absent.csv is missing"),
        ({"photos": "absent"}, DataError, "absent"),
        ({"photos": ""}, ParamsError, "acquire.photos is empty"),
        ({"source": "archive"}, DataError, "photos"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, str], error: type[Exception], words: str
) -> None:
    make_folder(tmp_path, {7: 1, 9: 1})
    with pytest.raises(error, match=words):
        acquire(tmp_path / "raw", make_acquire_params(tmp_path, **changes))
    assert {path.name for path in tmp_path.iterdir()} == {
        "photos", "others", "train.csv", "names.csv", "attribution.csv",
    }  # fmt: skip


def move_photos(root: Path, layout: str) -> None:
    """Move the photos to another layout; {id}, {a}, {b} and {c} stand for the id and its first digits."""
    for path in sorted((root / "photos").rglob("*.jpg")):
        a, b, c = list(path.stem[:3])
        new = root / "photos" / layout.format(id=path.stem, a=a, b=b, c=c)
        new.parent.mkdir(parents=True, exist_ok=True)
        path.rename(new)


@pytest.mark.parametrize(
    ("layout", "there", "advice"),
    [
        ("train/{id}.jpg", "train/{id}.jpg", "Lay the photos out below"),
        ("{id}.JPEG", "{id}.JPEG", "Lay the photos out below"),
        ("{a}/{b}/{c}/{id}.jpg", "{a}/{b}/{c}/{id}.jpg", "Lay the photos out below"),
        ("train/{a}/{b}/{c}/{id}", "train/{a}/{b}/{c}/{id}", "Lay the photos out below"),
        ("gldv2/train/{a}/{b}/{c}/{id}.jpg", "gldv2/train/{a}/{b}/{c}/{id}.jpg", "Name the folder {root}/gldv2/ in"),
        ("train/.hidden/{id}.jpg", None, "Lay the photos out below"),
    ],
)
def test_photos_in_another_layout_are_shown_beside_the_path_that_was_looked_for(
    tmp_path: Path, layout: str, there: str | None, advice: str
) -> None:
    params = make_folder(tmp_path, {7: 1, 9: 1})
    move_photos(tmp_path, layout)
    root = tmp_path / "photos"
    for name in ("._0123456789abcdef.jpg", "@eaDir/a.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    with pytest.raises(DataError, match="None of 2 photos is there") as caught:
        acquire(tmp_path / "raw", params)
    assert f": {root / build_photo_path(make_id('7/0'))} was looked for, but there is " in str(caught.value)
    shown = [there.format(id=i, a=i[0], b=i[1], c=i[2]) for i in map(make_id, ("7/0", "9/0"))] if there else []
    assert any(f"but there is {root}/{path}." in str(caught.value) for path in shown) or (
        not there and f"but there is no photo below it. {advice}" in str(caught.value)
    )
    assert advice.format(root=root) in str(caught.value)
    assert not (tmp_path / "raw").exists()


def test_an_archive_with_a_folder_above_shows_a_photo_of_it(tmp_path: Path) -> None:
    make_folder(tmp_path, {7: 1, 9: 1})
    looked_for = build_photo_path(make_id("7/0"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("readme.txt", b"x")
        archive.writestr("__MACOSX/photos/._x.jpg", b"x")
        archive.writestr(f"photos/{build_photo_path(make_id('another'))}", b"x")
        archive.writestr(f"photos/{looked_for}", b"x")
    params = make_acquire_params(tmp_path, source="archive", photos=str(tmp_path / "all.zip"))
    expected = (
        f"{looked_for} was looked for in {tmp_path / 'all.zip'}, but it holds photos/{looked_for}. Zip the photos as"
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        acquire(tmp_path / "raw", params)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("__MACOSX/photos/._x.jpg", b"x")
    with pytest.raises(DataError, match=r"but it holds no photo\. Zip the photos as train/a/b/c/<id>\.jpg"):
        acquire(tmp_path / "raw", params)


def test_distractors_in_another_layout_are_shown_as_well(tmp_path: Path) -> None:
    params = make_folder(tmp_path, {7: 1, 9: 1}, {"animal": 1})
    (path,) = (tmp_path / "others").rglob("*.jpg")
    path.rename(tmp_path / "others" / path.name)
    with pytest.raises(
        DataError, match=f"None of 1 photos is there: {path} was looked for, but there is .*{path.name}"
    ):
        acquire(tmp_path / "raw", params)


def test_some_missing_photos_are_left_to_the_validation(tmp_path: Path) -> None:
    params = make_folder(tmp_path, {7: 1, 9: 1})
    (tmp_path / "photos" / build_photo_path(make_id("7/0"))).unlink()
    assert read_photo_set(acquire(tmp_path / "raw", params)).images["compressed_bytes"].min() == -1


def test_the_demo_draws_photos_that_can_be_read_and_records_where_they_end_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = make_acquire_params(tmp_path, source="demo", photos="", table="none", names_csv="none")
    photo_set = read_photo_set(acquire(Path("data/raw"), params))
    assert photo_set.sources["photos"] == {"kind": "archive", "path": "data/raw/photos.zip"}
    assert photo_set.images["landmark_id"].value_counts().tolist() == [3, 3]
    assert len(photo_set.distractors) == 4
    assert photo_set.attributions["image_id"].tolist() == photo_set.images["image_id"].tolist()
    assert set(photo_set.attributions["author"]) == {"landmarks demo"}
    assert set(photo_set.attributions["license"]) == {"Apache-2.0"}
    for kind, table in (("photos", photo_set.images), ("distractors", photo_set.distractors)):
        source = open_source(photo_set.sources[kind])
        assert all(source.read(place).startswith(b"\xff\xd8") for place in build_places(table))
