"""Files and folders are whole or absent; digests follow the content; a lock has one holder."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from landmarks.errors import ArtifactError, LandmarksError
from landmarks.files import (
    compute_fingerprint,
    compute_sha256,
    compute_tree_sha256,
    hold_lock,
    read_json,
    replace_file,
    replace_folder,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), replace_file(path) as temporary:
        temporary.write_text(f"half {1 / 0}" if temporary.write_text("half") else "")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with replace_folder(folder) as temporary:
        write_text(temporary / "one", "1")
    with replace_folder(folder) as temporary:
        write_text(temporary / "two", "2")
    assert [path.name for path in folder.iterdir()] == ["two"]


def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with replace_folder(folder) as temporary:
        write_text(temporary / "one", "1")
    with pytest.raises(FileNotFoundError), replace_folder(folder) as temporary:
        write_text(temporary / "two", "2").rename(temporary / "missing" / "two")
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    with replace_folder(folder) as temporary:
        write_text(temporary / "one", "1")
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt), replace_folder(folder) as temporary:
        write_text(temporary / "two", "2")
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_be_renamed_and_what_a_kill_left_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    write_text(folder / "one", "1")
    write_text(tmp_path / f".out.{os.getpid()}.old" / "zero", "0")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == folder:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with replace_folder(folder) as temporary:
        write_text(temporary / "two", "2")
    assert [path.name for path in folder.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [folder]


def test_digests_follow_content_and_names(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "x", "abc")
    write_text(tmp_path / "b" / "x", "abc")
    write_text(tmp_path / "c" / "y", "abc")
    assert compute_sha256(tmp_path / "a" / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert compute_tree_sha256(tmp_path / "a") == compute_tree_sha256(tmp_path / "b")
    assert compute_tree_sha256(tmp_path / "a") != compute_tree_sha256(tmp_path / "c")
    assert compute_fingerprint({"a": 1, "b": 2}) == compute_fingerprint({"b": 2, "a": 1})
    assert compute_fingerprint({"a": 1}) != compute_fingerprint({"a": 2})


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"name": "Brühl", "n": 1})
    assert read_json(path) == {"name": "Brühl", "n": 1}
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"n": float("nan")})
    assert read_json(path) == {"name": "Brühl", "n": 1}
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(ArtifactError, match="is missing"):
        read_json(tmp_path / "b.json")


def test_a_lock_has_one_holder_and_ends_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "from pathlib import Path\nfrom landmarks.files import hold_lock\n"
        f"with hold_lock(Path({str(lock)!r}), 'x'): pass"
    )
    with hold_lock(lock, "training plain"):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "LandmarksError: Another landmarks process is x" in other.stderr
        with pytest.raises(LandmarksError, match="Another landmarks process"), hold_lock(lock, "training plain"):
            pass
    subprocess.run([sys.executable, "-c", code], check=True)
