"""Take back what was written: sidecars are as before, or where others changed them since, without our properties."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from landmarks.albums.sidecars import (
    SUFFIX,
    Change,
    apply_changes,
    explain,
    is_marked,
    iterate_sidecars,
    list_sidecars,
    plan_change,
    raise_if_full,
)
from landmarks.albums.state import State
from landmarks.errors import LandmarksError

_BLOCK = 64  # sidecars that are planned, and then written, at once


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
    waiting = _list_work(paths)
    while block := [*islice(waiting, _BLOCK)]:
        yield from _undo_block(block, state, dry_run)


def _undo_block(block: Sequence[tuple[Path, str, str]], state: State, dry_run: bool) -> Iterator[Undone]:
    done: list[Undone] = []
    changes: list[Change] = []
    with state.hold():
        for sidecar, photo, error in block:
            try:
                if error:
                    done.append(Undone(sidecar, "failed", error))
                elif is_marked(sidecar) and (change := plan_change(sidecar, photo, [], state)).is_needed:
                    changes.append(change)
                    if not dry_run:
                        _forget(change, photo, state)
            except (LandmarksError, OSError) as refused:
                done.append(Undone(sidecar, "failed", explain(refused)))
        problems = [None for _ in changes] if dry_run else apply_changes(changes, state)
    done += [_describe(change, problem) for change, problem in zip(changes, problems, strict=True)]
    yield from sorted(done, key=lambda one: one.path)
    raise_if_full(problems)


def _describe(change: Change, problem: LandmarksError | OSError | None) -> Undone:
    if problem is not None:
        return Undone(change.path, "failed", explain(problem))
    if change.after is None:
        return Undone(change.path, "deleted")
    return Undone(change.path, "restored" if change.is_exact and change.after == change.original else "cleaned")


def _list_work(paths: Iterable[Path]) -> Iterator[tuple[Path, str, str]]:
    """Yield sidecars, the photos that they are to forget, an empty name for all, and errors of folders."""
    for path in paths:
        if path.is_dir():
            for found in iterate_sidecars(path):
                if isinstance(found, OSError):
                    yield Path(os.fsdecode(found.filename)), "", f"the folder cannot be listed: {found.strerror}"
                else:
                    yield found, "", ""
        elif path.name.lower().endswith(SUFFIX):
            yield path, "", ""
        else:
            yield from ((sidecar, path.name, "") for sidecar in list_sidecars(path))


def _forget(change: Change, photo: str, state: State) -> None:
    """Let the state say that nothing is written, so that the next run tags the photos again.

    It comes before the sidecar changes: a kill between the two costs the next run a look at the sidecar, no more.
    """
    names = [photo] if photo else change.photos
    paths = [os.fsencode(os.path.abspath(change.path.with_name(name))) for name in names]  # noqa: PTH100
    state.store_photos([replace(known, written="") for path in paths if (known := state.find_photo(path))])
