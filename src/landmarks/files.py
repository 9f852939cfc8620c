"""Atomic writes, bounded reading, temporary folders, digests, locks, and what to say of a fault of a disk."""

import csv
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import filelock

from landmarks.errors import ArtifactError, LandmarksError

if TYPE_CHECKING:
    from ruamel.yaml import YAML

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
_REBUILD = "Delete it and run `dvc repro`."
_MAX_JSON_BYTES = 64 << 20
_MAX_YAML_BYTES = 64 << 10
_MAX_YAML_NODES = 5_000  # with every alias in full
_MAX_DEPTH = 64
_MAX_INTEGER_BITS = 64
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_MAX_CELL = 1 << 20  # the csv module's default is 131072 characters

Record = TypeVar("Record")


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


def read_json(path: Path, remedy: str = _REBUILD) -> Any:
    """Read a JSON file, within the limits of `parse_json`; `remedy` is what the error says to do.

    Raises:
        ArtifactError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ArtifactError(f"{path} is larger than {_MAX_JSON_BYTES >> 20} MiB. {remedy}")
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}). {remedy}") from error


def read_record(path: Path, kind: type[Record], remedy: str = _REBUILD) -> Record:
    """Read a JSON file that holds a value of a type: a data class, or such as `dict[str, float]`.

    Types are strict: `true` is no number and `"1"` is none either. Keys that a data class does not know are ignored.

    Raises:
        ArtifactError: as `read_json`, or the value is not of that type.
    """
    import pydantic  # not at the top: worker processes do without

    facts = read_json(path, remedy)
    try:
        # as JSON, because strict validation of Python values takes no list for a tuple
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(facts), strict=True)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "the whole file"
        raise ArtifactError(
            f"{path} cannot be used: {place}: {problem['msg']} (received {problem['input']!r:.80}). {remedy}"
        ) from None


def parse_json(text: str) -> Any:
    """Parse JSON that may come from anywhere.

    Raises:
        ValueError: it is not JSON, is nested too deeply, repeats a key, or holds a number or a text that cannot be
            used: NaN, infinity, an integer of more than 64 bits, half a surrogate pair, or a zero character.
    """
    try:
        value = json.loads(text, object_pairs_hook=_refuse_repeats)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_values(value, must_be_finite=True)
    return value


def parse_yaml(text: str, yaml: "YAML") -> Any:
    """Parse YAML that may come from anywhere with a parser of ruamel.yaml.

    Aliases are counted in full before anything is built, so that a few lines of them cannot become billions of values.

    Raises:
        ValueError: it is not YAML, is too long or nested too deeply, has too many values, a tag, or a key that is
            no text, or holds an integer or a text that cannot be used, as in `parse_json`.
    """
    if len(text) > _MAX_YAML_BYTES:
        raise ValueError(f"it is longer than {_MAX_YAML_BYTES >> 10} KiB")
    try:
        _check_nodes(text, yaml)
        value = yaml.load(text)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error
    _check_values(value, must_be_finite=False)
    return value


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file as texts by column.

    Args:
        path: the file.
        columns: those that the header must have.

    Raises:
        ArtifactError: the file is missing or is not such a table: a column is absent or repeated, a row has another
            number of cells than the header, or the text is not UTF-8 or holds a zero character.
    """
    limit = csv.field_size_limit(_MAX_CELL)  # global to the csv module, so restored below
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            _check_header(header, columns)
            for cells in rows:
                _check_cells(cells, header, rows.line_num)
                yield dict(zip(header, cells, strict=True))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise ArtifactError(f"{path} is not a table of {','.join(columns)} ({error}). {_REBUILD}") from error
    finally:
        csv.field_size_limit(limit)


def _check_header(header: Sequence[str], columns: Sequence[str]) -> None:
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        raise ValueError(f"its first line is {','.join(header)!r:.80}, expected {','.join(columns)}")


def _check_cells(cells: Sequence[str], header: Sequence[str], line: int) -> None:
    if len(cells) != len(header):
        raise ValueError(f"line {line} has {len(cells)} cells, the header {len(header)}")
    if any("\0" in cell for cell in cells):
        raise ValueError(f"line {line} has a zero character")


def parse_integer(text: str) -> int:
    """Parse a decimal integer of up to 18 digits; `int` also takes spaces, underscores, and the digits of all scripts.

    Raises:
        ValueError: the text is not such a number.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"expected a whole number, received {text!r:.60}")
    return int(text)


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has the key {next(name for name in names if names.count(name) > 1)!r:.60} twice")
    return found


@dataclass
class _Collection:
    """A list or mapping of a YAML text: its anchor, the number of values before it, and of items in it so far."""

    anchor: str | None
    is_mapping: bool
    before: int
    items: int = 0

    def is_at_key(self) -> bool:
        return self.is_mapping and self.items % 2 == 0


class _NodeCounter:
    """Counts the values of a YAML text, with every alias in full, and refuses what `parse_yaml` does not build."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}  # values behind each anchor
        self._collections: list[_Collection] = []  # that are not closed yet
        self._anchors: set[str] = set()
        self._count = 0

    def add_alias(self, anchor: str) -> None:
        self._enter(is_text=False)
        if anchor not in self._sizes:
            raise ValueError(f"the alias *{anchor} is inside of its own anchor, or has none")
        self._add(self._sizes[anchor])

    def add_scalar(self, anchor: str | None) -> None:
        self._enter(is_text=True)
        self._name(anchor)
        self._add(1)
        if anchor:
            self._sizes[anchor] = 1

    def open_collection(self, anchor: str | None, is_mapping: bool) -> None:
        self._enter(is_text=False)
        self._name(anchor)
        self._collections.append(_Collection(anchor, is_mapping, self._count))
        self._add(1)
        if len(self._collections) > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")

    def close_collection(self) -> None:
        closed = self._collections.pop()
        if closed.anchor:
            self._sizes[closed.anchor] = self._count - closed.before

    def _enter(self, is_text: bool) -> None:
        if self._collections:
            if self._collections[-1].is_at_key() and not is_text:
                raise ValueError("a key is not a plain text")  # nested ones take the parser exponential time
            self._collections[-1].items += 1

    def _name(self, anchor: str | None) -> None:
        if anchor in self._anchors:
            raise ValueError(f"the anchor &{anchor} is there twice")
        if anchor:
            self._anchors.add(anchor)

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > _MAX_YAML_NODES:
            raise ValueError(f"it has more than {_MAX_YAML_NODES:,} values, with every alias in full")


def _check_nodes(text: str, yaml: "YAML") -> None:
    """Check the values of a YAML text and their depth, without building them."""
    from ruamel.yaml import events  # not at the top: worker processes do without

    counter = _NodeCounter()
    for event in yaml.parse(text):
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"tags are not used here, received {event.tag!r:.60}")
        if isinstance(event, events.AliasEvent):
            counter.add_alias(event.anchor)
        elif isinstance(event, events.ScalarEvent):
            counter.add_scalar(event.anchor)
        elif isinstance(event, events.CollectionStartEvent):
            counter.open_collection(event.anchor, isinstance(event, events.MappingStartEvent))
        elif isinstance(event, events.CollectionEndEvent):
            counter.close_collection()


def _check_values(value: Any, must_be_finite: bool) -> None:
    """Refuse numbers and texts that are valid in a file but cannot be computed with, stored or printed."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, str):
            one.encode()  # raises a ValueError for half a surrogate pair
            if "\0" in one:
                raise ValueError(f"the text {one[:40]!r} has a zero character")
        elif isinstance(one, int) and one.bit_length() > _MAX_INTEGER_BITS:
            raise ValueError(f"an integer has more than {_MAX_INTEGER_BITS} bits")
        elif must_be_finite and isinstance(one, float) and not math.isfinite(one):
            raise ValueError("a number is not finite")


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
