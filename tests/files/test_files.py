"""Files and folders are whole or absent; digests follow the content; a lock has one holder."""

import csv
import errno
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from landmarks.errors import ArtifactError, LandmarksError
from landmarks.files import writing
from landmarks.files.digests import compute_fingerprint, compute_sha256, compute_tree_sha256
from landmarks.files.faults import explain_fault
from landmarks.files.parsing import parse_integer, parse_yaml, read_json, read_record, read_rows
from landmarks.files.writing import hold_lock, open_scratch, replace_file, replace_folder, write_json, write_text


@dataclass(frozen=True)
class Counts:
    name: str
    counts: tuple[int, ...] = ()


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
from landmarks.files.writing import open_scratch, replace_file, replace_folder
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
    monkeypatch.setattr(writing, "_WAIT_FOR_WORKERS", 0.2)
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
        "from pathlib import Path\nfrom landmarks.files.writing import hold_lock\n"
        f"with hold_lock(Path({str(lock)!r}), 'x'): pass"
    )
    with hold_lock(lock, "training plain"):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "LandmarksError: Another landmarks process is x" in other.stderr
        with pytest.raises(LandmarksError, match="Another landmarks process"), hold_lock(lock, "training plain"):
            pass
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": NaN}', "not finite"),
        ('{"a": [1e999]}', "not finite"),
        ('{"a": 36893488147419103232}', "more than 64 bits"),
        ("9" * 5000, "Exceeds the limit"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' twice"),
        ('{"c": 0, "b": 1, "b": 2}', "the key 'b' twice"),
        ('{"a": "\\ud800"}', "surrogates"),
        ('{"\\ud800": 1}', "surrogates"),
        ('["a\\u0000"]', "zero character"),
        (f'["{"a" * 50}\\u0000"]', "the text 'a{40}' has a zero character"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_json_that_cannot_be_worked_with_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=f"a\\.json is not valid JSON .*{message}"):
        read_json(tmp_path / "a.json")


def test_integers_of_64_bits_and_all_finite_numbers_are_read(tmp_path: Path) -> None:
    values = [2**64 - 1, -(2**64) + 1, 1.7e308, -0.0, True, None, "\U0010ffff"]
    assert read_json(write_json(tmp_path / "a.json", values)) == values


def test_a_json_file_of_64_mebibytes_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("1".ljust(64 << 20))
    assert read_json(tmp_path / "a.json") == 1


def test_a_json_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(ArtifactError, match="larger than 64 MiB"):
        read_json(tmp_path / "a.json")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read: Is a directory"):
        read_json(tmp_path)
    with pytest.raises(ArtifactError, match="cannot be read: Is a directory"):
        list(read_rows(tmp_path, ("a",)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "name: Field required"),
        ({"name": 1}, "name: Input should be a valid string .received 1"),
        ({"name": 1, "counts": 1}, "name: Input should be a valid string .received 1"),
        ({"name": "a", "counts": [True]}, r"counts\.0: Input should be a valid integer"),
        ([], "the whole file: "),
    ],
)
def test_a_record_of_other_types_is_refused(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(ArtifactError, match=rf"a\.json cannot be used: {message}.*Start anew\."):
        read_record(write_json(tmp_path / "a.json", value), Counts, "Start anew.")


def test_a_record_is_read_into_its_class(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"name": "a", "counts": [1, 2], "unknown": 1})
    assert read_record(path, Counts) == Counts("a", (1, 2))
    assert read_record(path, dict[str, Any])["unknown"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 3000 + "]" * 3000, "nested more than 64 deep"),
        ("a: " + "{a: " * 3000 + "}" * 3000, "nested more than 64 deep"),
        ("- " * 3000, "nested more than 64 deep"),
        ("? " * 40 + "a", "a key is not a plain text"),
        ("k: &k [1]\n*k : 2", "a key is not a plain text"),
        ("a: &a [*a]", "inside of its own anchor"),
        ("a: &a x\nb: &a y", "the anchor &a is there twice"),
        ("a: [" + "1, " * 5000 + "]", "more than 5,000 values"),
        ("a: 1 #" + "x" * (64 << 10), "longer than 64 KiB"),
        ("a: !!python/object/apply:os.system [ls]", "tags are not used"),
        ("a: 0x" + "f" * 5000, "more than 64 bits"),
        ("a: 2001-99-99", "month must be"),
        ("a: 0x_", "out of range|invalid literal"),
        ('a: "\\ud800"', "surrogates"),
        ('a: "\\0"', "zero character"),
        ("a: 1\na: 2", "duplicate key"),
        ("a: 1\n---\nb: 1", "single document"),
    ],
)
@pytest.mark.parametrize("kind", ["rt", "safe"])
def test_yaml_that_cannot_be_worked_with_is_refused(text: str, message: str, kind: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_yaml(text, YAML(typ=kind))


@pytest.mark.parametrize("kind", ["rt", "safe"])
def test_the_limits_of_yaml_are_inclusive(kind: str) -> None:
    assert parse_yaml("a: 1 #".ljust(64 << 10, "x"), YAML(typ=kind))["a"] == 1
    value = parse_yaml("[" * 64 + "]" * 64, YAML(typ=kind))
    for _ in range(63):
        [value] = value
    assert value == []
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        parse_yaml("[" * 65 + "]" * 65, YAML(typ=kind))


@pytest.mark.parametrize("kind", ["rt", "safe"])
def test_aliases_are_counted_in_full_before_they_are_followed(kind: str) -> None:
    few = "a: &a [1, 2]\nb: &b {x: *a, y: *a}\nc: [*b, *b]\n"
    assert parse_yaml(few, YAML(typ=kind))["c"][1]["y"] == [1, 2]
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    with pytest.raises(ValueError, match="with every alias in full"):
        parse_yaml(bomb, YAML(typ=kind))


def test_an_alias_at_the_end_of_a_long_text_counts_for_what_it_stands_for() -> None:
    # 4 for the mapping and its keys, 1 for the list a, and 2 each for b and c
    longest = "a: [" + "1, " * 4991 + "]\nb: &b [1]\nc: *b\n"
    assert parse_yaml(longest, YAML(typ="safe"))["c"] == [1]
    with pytest.raises(ValueError, match="with every alias in full"):
        parse_yaml(longest.replace("&b [1]", "&b [1, 1]"), YAML(typ="safe"))


def test_an_alias_of_a_text_counts_as_one_value() -> None:
    longest = "a: &a x\nb: [" + "*a, " * 4995 + "]\n"  # 5 for the mapping, its keys, the text and the list
    assert parse_yaml(longest, YAML(typ="safe"))["b"] == ["x"] * 4995
    with pytest.raises(ValueError, match="with every alias in full"):
        parse_yaml(longest.replace("[", "[*a, "), YAML(typ="safe"))


@pytest.mark.parametrize("text", ["1", "-20", "007", "9" * 18])
def test_whole_numbers_are_parsed(text: str) -> None:
    assert parse_integer(text) == int(text)


@pytest.mark.parametrize("text", ["", " 1", "1_0", "+1", "1.0", "\u0663", "9" * 19, "--1", "1\n"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        parse_integer(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("b\n1\n", "first line is 'b', expected a"),
        ("a,a\n1,2\n", "first line"),
        ("a,b\n1\n", "line 2 has 1 cells, the header 2"),
        ("a,b\n1,2,3\n", "line 2 has 3 cells"),
        ("a,b\n1,\0\n", "zero character"),
        ('a,b\n1,"2', "unexpected end"),
        (f"a\n{'x' * (1 << 20)}x\n", "field larger"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ArtifactError, match=rf"a\.csv is not a table of a .*{message}"):
        list(read_rows(tmp_path / "a.csv", ("a",)))
    assert csv.field_size_limit() == before


def test_a_cell_of_a_mebibyte_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"a\n{'x' * (1 << 20)}\n")
    assert list(read_rows(tmp_path / "a.csv", ("a",))) == [{"a": "x" * (1 << 20)}]
