"""The vocabulary is read as it was written; anything else is refused."""

from pathlib import Path

import pytest

from landmarks.errors import ArtifactError
from landmarks.schema.vocabulary import Landmark, read_vocabulary, write_vocabulary

LANDMARKS = (Landmark(0, 138_982, "Tower", 9, 2, 1), Landmark(1, -7, 'Höhe, "Nord"', 8, 0, 3))
HEADER = "label,landmark_id,name,train,val,test\n"


def test_a_vocabulary_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "vocabulary.csv", LANDMARKS)
    assert read_vocabulary(path) == LANDMARKS
    assert path.read_text() == HEADER + '0,138982,Tower,9,2,1\n1,-7,"Höhe, ""Nord""",8,0,3\n'
    assert read_vocabulary(write_vocabulary(path, ())) == ()


@pytest.mark.parametrize(
    "rows",
    [
        "0,1,a,1,1,1\n2,2,b,1,1,1\n",
        "1,1,a,1,1,1\n",
        "0,1,a,1,1,1\n0,2,b,1,1,1\n",
        "0,1,a,1,1\n",
        "0,1,a,1,1,1,1\n",
        "0,x,a,1,1,1\n",
        "0,1_0,a,1,1,1\n",
        "0,1,a,1.0,1,1\n",
        "0,1,a,,1,1\n",
        f"0,{'9' * 5000},a,1,1,1\n",
        f'0,1,"{"a" * 200_000}',
        "0,1,a\0,1,1,1\n",
        "0,1,\ud800,1,1,1\n",
    ],
)
def test_other_tables_are_refused(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "vocabulary.csv"
    path.write_bytes((HEADER + rows).encode("utf-8", "surrogatepass"))
    with pytest.raises(ArtifactError, match=r"vocabulary\.csv"):
        read_vocabulary(path)


@pytest.mark.parametrize(
    "text", ["label,landmark_id,name\n0,1,a\n", "label,label,landmark_id,name,train,val,test\n", "{}", ""]
)
def test_other_headers_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "vocabulary.csv").write_text(text)
    with pytest.raises(ArtifactError, match=r"vocabulary\.csv"):
        read_vocabulary(tmp_path / "vocabulary.csv")


def test_a_missing_vocabulary_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"vocabulary\.csv is missing"):
        read_vocabulary(tmp_path / "vocabulary.csv")
