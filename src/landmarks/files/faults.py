"""Say in a sentence what a disk, its permissions or limits did to a command."""

import errno
import os
import tempfile
from collections.abc import Iterator

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
READ_ONLY = frozenset({errno.EROFS})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM})
DEFECT = frozenset({errno.EIO, errno.ESTALE, errno.ENOLCK, errno.ENXIO, errno.ENODEV, errno.ENOTCONN})
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
        known = FULL | READ_ONLY | _TOO_MANY_FILES | DEFECT
        if error.errno in known or (is_first and error.errno in _NOT_ALLOWED | _UNFIT_PATH):
            path = error.filename2 or error.filename  # of a copy, the target
            return error.errno, None if path is None else os.fsdecode(path)
    return next(((number, None) for words, number in _IN_WORDS.items() if words in str(error)), None)


def _describe_fault(number: int, path: str | None) -> str:
    reason = os.strerror(number)
    if number in _TOO_MANY_FILES:
        return f"Too many files are open at once ({reason}). Raise the limit, `ulimit -n 4096`, and run it again."
    what = path or f"a file, in this folder, in {tempfile.gettempdir()} or in BENTOML_HOME"
    if number in FULL:
        return f"There is no space left to write {what} ({reason}). Free some and run it again; finished work is kept."
    if number in READ_ONLY:
        return f"It is not possible to write {what}: {reason}. Make it writable, or run the command elsewhere."
    if number in _NOT_ALLOWED:
        return f"It is not allowed to use {what}: {reason}. Give this user access to it, or name another path."
    if number in DEFECT:
        return f"The disk does not answer as it should for {what}: {reason}. Check it, and run the command again."
    return f"The path {what} cannot be used: {reason}. Name another one, or move away what is there."
