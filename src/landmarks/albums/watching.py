"""Wait for photos that arrive in folders."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from landmarks.photos.walk import PhotoStream, is_below, is_hidden, is_photo_file

_LOOK_MILLISECONDS = 1000
_SETTLE_SECONDS = 2.0  # a photo that is still being copied changes again within this


def watch_photos(folders: Sequence[Path]) -> Iterator[Iterable[Path]]:
    """Yield the photos below some folders once these are watched, and then those that were added or changed.

    It ends when the user interrupts it.

    Raises:
        OSError: the folders cannot be watched, for example because the system's limit of watches is reached.
    """
    from watchfiles import Change, watch  # its native part takes a while to load

    roots = [os.path.realpath(folder) for folder in folders]
    waiting: dict[Path, tuple[int, int, float]] = {}  # size, time of the last change, and when it was seen so
    batches = watch(*folders, debounce=_LOOK_MILLISECONDS, rust_timeout=_LOOK_MILLISECONDS, yield_on_timeout=True)
    is_first = True
    try:
        for changes in batches:
            if is_first:  # only now nothing is missed any more, so what came before is looked for
                yield PhotoStream(folders)
                is_first = False
            for change, name in changes:
                if change != Change.deleted:
                    for photo in _find_arrived(Path(name), roots):
                        waiting.setdefault(photo, (-1, -1, 0.0))
            if settled := _take_settled(waiting):
                yield settled
    except KeyboardInterrupt:
        return


def _find_arrived(path: Path, roots: Sequence[str]) -> Iterator[Path]:
    """Yield what is a photo of a path that changed, by the rules of the walk.

    What a new folder held before it was watched has no event of its own. Links are left out: what they lead to below
    the folders is found under its own name.
    """
    real = os.path.realpath(path)
    root = next((root for root in roots if is_below(real, root)), None)
    if root is None or path.is_symlink() or any(map(is_hidden, Path(os.path.relpath(real, root)).parts)):
        return
    if path.is_dir():
        yield from PhotoStream([path])
    elif is_photo_file(path):
        yield path


def _take_settled(waiting: dict[Path, tuple[int, int, float]]) -> list[Path]:
    """Take the photos that have not changed for a while, and forget those that are gone."""
    settled: list[Path] = []
    for path, (size, changed, seen) in [*waiting.items()]:
        try:
            status = path.stat()
        except OSError:
            del waiting[path]
            continue
        if (status.st_size, status.st_mtime_ns) != (size, changed):
            waiting[path] = (status.st_size, status.st_mtime_ns, time.monotonic())
        elif time.monotonic() - seen >= _SETTLE_SECONDS:
            settled.append(path)
            del waiting[path]
    return sorted(settled)
