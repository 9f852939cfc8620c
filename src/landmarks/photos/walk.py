"""Find the photos below folders, and read one file; every command and every photo source keeps to these rules.

A photo is a regular file with one of the `PHOTO_SUFFIXES`, or without a suffix but with the first bytes of a photo.

- Hidden files and folders (`.thumbnails`, `._photo.jpg`) and those of operating and storage systems are left out.
- A symbolic link is followed if its target lies below the folders given. Each file is found once, under its own name if
  it has one below the folders, and no circle of links is followed.
- Pipes, devices, sockets and all other files are left out, too. What is left out is counted by kind.

A file that a user names is taken as a photo, whatever it is called.
"""

import os
from collections import deque
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from landmarks.errors import ImageError
from landmarks.photos.headers import HEAD_BYTES, identify
from landmarks.photos.raw import RAW_SUFFIXES, get_photo

MAX_PHOTO_BYTES = 256 << 20  # far above any photo; protects against zip bombs and stray files
DECODED_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib"),
    *(".tif", ".tiff", ".heic", ".heif", ".hif", ".avif"),
)
# Also of formats that cannot be decoded: the error of each such photo says what to do.
PHOTO_SUFFIXES = (*DECODED_SUFFIXES, *RAW_SUFFIXES, ".jxl", ".jp2")
# in lower case; names that begin with a dot are hidden everywhere
_SYSTEM_NAMES = frozenset(
    (
        *(
            "@eadir",
            "@synoeastream",
            "@synoresource",
            "#recycle",
            "#snapshot",
            "@recycle",
            "@recently-snapshot",
            "@tmp",
        ),
        *("$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"),
        *("__macosx", "lost+found"),
    )
)
_HIDDEN = "hidden or of the system"
LINKED_ELSEWHERE = "linked to elsewhere"
_BROKEN = "linked to nothing"
NOT_REGULAR = "not a regular file"
_OTHER = "not a photo"
_CLOSED = "unreadable"
_SHOWN = 3  # paths of each kind that are named


@dataclass
class LeftOut:
    """What a walk left out: how many paths of each kind, and the first of them."""

    counts: dict[str, int] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, path: str) -> None:
        """Count a path."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        paths = self.shown.setdefault(kind, [])
        if len(paths) < _SHOWN:
            paths.append(show_path(path))

    @property
    def is_incomplete(self) -> bool:
        """Whether a folder or file could not be looked at, so that photos may be missing."""
        return _CLOSED in self.counts

    def describe(self) -> str:
        """Return one line that counts and names what was left out, or an empty text."""
        parts = []
        for kind, count in self.counts.items():
            names = [*self.shown[kind], "…"] if count > _SHOWN else self.shown[kind]
            parts.append(f"{count:,} {kind} ({', '.join(names)})")
        return f"Left out: {'; '.join(parts)}." if parts else ""


def find_photos(paths: Sequence[Path]) -> tuple[list[Path], LeftOut]:
    """Find the photos below folders; of the paths given, whatever is not a folder counts as a photo.

    Returns:
        The photos, sorted within each folder given, and what was left out.
    """
    folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112 - a Path raises where it may not look
    walk = _Walk(folders)
    groups = [walk.enter(path) if path in folders else _Group([path]) for path in paths]
    found: dict[str, Path] = {}  # by real path
    for group in groups:
        group.photos = [path for path in group.photos if found.setdefault(os.path.realpath(path), path) is path]
    # Links last, since a file's own name is preferred.
    for group in groups:
        while group.links:
            link = group.links.pop(0)
            more = walk.follow(link)
            group.photos += [path for path in more.photos if found.setdefault(os.path.realpath(path), path) is path]
            group.links += more.links
    return [path for group in groups for path in sorted(group.photos)], walk.left_out


class PhotoStream:
    """The photos that `find_photos` finds, one by one and in no memory; it may be iterated again, and looks anew then.

    Attributes:
        left_out: what the last iteration left out so far.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.left_out = LeftOut()

    def __iter__(self) -> Iterator[Path]:
        folders = [path for path in self._paths if os.path.isdir(path)]  # noqa: PTH112 - as above
        walk = _Walk(folders)
        self.left_out = walk.left_out
        alone: set[str] = set()  # real paths of photos that no folder has under their own name
        for path in (path for path in self._paths if path not in folders):
            if (real := os.path.realpath(path)) not in alone:
                alone.add(real)
                yield path
        links: deque[str] = deque()
        for folder in folders:
            for found in walk.iterate(os.fspath(folder), links):
                if not alone or os.path.realpath(found) not in alone:
                    yield Path(found)
        walk.remember()
        while links:
            link = links.popleft()
            group = walk.follow(link)
            links += group.links
            for photo in group.photos:
                real = os.path.realpath(photo)
                if real not in alone and not walk.has_found(real):
                    alone.add(real)
                    yield photo


def iterate_photos(folder: Path) -> Iterator[Path]:
    """Yield the photos below a folder one by one, without following links."""
    return (Path(entry) for entry in _Walk([folder]).iterate(os.fspath(folder), []))


def show_path(text: str) -> str:
    """Return a path as it may be printed, on one line: what is no character is escaped."""
    return text if text.isprintable() else ascii(text)


def is_photo_file(path: Path) -> bool:
    """Return whether a path is a photo, if it is not hidden."""
    return _Walk([]).is_photo(os.fspath(path), os.path.isfile(path))  # noqa: PTH113 - a Path raises where it may not look


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or belongs to an operating or storage system."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def is_photo_name(name: str) -> bool:
    """Return whether a name has the suffix of a photo."""
    return name.lower().endswith(PHOTO_SUFFIXES)


def is_below(real: str, root: str) -> bool:
    """Return whether a path is a folder or lies below it; both without symbolic links."""
    return real == root or real.startswith(f"{root.rstrip('/')}/")


def read_photo(path: Path, max_bytes: int = MAX_PHOTO_BYTES) -> bytes:
    """Read a file within the size limit; a larger one is refused before it is read. Of a RAW photo, the preview.

    Raises:
        ImageError: the file is missing, too large, or cannot be read.
    """
    return get_photo(path.name, _read_file(path, max_bytes))


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        # without the flag, a pipe that nobody writes to would be waited for
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            os.set_blocking(stream.fileno(), True)
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(max_bytes + 1) if size <= max_bytes else b""  # a pipe or device has no size
    except OSError as error:
        raise ImageError(f"The file cannot be read: {error.strerror}.", "unreadable") from None
    if max(size, len(data)) > max_bytes:
        raise ImageError(
            f"The file has {max(size, len(data))} bytes or more, above the {max_bytes} allowed.", "too_large"
        )
    return data


@dataclass
class _Group:
    """What was found below one of the paths given: photos under their own names, and links not yet followed."""

    photos: list[Path]
    links: list[str] = field(default_factory=list)


_FILE, _FOLDER, _LINK, _SPECIAL = range(4)


def _find_kind(entry: "os.DirEntry[str]") -> int:
    """Return what an entry of a folder is; entries themselves would take ten times the memory of their names."""
    if entry.is_symlink():
        return _LINK
    if entry.is_dir(follow_symlinks=False):
        return _FOLDER
    return _FILE if entry.is_file(follow_symlinks=False) else _SPECIAL


def _is_expected(name: str, kind: int) -> bool:
    """Return whether a file is a sidecar, which is expected beside photos and not worth a word."""
    return kind == _FILE and name.lower().endswith(".xmp") and not is_hidden(name)


class _Walk:
    """A walk below some folders, which enters each folder once."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.left_out = LeftOut()
        self._roots = [os.path.realpath(root) for root in roots]
        self._entered: set[tuple[int, int]] = set()  # device and number
        self._searched: frozenset[tuple[int, int]] = frozenset()

    def enter(self, folder: Path) -> _Group:
        """Find the photos and the links below a folder."""
        links: list[str] = []
        return _Group([Path(path) for path in self.iterate(os.fspath(folder), links)], links)

    def follow(self, link: str) -> _Group:
        """Find what a link leads to."""
        real = os.path.realpath(link)
        if not os.path.exists(real):  # noqa: PTH110 - a Path raises where it may not look
            self.left_out.add(_BROKEN, link)
        elif not any(is_below(real, root) for root in self._roots):
            self.left_out.add(LINKED_ELSEWHERE, link)
        elif os.path.isdir(real):  # noqa: PTH112
            return self.enter(Path(link))
        elif self.is_photo(link, os.path.isfile(real)):  # noqa: PTH113
            return _Group([Path(link)])
        return _Group([])

    def remember(self) -> None:
        """Remember the folders entered so far as those whose photos were found."""
        self._searched = frozenset(self._entered)

    def has_found(self, real: str) -> bool:
        """Return whether a photo was found under its own name, its path without links, before `remember`."""
        folder, _, name = real.rpartition("/")
        try:
            status = os.stat(folder or "/")  # noqa: PTH116 - as above
        except OSError:
            return False
        is_photo = is_photo_name(name) or "." not in name
        return is_photo and not is_hidden(name) and (status.st_dev, status.st_ino) in self._searched

    def iterate(self, folder: str, links: MutableSequence[str]) -> Iterator[str]:
        """Yield the photos below a folder; put links into `links`, and count everything else."""
        waiting = [folder]
        while waiting:
            folder = waiting.pop()
            try:
                status = os.stat(folder)  # noqa: PTH116 - a Path for each entry takes ten times as long
                if (status.st_dev, status.st_ino) in self._entered:
                    continue
                self._entered.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as scan:
                    kinds = ((entry.name, _find_kind(entry)) for entry in scan)
                    found = sorted((name, kind) for name, kind in kinds if not _is_expected(name, kind))
            except OSError:
                self.left_out.add(_CLOSED, folder)
                continue
            for name, kind in found:
                path = os.path.join(folder, name)  # noqa: PTH118 - as above
                if is_hidden(name):
                    self.left_out.add(_HIDDEN, path)
                elif kind == _LINK:
                    links.append(path)
                elif kind == _FOLDER:
                    waiting.append(path)
                elif self.is_photo(path, kind == _FILE):
                    yield path

    def is_photo(self, path: str, is_file: bool) -> bool:
        if not is_file:
            self.left_out.add(NOT_REGULAR, path)
            return False
        name = path.rpartition("/")[2]
        if is_photo_name(name):
            return True
        try:
            if "." not in name and _starts_like_a_photo(path):
                return True
        except OSError:
            self.left_out.add(_CLOSED, path)
            return False
        self.left_out.add(_OTHER, path)
        return False


def _starts_like_a_photo(path: str) -> bool:
    with Path(path).open("rb") as stream:
        return identify(stream.read(HEAD_BYTES)) is not None
