from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from landmarks.errors import ArtifactError, DataError
from landmarks.files.digests import compute_tree_sha256
from landmarks.photos.places import Place
from landmarks.schema.names import decode_name
from landmarks.tables.photo_set import (
    PhotoSet,
    build_places,
    read_attribution_table,
    read_distractor_table,
    read_name_table,
    read_photo_set,
    read_photo_table,
    write_photo_set,
)
from reseal import digest_anew

ID = "17660ef415d37059"


def make_photo_set() -> PhotoSet:
    places = {
        "path": ["train/1.jpg", ""],
        "offset": [5, -1],
        "compressed_bytes": [10, -1],
        "method": np.array([8, -1], np.int8),
        "stamp": [77, -1],
    }
    images = pd.DataFrame({"image_id": [ID, "0" * 16], "landmark_id": ["1", None], **places})
    empty = pd.DataFrame({column: [] for column in ("image_id", "category", *places)})
    names = pd.DataFrame({"landmark_id": ["1"], "name": ["Göttingen"]})
    attributions = pd.DataFrame({"image_id": [ID], "author": ["Ä"], "license": ["CC0"], "url": ["u"], "title": [""]})
    return PhotoSet(images, empty, names, attributions, {"photos": {"kind": "folder", "path": "x"}, "distractors": {}})


@pytest.mark.parametrize(
    "text",
    [
        f"id,landmark_id\n{ID},1\n",
        f"\ufeffid,landmark_id\r\n{ID},1\r\n",
        f"id,landmark_id\n{ID},1",
        f'"id","landmark_id"\n"{ID}","1"\n',
        f"url,landmark_id,id\nhttp://x,1,{ID}\n",
    ],
)
def test_every_csv_dialect_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode())
    assert read_photo_table(path).to_dict("list") == {"image_id": [ID], "landmark_id": ["1"]}


@pytest.mark.parametrize("ends", [["\n"], ["\r\n"], ["\r"], ["\n\r"], ["\r", "\n"], ["\n", "\r\n", "\r"], ["\r\r\n"]])
def test_lines_may_end_in_every_way_and_in_several(tmp_path: Path, ends: list[str]) -> None:
    ids = [f"{number:016x}" for number in range(50_000)]  # several blocks of the reader

    def write(name: str, lines: list[str]) -> Path:
        path = tmp_path / name
        path.write_bytes("".join(line + ends[number % len(ends)] for number, line in enumerate(lines)).encode())
        return path

    table = read_photo_table(write("train.csv", ["id,landmark_id", *(f"{image_id},7" for image_id in ids)]))
    assert table["image_id"].tolist() == ids
    assert set(table["landmark_id"]) == {"7"}
    credits_path = write("credits.csv", ["id,url,author,license,title", *(f"{image_id},u,a,l,t" for image_id in ids)])
    attributions = read_attribution_table(credits_path, [pd.Series([ids[3], ids[-1]])])
    assert attributions.to_numpy().tolist() == [[image_id, "a", "l", "u", "t"] for image_id in (ids[3], ids[-1])]


def test_values_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("id,landmark_id\n0012,007\nNA,1e3\nnull, 5\n")
    table = read_photo_table(path)
    assert table.to_numpy().tolist() == [["0012", "007"], ["NA", "1e3"], ["null", " 5"]]
    path.write_text("id,landmark_id\n,\nx,5\n")
    assert read_photo_table(path).isna().to_numpy().tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"id,landmark_id\n", "no rows"),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "is not UTF-8 text"),
        ("id,landmark_id\nä,1\n".encode("utf-16"), "is not UTF-8 text"),
        ("id,landmark_id\nmünchen,1\n".encode("latin-1"), "UTF8"),
        (b"PK\x03\x04\x14\x00\x00", "lacks the column id"),
        (b"id,landmark_id\na,1,2\n", "Row #2: Expected 2 columns, got 3"),
        (b"id,landmark_id\na,1\nb\n", "Row #3: Expected 2 columns, got 1"),
        (b"id;landmark_id\na;1\n", "lacks the column id"),
        (b"image,landmark_id\na,1\n", "'image', 'landmark_id'"),
        (b"id,id,landmark_id\na,b,1\n", "more than once"),
        (b"\n\n\n", "lacks the column id"),
        (b"x" * 300_000, "lacks the column id"),
        (b'"id,landmark_id\na,1\n', "lacks the column id"),
    ],
)
def test_other_files_are_refused_with_their_path_and_the_expected_header(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_photo_table(path)
    message = str(caught.value)
    assert str(path) in message
    assert words in message
    assert "id,landmark_id" in message or "at least one photo" in message
    assert len(message) < 1000


@pytest.mark.parametrize("read", [read_photo_table, read_name_table, read_distractor_table])
def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, read: Callable[[Path], pd.DataFrame]) -> None:
    with pytest.raises(DataError, match="is missing"):
        read(tmp_path / "train.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path)


def test_random_bytes_always_give_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    random = np.random.default_rng(0)
    for size in (1, 10, 100, 5000, 200_000):
        for head in (b"", b"id,landmark_id\n"):
            path.write_bytes(head + random.bytes(size) + b"\xff")
            with pytest.raises(DataError, match=r"train\.csv"):
                read_photo_table(path)


@pytest.mark.parametrize("read", [read_name_table, read_distractor_table])
def test_a_blank_file_is_a_table_without_rows(tmp_path: Path, read: Callable[[Path], pd.DataFrame]) -> None:
    (tmp_path / "none.csv").write_text("\n")
    (tmp_path / "header.csv").write_text("id,landmark_id,name,category\n")
    table, expected = read(tmp_path / "none.csv"), read(tmp_path / "header.csv")
    pd.testing.assert_frame_equal(table, expected, check_index_type=False)
    assert table.empty


def test_names_may_hold_commas_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text('landmark_id,name\n1,"Sparkassen-Arena,_G%C3%B6ttingen"\n2,"the ""Egg"""\n')
    assert read_name_table(path)["name"].tolist() == ["Sparkassen-Arena,_G%C3%B6ttingen", 'the "Egg"']


def test_attributions_of_the_requested_photos_are_read_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"{number:016x}" for number in range(2000)]
    rows = [f'{i},http://x/{i},"A, {n}\nB",CC BY 3.0,File:{n}.jpg' for n, i in enumerate(ids)]
    path = tmp_path / "attribution.csv"
    path.write_text("\n".join(["id,url,author,license,title", *rows]) + "\n")
    monkeypatch.setattr("landmarks.tables.photo_set._BLOCK_BYTES", 4096)
    wanted = pd.Series([ids[1999], "not listed", ids[3], None, ids[3]], dtype="str")
    table = read_attribution_table(path, (wanted, pd.Series([ids[1000]], dtype="str")))
    assert table.to_dict("list") == {
        "image_id": [ids[3], ids[1000], ids[1999]],
        "author": ["A, 3\nB", "A, 1000\nB", "A, 1999\nB"],
        "license": ["CC BY 3.0"] * 3,
        "url": [f"http://x/{ids[n]}" for n in (3, 1000, 1999)],
        "title": ["File:3.jpg", "File:1000.jpg", "File:1999.jpg"],
    }


def test_missing_attributions_are_empty_texts_and_other_columns_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "attribution.csv"
    path.write_text(f"title,license,size,author,url,id\n,,7,,,{ID}\n,CC0,7,,,\n")
    (row,) = read_attribution_table(path, [pd.Series([ID])]).to_dict("records")
    assert row == {"image_id": ID, "author": "", "license": "", "url": "", "title": ""}
    path.write_text("\n")
    assert list(read_attribution_table(path, [pd.Series([ID])]).columns) == list(row)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"id,url,author,license,title\n{ID},u,a,l,t\n{ID},u,b,l,t\n", f"lists 1 photos twice, for example '{ID}'"),
        (f"id,url,author,license\n{ID},u,a,l\n", "lacks the column title"),
        (f"id,url,author,license,title\n{ID},u,a\n", "is not a table of id,author,license,url,title"),
    ],
)
def test_invalid_attributions_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "attribution.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        read_attribution_table(path, [pd.Series([ID])])
    assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(DataError, match="is missing"):
        read_attribution_table(path, [pd.Series([ID])])


def test_a_photo_set_survives_a_round_trip(tmp_path: Path) -> None:
    photo_set = make_photo_set()
    read = read_photo_set(write_photo_set(tmp_path, photo_set))
    pd.testing.assert_frame_equal(read.images, photo_set.images)
    pd.testing.assert_frame_equal(read.names, photo_set.names)
    pd.testing.assert_frame_equal(read.attributions, photo_set.attributions)
    assert read.distractors.dtypes.astype(str).to_dict() == {
        "image_id": "str", "category": "str", "path": "str", "offset": "int64", "compressed_bytes": "int64",
        "method": "int8", "stamp": "int64",
    }  # fmt: skip
    assert read.sources == photo_set.sources
    assert build_places(read.images) == [Place(ID, "train/1.jpg", 5, 10, 8), Place("0" * 16)]


def test_equal_sets_give_identical_bytes_whatever_their_index(tmp_path: Path) -> None:
    digests = set()
    for number, index in enumerate(([0, 1], [7, 3])):
        photo_set = make_photo_set()
        photo_set.images.index = pd.Index(index)
        (tmp_path / str(number)).mkdir()
        digests.add(compute_tree_sha256(write_photo_set(tmp_path / str(number), photo_set)))
    assert len(digests) == 1


@pytest.mark.parametrize(
    "name", ["images.parquet", "distractors.parquet", "names.parquet", "attributions.parquet", "source.json"]
)
def test_a_damaged_photo_set_is_refused_with_the_file_name(tmp_path: Path, name: str) -> None:
    path = write_photo_set(tmp_path, make_photo_set()) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactError, match=name):
        read_photo_set(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        read_photo_set(tmp_path)


def test_a_photo_set_with_other_columns_is_refused(tmp_path: Path) -> None:
    write_photo_set(tmp_path, make_photo_set())
    make_photo_set().names.to_parquet(tmp_path / "images.parquet")
    digest_anew(tmp_path / "source.json")
    with pytest.raises(ArtifactError, match="lacks the columns image_id, path, offset"):
        read_photo_set(tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Luitpoldpark_in_Munich", "Luitpoldpark in Munich"),
        ("Sparkassen-Arena,_G%C3%B6ttingen", "Sparkassen-Arena, Göttingen"),
        ("http://commons.wikimedia.org/wiki/Category:Ch%C3%A2teau_d%27If", "Château d'If"),
        ("Museu Nacional d'Art de Catalunya", "Museu Nacional d'Art de Catalunya"),
        ("100 % snake_case", "100 % snake_case"),
        ("Colosseum", "Colosseum"),
        ("Two%0ALines", "Two Lines"),
    ],
)
def test_category_names_become_readable(text: str, name: str) -> None:
    assert decode_name(text) == name
