"""Atomic writes of files and folders, temporary folders, and locks."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from landmarks.errors import LandmarksError
from landmarks.files.faults import DEFECT, FULL, READ_ONLY

_LOCK = ".lock"
MAX_NAME_BYTES = 255  # in all common file systems
_WAIT_FOR_WORKERS = 10.0  # seconds; the workers of a killed process end a moment after it


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end of the `with` block, or is deleted on an exception.

    The content is on the disk before it gets its name, so that even a power cut leaves the old or the new file.
    """
    with _work_beside(path) as work:
        temporary = work / path.name
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` at the end of the `with` block, or is deleted on an exception.

    The content is on the disk before it gets its name, so that a power cut leaves no half of it.
    """
    with _work_beside(path) as work:
        temporary = work / path.name
        temporary.mkdir()
        yield temporary
        _flush_tree(temporary)
        _swap(path, temporary, work / f"{path.name}.old")
        _flush(path.parent)


@contextmanager
def open_scratch(purpose: str) -> Iterator[Path]:
    """Yield an empty folder in the system's folder for temporary files, and delete it at the end of the `with` block.

    Folders for the same purpose that killed processes left are deleted first.
    """
    prefix = f"landmarks-{purpose}-"
    for other in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError, filelock.Timeout), filelock.FileLock(other, timeout=0):  # of another user, or in use
            shutil.rmtree(other.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    with _own(folder):
        content = folder / "content"
        content.mkdir()
        yield content


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


@contextmanager
def hold_lock(path: Path, doing: str, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock file inside a `with` block; `doing` describes the work in the error.

    Args:
        path: the lock file; made if it does not exist.
        doing: what the holder does, for the error.
        wait: for another holder to end, in seconds.

    Raises:
        LandmarksError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=wait)
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


def discard_unfinished(path: Path) -> None:
    """Remove what a killed process left of a `replace_file` or `replace_folder` of a path."""
    if _name_work(path).exists():
        with _work_beside(path):
            pass


@contextmanager
def _work_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, because a rename is atomic only within one file system.

    Its owner holds a lock, which ends with the process, on whatever machine: what a killed process left is cleared when
    the same path is written again. Git and DVC ignore the name.
    """
    work = _name_work(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _own(work):
            yield work
    except filelock.Timeout:
        raise LandmarksError(
            f"Another landmarks process is writing {path} (it holds {work / _LOCK}). Wait for it to end, or stop it, "
            "and try again."
        ) from None
    except OSError as error:
        _name_target(error, path, work)
        raise


def _name_work(path: Path) -> Path:
    name = path.name
    if len(os.fsencode(name)) > MAX_NAME_BYTES - len("..tmp"):
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.tmp")


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Hold the lock of a temporary folder, which is empty at the beginning and gone at the end."""
    lock = filelock.FileLock(folder / _LOCK, timeout=_WAIT_FOR_WORKERS)
    try:
        while not lock.is_locked:
            folder.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # its last owner has just removed it
                lock.acquire()
        _clear(folder)
        yield
    finally:
        if lock.is_locked:
            _clear(folder)
            with suppress(OSError):
                (folder / _LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # the next owner may be in it already
            folder.rmdir()
        lock.release()


def _clear(folder: Path) -> None:
    """Delete what a temporary folder holds; the lock stays to the end, so that nobody enters before."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)


def _name_target(error: OSError, path: Path, work: Path) -> None:
    """Let an error name the path that was to be written, not the temporary one or none."""
    if error.filename is None and error.errno in FULL | READ_ONLY | DEFECT:
        error.filename = str(path)
    for attribute in ("filename", "filename2"):
        named = getattr(error, attribute)
        if isinstance(named, str) and Path(named).is_relative_to(work):
            setattr(error, attribute, str(path.joinpath(*Path(named).relative_to(work).parts[1:])))


def _flush(path: Path) -> None:
    """Force the content of a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do that by themselves
            raise
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                _flush(path)
        _flush(Path(parent))


def _swap(path: Path, new: Path, old: Path) -> None:
    """Replace `path` by `new` with two renames, since a rename cannot replace a folder that is not empty."""
    try:
        path.rename(old)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EXDEV:  # overlay file systems of containers cannot rename folders of a lower layer
            raise
        shutil.rmtree(path)
    try:
        new.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise
