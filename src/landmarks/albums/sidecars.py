"""Sidecars as files: which one belongs to a photo, and how it changes without a loss.

A sidecar is always computed anew, from the bytes that it had before us and the records that it is to hold. So what we
wrote last time is replaced, and without records the bytes of before are back.
"""

import hashlib
import os
import shutil
import stat
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from landmarks.albums.embedded import read_embedded
from landmarks.albums.keywords import Embedded, build_keywords, join_embedded
from landmarks.albums.state import SidecarState, State
from landmarks.albums.xmp import MAX_SIDECAR_BYTES, OWN, Record, Sidecar, SidecarError
from landmarks.errors import LandmarksError
from landmarks.files.faults import FULL
from landmarks.files.writing import MAX_NAME_BYTES, discard_unfinished, replace_file
from landmarks.photos.walk import is_hidden

Style = Literal["full", "stem"]
SUFFIX = ".xmp"


@dataclass(frozen=True)
class Change:
    """What a sidecar holds and what it is to hold; None where there is no file.

    Attributes:
        path: of the sidecar.
        before: its bytes now.
        after: its bytes to come.
        original: its bytes without us.
        photos: file names of the photos that it has records of now.
        is_exact: whether `original` is what was there before us, byte for byte.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    original: bytes | None
    photos: tuple[str, ...] = ()
    is_exact: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether anything changes."""
        return self.before != self.after


def find_sidecar(photo: Path, style: Style) -> Path:
    """Return the sidecar of a photo: the one that exists, or of none or both, the one of the style.

    Raises:
        SidecarError: its name would be too long.
    """
    wanted = _name_sidecars(photo, style)
    found = next((path for path in wanted if os.path.lexists(path)), wanted[0])
    if len(os.fsencode(found.name)) > MAX_NAME_BYTES:
        raise SidecarError(
            f"the name {found.name[:40]}… has no room for {SUFFIX}: it may have {MAX_NAME_BYTES} bytes. Rename the "
            "photo, or use --sidecar stem"
        )
    return found


def list_sidecars(photo: Path) -> list[Path]:
    """Return the sidecars that a photo has."""
    found: list[Path] = []
    for path in _name_sidecars(photo, "full"):
        # where upper and lower case are the same, one file has two of the names
        if os.path.lexists(path) and not any(_is_same(path, other) for other in found):
            found.append(path)
    return found


def has_sidecar(photo: Path) -> bool:
    """Return whether a photo has a sidecar."""
    return os.path.lexists(f"{photo}{SUFFIX}") or bool(list_sidecars(photo))


def _name_sidecars(photo: Path, style: Style) -> list[Path]:
    full = [photo.with_name(photo.name + suffix) for suffix in (SUFFIX, SUFFIX.upper())]
    stem = [photo.with_suffix(suffix) for suffix in (SUFFIX, SUFFIX.upper())]
    return [*full, *stem] if style == "full" else [*stem, *full]


def write_file_name(name: str) -> str:
    r"""Return a file name as a text of XML: percent-encoded if it is no UTF-8 or holds control characters.

    >>> write_file_name("Köln 1.jpg"), write_file_name("100%.jpg")
    ('Köln 1.jpg', '100%25.jpg')
    >>> write_file_name("K\udcf6ln.jpg")
    'K%F6ln.jpg'
    """
    if name.isprintable():
        return name.replace("%", "%25")
    return urllib.parse.quote(os.fsencode(name), safe=" ")


def read_file_name(text: str) -> str:
    """Return the file name that `write_file_name` wrote."""
    return os.fsdecode(urllib.parse.unquote_to_bytes(text))


def plan_change(path: Path, photo: str, records: Sequence[Record], state: State) -> Change:
    """Plan what happens to a sidecar when a photo gets records, or none.

    Args:
        path: of the sidecar.
        photo: name of the photo's file; empty for all photos of the sidecar.
        records: of the photo; their keywords follow from their names.
        state: knows the bytes of before.

    Raises:
        SidecarError: the sidecar is not XMP.
        OSError: it cannot be read.
    """
    before, file = _read(path), write_file_name(photo)
    known = None if before is None else state.find_sidecar(_name(path), compute_digest(before))
    own: list[Record] = []
    original = before
    if before is not None:
        present = Sidecar.parse(before)
        own = present.read_records()
        if known is not None:
            original = known.original
        elif present.has_own():
            # others changed it since we wrote it, or the state is lost: what is left without us is what was before
            original = _strip(present, path.parent)
    others = [record for record in own if file and _is_of_another(record, path.with_name(photo))]
    wanted = [*others, *(_keep_time(record, own) for record in records)]
    after = _compute(original, wanted, path.parent) if wanted else original
    return Change(path, before, after, original, _list_photos(own), is_exact=known is not None)


def apply_changes(changes: Sequence[Change], state: State) -> list[LandmarksError | OSError | None]:
    """Write planned sidecars, each of another path.

    A kill at any moment leaves each as it was or as planned, and a state that knows both.

    Returns:
        For each change, why it was not made.
    """
    state.store_sidecars(
        {
            _name(change.path): SidecarState(change.original, compute_digest(present), compute_digest(change.after))
            for change in changes
            if change.after is not None and change.after != change.original
            for present in [change.after if change.before is None else change.before]
        }
    )
    problems: list[LandmarksError | OSError | None] = []
    for change in changes:
        try:
            if change.is_needed:
                _write(change)
            else:
                discard_unfinished(change.path)  # a kill after the write leaves an empty folder
            problems.append(None)
        except (LandmarksError, OSError) as error:
            problems.append(error)
    state.store_sidecars(
        {
            _name(change.path): None
            if change.after is None or change.after == change.original
            else SidecarState(change.original, compute_digest(change.after), compute_digest(change.after))
            for change, problem in zip(changes, problems, strict=True)
            if problem is None
        }
    )
    return problems


def raise_if_full(problems: Sequence[LandmarksError | OSError | None]) -> None:
    """Raise the first problem that is a full disk, which everything else would meet too."""
    for problem in problems:
        if isinstance(problem, OSError) and problem.errno in FULL:
            raise problem


def explain(problem: LandmarksError | OSError) -> str:
    """Say in words why a sidecar was left as it is."""
    return (problem.strerror or str(problem)) if isinstance(problem, OSError) else str(problem)


def iterate_sidecars(folder: Path) -> Iterator[Path | OSError]:
    """Yield the sidecars below a folder, and errors of folders that cannot be listed.

    Links are not followed, and hidden folders are left out, but for those of writes that were killed: they are removed.
    """
    errors: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=errors.append):
        for name in folders:
            if name.startswith(".") and name.endswith(f"{SUFFIX}.tmp"):
                discard_unfinished(Path(parent, name.removeprefix(".").removesuffix(".tmp")))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(parent, name) for name in sorted(names) if name.lower().endswith(SUFFIX))
        yield from errors
        errors.clear()
    yield from errors


def is_marked(sidecar: Path) -> bool:
    """Return whether a sidecar may have something of ours, without parsing it."""
    data = _read(sidecar) or b""
    return any(OWN.encode(encoding) in data for encoding in ("utf-8", "utf-16-le", "utf-16-be"))


def compute_digest(data: bytes) -> bytes:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).digest()


def _compute(original: bytes | None, records: Sequence[Record], folder: Path) -> bytes:
    # a photo keeps what others recorded about it, whatever the keywords are now
    wanted = [replace(record, keywords=build_keywords(record.name)) for record in records]
    sidecar = Sidecar.make() if original is None else Sidecar.parse(original)
    sidecar.add(wanted, _read_photos(folder, records), is_new=original is None)
    return sidecar.serialize()


def _strip(sidecar: Sidecar, folder: Path) -> bytes | None:
    """Return a sidecar without us; None if we began it, and nobody added to what the photos themselves say."""
    is_ours = sidecar.is_ours()
    sidecar.remove(_read_photos(folder, sidecar.read_records()))
    return None if is_ours and sidecar.is_empty() else sidecar.serialize()


def _keep_time(record: Record, own: Sequence[Record]) -> Record:
    """Let a record that only repeats one have the time of that."""
    same = replace(record, time="", keywords={}, place=None)
    times = [one.time for one in own if replace(one, time="", keywords={}, place=None) == same]
    return replace(record, time=times[0]) if times else record


def _read_photos(folder: Path, records: Sequence[Record]) -> Embedded:
    """Read what the photos of a sidecar say about themselves, together."""
    paths = [folder / name for name in _list_photos(records)]
    return join_embedded([read_embedded(path) for path in paths if os.path.lexists(path)])


def _list_photos(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the names of photos, each once; a sidecar that somebody changed may name files elsewhere, or none."""
    names = dict.fromkeys(read_file_name(record.file) for record in records)
    return tuple(name for name in names if name not in ("", ".", "..") and not {"/", "\0", os.sep} & {*name})


def _is_of_another(record: Record, photo: Path) -> bool:
    """Return whether a record is of another photo that is still there; renamed with its photo, it is of none."""
    other = photo.parent / read_file_name(record.file)
    return record.file != write_file_name(photo.name) and os.path.lexists(other) and not _is_same(other, photo)


def _is_same(path: Path, other: Path) -> bool:
    """Return whether two paths are one file, as where upper and lower case are the same."""
    try:
        return path.samefile(other)
    except OSError:
        return False


def _name(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 - links stay


def _read(path: Path) -> bytes | None:
    """Read a sidecar; a link is not followed, for it may lead anywhere."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise SidecarError("it is a link, which is not followed. Replace it by the file") from error
        raise
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SidecarError("it is not a regular file")
        return stream.read(MAX_SIDECAR_BYTES + 1)


def _write(change: Change) -> None:
    """Replace the file, unless somebody else has just done so."""
    if change.after is None:
        _check_unchanged(change)
        change.path.unlink(missing_ok=True)
        return
    with replace_file(change.path) as temporary:
        temporary.write_bytes(change.after)
        if change.before is not None:
            with suppress(OSError):  # a file system without permissions
                shutil.copymode(change.path, temporary)
        _check_unchanged(change)


def _check_unchanged(change: Change) -> None:
    if _read(change.path) != change.before:
        raise SidecarError("another program is writing it. Run the command again")
