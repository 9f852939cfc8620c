"""Take back what was written: sidecars are as before, or where others changed them since, without our properties."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from landmarks.albums.sidecars import (
    SUFFIX,
    Change,
    apply_change,
    is_marked,
    iterate_sidecars,
    list_sidecars,
    plan_change,
)
from landmarks.albums.state import State
from landmarks.albums.xmp import SidecarError
from landmarks.files.faults import FULL


@dataclass(frozen=True)
class Undone:
    """What happened to a sidecar.

    Attributes:
        path: of the sidecar.
        outcome: `restored`: it has the bytes of before; `deleted`: there was none before; `cleaned`: others changed it
            since, or it is of more photos, and what is theirs is left; `failed`: see `error`.
        error: why it was left as it is.
    """

    path: Path
    outcome: Literal["restored", "deleted", "cleaned", "failed"]
    error: str = ""


def undo(paths: Iterable[Path], state: State, dry_run: bool = False) -> Iterator[Undone]:
    """Take back what was written for photos.

    Args:
        paths: folders, for all sidecars below them; photos; or sidecars.
        state: knows the bytes of before.
        dry_run: change nothing.

    Raises:
        OSError: the disk is full.
    """
    for sidecar, photo in _list_work(paths):
        with state.hold():
            try:
                change = plan_change(sidecar, photo, [], state)
                if not change.is_needed:
                    continue
                if not dry_run:
                    _forget(change, photo, state)
                    apply_change(change, state)
            except (SidecarError, OSError) as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                yield Undone(sidecar, "failed", str(error) if isinstance(error, SidecarError) else f"{error.strerror}")
                continue
        if change.after is None:
            yield Undone(sidecar, "deleted")
        else:
            is_restored = change.is_exact and change.after == change.original
            yield Undone(sidecar, "restored" if is_restored else "cleaned")


def _list_work(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield sidecars, and the photos that they are to forget; an empty name for all."""
    for path in paths:
        if path.is_dir():
            yield from ((sidecar, "") for sidecar in iterate_sidecars(path))
        elif path.name.lower().endswith(SUFFIX):
            yield path, ""
        else:
            yield from ((sidecar, path.name) for sidecar in list_sidecars(path) if is_marked(sidecar))


def _forget(change: Change, photo: str, state: State) -> None:
    """Let the state say that nothing is written, so that the next run tags the photos again.

    It comes before the sidecar changes: a kill between the two costs the next run a look at the sidecar, no more.
    """
    for name in [photo] if photo else change.photos:
        known = state.find_photo(os.fsencode(os.path.abspath(change.path.with_name(name))))  # noqa: PTH100
        if known:
            state.store_photos([replace(known, written="")])
