"""Say what would keep `landmarks tag` from working."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

import click

from landmarks.albums.models import Model
from landmarks.albums.state import State
from landmarks.errors import LandmarksError
from landmarks.files.faults import explain_fault
from landmarks.photos.walk import PhotoStream, show_path
from landmarks.terminal import format_count

_EARLIEST = 1_700_000_000  # seconds since 1970: this program did not exist before
_LEAST_FREE_BYTES = 100 << 20
_FORMATS = {"HEIC": "pi_heif", "RAW": "rawpy"}


@dataclass(frozen=True)
class Finding:
    """One check: `problem` is empty where all is well."""

    what: str
    found: str
    problem: str = ""


def examine(paths: Sequence[Path], open_model: Callable[[], AbstractContextManager[Model]]) -> bool:
    """Print one line for each check; return whether all is well."""
    is_well = True
    for finding in _check(paths, open_model):
        is_well &= not finding.problem
        click.echo(f"{'ok  ' if not finding.problem else 'FAIL'}  {finding.what}: {finding.problem or finding.found}")
    return is_well


def _check(paths: Sequence[Path], open_model: Callable[[], AbstractContextManager[Model]]) -> Iterator[Finding]:
    yield _check_model(open_model)
    yield from (_check_format(name, module) for name, module in _FORMATS.items())
    yield _check_clock()
    yield _check_state()
    yield from (_check_folder(path) for path in paths)


def _check_model(open_model: Callable[[], AbstractContextManager[Model]]) -> Finding:
    try:
        with open_model() as model:
            identity = model.identity
            return Finding("model", f"{identity.name} {identity.version}, {len(model.names):,} landmarks")
    except LandmarksError as error:
        return Finding("model", "", str(error))


def _check_format(name: str, module: str) -> Finding:
    try:
        __import__(module)
    except ImportError as error:
        return Finding(f"{name} photos", "", f"{error}. Install it: pip install {module.replace('_', '-')}")
    return Finding(f"{name} photos", "can be read")


def _check_clock() -> Finding:
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    return Finding("clock", shown, f"it says {shown}. Set it: sidecars have the time" if now < _EARLIEST else "")


def _check_state() -> Finding:
    """Check that the state can be read and written: opening it does both."""
    try:
        with closing(State()) as state:
            free = shutil.disk_usage(state.folder).free
    except (LandmarksError, OSError) as error:
        return Finding("state", "", explain_fault(error) or str(error))
    problem = f"{state.folder} has {free >> 20:,} MiB left. Free some" if free < _LEAST_FREE_BYTES else ""
    return Finding("state", f"{state.path}, {free >> 30:,} GiB free", problem)


def _check_folder(path: Path) -> Finding:
    """Check that photos can be read below a folder, and sidecars written beside them."""
    what = show_path(str(path))
    stream = PhotoStream([path])
    photos, folders = 0, set[Path]()
    for photo in stream:
        photos += 1
        folders.add(photo.parent)
    closed = [folder for folder in sorted(folders) if not os.access(folder, os.W_OK | os.X_OK)]
    if closed:
        return Finding(what, "", f"sidecars cannot be written into {_list(closed)}")
    if not photos:
        return Finding(what, "", f"it has no photo. {stream.left_out.describe()}".rstrip())
    try:
        with tempfile.TemporaryFile(dir=next(iter(folders))):
            pass
    except OSError as error:
        return Finding(what, "", f"sidecars cannot be written there: {error.strerror}")
    left_out = stream.left_out.describe()
    return Finding(
        what, f"{format_count(photos, 'photo')} in {format_count(len(folders), 'folder')}. {left_out}".rstrip()
    )


def _list(folders: Sequence[Path]) -> str:
    more = f" and {len(folders) - 1:,} more" if len(folders) > 1 else ""
    return f"{show_path(str(folders[0]))}{more}"
