"""Atomic writes of files and folders, digests and locks."""

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
    """Compute the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def compute_tree_sha256(folder: Path) -> str:
    """Compute the SHA-256 of a folder, in hex: of the relative path and content of every file, in order of paths."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{compute_sha256(path)}\n".encode())
    return digest.hexdigest()


def compute_fingerprint(value: Any) -> str:
    """Compute the SHA-256 of a JSON-like value, in hex, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end of the `with` block, or is deleted on an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside `path`, because a rename is atomic only within one file system
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` at the end of the `with` block, or is deleted on an exception."""
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
    """Replace `path` by `new` with two renames, since a rename cannot replace a folder that is not empty."""
    try:
        path.rename(old)
    except FileNotFoundError:
        pass
    except OSError:  # overlay file systems of containers cannot rename folders of a lower layer
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
        ValueError: a number is NaN or infinite, which JSON cannot express.
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
    """Hold a lock file inside a `with` block; `doing` describes the work in the error.

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
