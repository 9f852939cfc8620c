"""Atomic writes of files and folders, temporary folders, digests, locks, and what to say of a disk's faults."""

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

from landmarks.errors import ArtifactError, LandmarksError

_BLOCK_BYTES = 1 << 20
_LOCK = ".lock"
_WAIT_FOR_WORKERS = 10.0  # seconds; the workers of a killed process end a moment after it
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM})
_DEFECT = frozenset({errno.EIO, errno.ESTALE, errno.ENOLCK, errno.ENXIO, errno.ENODEV, errno.ENOTCONN})
_TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_UNFIT_PATH = frozenset({
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EXDEV, errno.EBUSY
})  # fmt: skip
# as libraries say it whose exceptions carry no number: HDF5, TensorFlow, SQLite through SQLAlchemy and MLflow
_IN_WORDS = {
    "No space left on device": errno.ENOSPC,
    "database or disk is full": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
    "No usable temporary directory": errno.EROFS,
    "attempt to write a readonly database": errno.EROFS,
    "disk I/O error": errno.EIO,
}


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


@contextmanager
def _work_beside(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, because a rename is atomic only within one file system.

    Its owner holds a lock, which ends with the process, on whatever machine: what a killed process left is cleared when
    the same path is written again. Git and DVC ignore the name.
    """
    work = path.with_name(f".{path.name}.tmp")
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
    if error.filename is None and error.errno in _FULL | _READ_ONLY | _DEFECT:
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


def explain_fault(error: BaseException) -> str | None:
    """Say in a sentence what a disk, its permissions or limits did to a command; None if an exception has other causes.

    Libraries wrap such faults in exceptions of their own, so what an exception was raised from counts too.
    """
    if any("Could not determine home directory" in str(one) for one in _list_causes(error)):
        return "This user has no home folder, which MLflow and BentoML need. Set HOME to a folder that can be written."
    faults = [fault for one in _list_causes(error) if (fault := _find_fault(one, is_first=one is error))]
    if not faults:
        return None
    number, path = next((fault for fault in faults if fault[1]), faults[0])
    return _describe_fault(number, path)


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _find_fault(error: BaseException, is_first: bool) -> tuple[int, str | None] | None:
    """Return the number of a fault and its path; of errors that were handled before, only those that nobody expects."""
    if isinstance(error, OSError) and error.errno is not None:
        known = _FULL | _READ_ONLY | _TOO_MANY_FILES | _DEFECT
        if error.errno in known or (is_first and error.errno in _NOT_ALLOWED | _UNFIT_PATH):
            path = error.filename2 or error.filename  # of a copy, the target
            return error.errno, None if path is None else os.fsdecode(path)
    return next(((number, None) for words, number in _IN_WORDS.items() if words in str(error)), None)


def _describe_fault(number: int, path: str | None) -> str:
    reason = os.strerror(number)
    if number in _TOO_MANY_FILES:
        return f"Too many files are open at once ({reason}). Raise the limit, `ulimit -n 4096`, and run it again."
    what = path or f"a file, in this folder, in {tempfile.gettempdir()} or in BENTOML_HOME"
    if number in _FULL:
        return f"There is no space left to write {what} ({reason}). Free some and run it again; finished work is kept."
    if number in _READ_ONLY:
        return f"It is not possible to write {what}: {reason}. Make it writable, or run the command elsewhere."
    if number in _NOT_ALLOWED:
        return f"It is not allowed to use {what}: {reason}. Give this user access to it, or name another path."
    if number in _DEFECT:
        return f"The disk does not answer as it should for {what}: {reason}. Check it, and run the command again."
    return f"The path {what} cannot be used: {reason}. Name another one, or move away what is there."
