"""Files and folders are whole or absent; digests follow the content; a lock has one holder."""

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from landmarks import files
from landmarks.errors import ArtifactError, LandmarksError
from landmarks.files import (
    compute_fingerprint,
    compute_sha256,
    compute_tree_sha256,
    explain_fault,
    hold_lock,
    open_scratch,
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
        if target == folder and path.name == "out":
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
    write_text(tmp_path / ".out.tmp" / "out.old" / "zero", "0")
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


def test_a_folder_that_cannot_be_replaced_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    write_text(folder / "one", "1")

    def refuse(path: Path, target: Path) -> Path:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path), None, str(target))  # a mount point

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="busy"), replace_folder(folder) as temporary:
        write_text(temporary / "two", "2")
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [folder]


KILLED = """
import os, sys, signal
from pathlib import Path
from landmarks.files import open_scratch, replace_file, replace_folder
with {what} as temporary:
    (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
    print(temporary, flush=True)
    {then}
"""


def start(what: str, then: str, folder: Path) -> "subprocess.Popen[str]":
    code = KILLED.format(what=what, then=then)
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, text=True, stdout=-1, stdin=-1
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.parametrize("what", ["replace_file(Path('out'))", "replace_folder(Path('out'))"])
def test_the_next_write_clears_what_a_kill_left(tmp_path: Path, what: str) -> None:
    start(what, "os.kill(os.getpid(), signal.SIGKILL)", tmp_path).communicate()
    assert [path.name for path in tmp_path.iterdir()] == [".out.tmp"]
    with replace_file(tmp_path / "out") as temporary:
        assert not temporary.exists()
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_folder_of_a_live_process_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WAIT_FOR_WORKERS", 0.2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    writer = start("replace_folder(Path('out'))", "input()", tmp_path)
    scratch = start("open_scratch('test')", "input()", tmp_path)
    with (
        pytest.raises(LandmarksError, match=r"Another landmarks process is writing .*out"),
        replace_file(tmp_path / "out"),
    ):
        pass
    with open_scratch("test"):
        assert len(list(tmp_path.glob("landmarks-test-*"))) == 2
    for process in (writer, scratch):
        process.communicate("\n")
        assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_scratch_folders_of_killed_processes_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    start("open_scratch('test')", "os.kill(os.getpid(), signal.SIGKILL)", tmp_path).communicate()
    assert len(list(tmp_path.iterdir())) == 1
    with open_scratch("other"):
        assert len(list(tmp_path.iterdir())) == 2  # another purpose, another stage
    with open_scratch("test") as folder:
        assert list(folder.iterdir()) == []
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the rename would otherwise leave an empty file in place of the old one."""
    forced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        forced.append(Path(f"/proc/self/fd/{descriptor}").resolve().relative_to(tmp_path).as_posix())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_text(tmp_path / "a", "1")
    assert forced == [".a.tmp/a", "."]
    forced.clear()
    with replace_folder(tmp_path / "b") as temporary:
        (temporary / "c").mkdir()
        (temporary / "c" / "d").write_text("2")
    assert forced == [".b.tmp/b/c/d", ".b.tmp/b/c", ".b.tmp/b", "."]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a"), "There is no space left to write a "),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), r"no space left to write a file, .*\(Disk quota exceeded\)"),
        (OSError(errno.EROFS, "Read-only file system", "a"), "It is not possible to write a: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", b"a"), "It is not allowed to use a: Permission denied"),
        (OSError(errno.EIO, "Input/output error", "a"), "The disk does not answer as it should for a"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "Too many files are open at once"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), "The path a cannot be used: File name too long"),
        (RuntimeError("Unable to flush file (errno = 28, error message = 'No space left on device')"), "no space left"),
        (
            RuntimeError("(sqlite3.OperationalError) attempt to write a readonly database"),
            "It is not possible to write",
        ),
        (RuntimeError("another"), None),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a"), None),
    ],
)
def test_faults_of_disks_are_said_in_a_sentence(error: Exception, message: str | None) -> None:
    said = explain_fault(error)
    if message is None:
        assert said is None
    else:
        assert re.search(message, said or "")


def test_the_cause_of_an_error_counts_and_what_was_handled_before_only_if_nobody_expects_it() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "a")
    denied = PermissionError(errno.EACCES, "Permission denied", "a")
    error = LandmarksError("Train again.")
    error.__context__ = full
    assert "no space left to write a " in (explain_fault(error) or "")
    error.__suppress_context__ = True
    assert explain_fault(error) is None
    error.__cause__ = full
    assert "no space left to write a " in (explain_fault(error) or "")
    other = KeyError("a fault of the program")
    other.__context__ = denied
    assert explain_fault(other) is None


def test_an_error_names_the_path_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="x") as caught, replace_folder(tmp_path / "out") as folder:
        raise OSError(errno.ENOSPC, "x")
    assert caught.value.filename == str(tmp_path / "out")
    with (
        pytest.raises(OSError, match="x") as caught,
        replace_folder(tmp_path / "out") as folder,
        replace_file(folder / "one") as file,
    ):
        raise OSError(errno.ENOSPC, "x", str(file))
    assert caught.value.filename == str(tmp_path / "out" / "one")
    with pytest.raises(OSError, match="x") as caught, replace_folder(tmp_path / "out") as folder:
        raise OSError(errno.ENOSPC, "x", "source", None, str(folder / "copy"))
    assert f"no space left to write {tmp_path / 'out' / 'copy'} " in (explain_fault(caught.value) or "")


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
