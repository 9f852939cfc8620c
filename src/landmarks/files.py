"""Files that are either whole or absent: atomic writes, folders swapped in at the end, digests and locks."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from landmarks.errors import ArtifactError, LandmarksError

_BLOCK_BYTES = 1 << 20


def compute_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def compute_tree_sha256(folder: Path) -> str:
    """Hex digest of a folder: the relative path and content of every file below it, in path order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{compute_sha256(path)}\n".encode())
    return digest.hexdigest()


def compute_fingerprint(value: Any) -> str:
    """Hex digest of any JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it becomes `path` when the block ends well and vanishes when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; it becomes `path` when the block ends well and vanishes when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("tmp", "old"))
    for left_over in (temporary, old):
        shutil.rmtree(left_over, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _swap(path, temporary, old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(path: Path, new: Path, old: Path) -> None:
    """Put `new` in the place of `path`, which is away for no longer than two renames take."""
    try:
        path.rename(old)
    except FileNotFoundError:
        pass
    except OSError:  # some overlays cannot rename what is in a lower layer
        shutil.rmtree(path, ignore_errors=True)
    try:
        new.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically and return its path."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON file atomically, indented and with sorted keys, and return its path.

    Raises:
        ValueError: a number is NaN or infinite; JSON has no word for these.
    """
    return write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}). Delete it and run `dvc repro`.") from error


@contextmanager
def hold_lock(path: Path, doing: str) -> Iterator[None]:
    """Let one process at a time do something; `doing` names it in the error.

    Raises:
        LandmarksError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise LandmarksError(
            f"Another landmarks process is {doing} (it holds {path}). Wait for it to end, or stop it, and try again."
        ) from None
    try:
        yield
    finally:
        lock.release()
