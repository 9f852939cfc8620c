"""What a run writes beside the sidecars: tables for programs, and folders of links for people."""

import csv
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol

from landmarks.albums.names import Names
from landmarks.albums.tagging import Tagged
from landmarks.errors import LandmarksError
from landmarks.files.writing import replace_file
from landmarks.photos.walk import is_below
from landmarks.recognizer.answers import NO_LANDMARK

Linking = Literal["symbolic", "hard", "copy"]
COLUMNS = (
    *("path", "answer", "landmark_id", "confidence", "landmark_score", "threshold", "tagged", "outcome", "link"),
    "error",
)
_MARKER = ".landmarks-album"  # an album folder is ours only if it has this file
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets compute cells that begin so


class Output(Protocol):
    """Takes the photos of a run one by one."""

    def add(self, tagged: Tagged) -> None:
        """Take a photo."""
        ...


class Table:
    """A CSV table with a row for each photo."""

    def __init__(self, path: Path, names: Names) -> None:
        self._stream = path.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        self._names = names

    def add(self, tagged: Tagged) -> None:
        """As `Output.add`."""
        facts = describe(tagged, self._names)
        self._writer.writerow([_defuse(facts.get(column)) for column in COLUMNS])

    def close(self) -> None:
        """Write what is left."""
        self._stream.close()


class Lines:
    """JSON lines, with the next guesses too."""

    def __init__(self, path: Path, names: Names) -> None:
        self._stream = path.open("w", encoding="utf-8")
        self._names = names

    def add(self, tagged: Tagged) -> None:
        """As `Output.add`."""
        guesses = [
            {"landmark_id": number, "name": self._names.find(number), "score": score}
            for number, _, score in tagged.answer.landmarks
        ]
        facts = describe(tagged, self._names) | {"predictions": guesses}
        # half a surrogate pair, of a name that is no UTF-8, can only be written as an escape
        self._stream.write(json.dumps(facts, ensure_ascii=not str(tagged.path).isprintable()) + "\n")

    def close(self) -> None:
        """Write what is left."""
        self._stream.close()


@contextmanager
def open_output(kind: type[Table] | type[Lines], path: Path, names: Names) -> Iterator[Output]:
    """Open a file of a kind; it gets its name at the end of the `with` block."""
    with replace_file(path) as temporary:
        output = kind(temporary, names)
        try:
            yield output
        finally:
            output.close()


def describe(tagged: Tagged, names: Names) -> dict[str, object]:
    """Describe a photo by the names in `COLUMNS`."""
    answer = tagged.answer
    best = answer.landmarks[0][0] if answer.landmarks else None
    facts: dict[str, object] = {
        "path": os.path.abspath(tagged.path),  # noqa: PTH100 - links stay
        "outcome": tagged.outcome,
        "tagged": " | ".join(name for _, name, _ in tagged.landmarks),
        "error": tagged.error or None,
    }
    if best is not None:
        facts |= {
            "answer": names.find(best) if answer.is_landmark else NO_LANDMARK,
            "landmark_id": best,
            "confidence": round(answer.confidence, 4),
            "landmark_score": round(answer.landmark_score, 4),
            "threshold": round(answer.threshold, 4),
            "link": names.find_link(best) if answer.is_landmark else None,
        }
    return facts


def _defuse(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


class AlbumFolder:
    """A folder with a folder for each landmark, which has links to its photos."""

    def __init__(self, folder: Path, linking: Linking, names: Names) -> None:
        """Make the folder, or take one that an earlier run made.

        Raises:
            LandmarksError: the folder has other things in it.
        """
        self._folder = folder
        self._linking = linking
        self._names = names
        self._made: set[str] = set()
        if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).exists():
            raise LandmarksError(
                f"--album makes a folder of its own, and {folder} has other things in it. Name a new folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARKER).touch()

    def add(self, tagged: Tagged) -> None:
        """Link a photo into the folders of its landmarks.

        Raises:
            LandmarksError: it cannot be linked.
        """
        source = Path(os.path.abspath(tagged.path))  # noqa: PTH100 - the link leads to the photo by the name it has
        for landmark_id, _, _ in tagged.landmarks:
            folder = self._folder / self._names.find_folder(landmark_id)
            try:
                folder.mkdir(exist_ok=True)
                self._made.add(str(self._link(source, folder)))
            except OSError as error:
                advice = "" if self._linking == "copy" else " --copy works on every disk."
                raise LandmarksError(f"It cannot be put into {folder}: {error.strerror}.{advice}") from error

    def clear(self, roots: Sequence[Path]) -> None:
        """Remove links of earlier runs to photos below some folders that are of another landmark now, or gone.

        Hard links and copies stay: they cannot be told from files that people put there.
        """
        inside = [os.path.abspath(root) for root in roots]  # noqa: PTH100 - as above
        for link in self._folder.glob("*/*"):
            if link.is_symlink() and str(link) not in self._made:
                target = os.path.normpath(os.path.join(os.path.realpath(link.parent), os.readlink(link)))  # noqa: PTH115, PTH118
                if any(is_below(target, root) for root in inside):
                    link.unlink()
        for folder in self._folder.iterdir():
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _link(self, source: Path, folder: Path) -> Path:
        """Link a photo under its own name, or where another photo has that, with a number."""
        for number in itertools.count(1):
            target = folder / (source.name if number == 1 else f"{source.stem}-{number}{source.suffix}")
            if self._is_of_another(target, source):
                continue
            if not self._is_made(target):
                target.unlink(missing_ok=True)
                self._make(source, target)
            return target
        raise AssertionError("numbers do not end")

    def _make(self, source: Path, target: Path) -> None:
        if self._linking == "symbolic":
            target.symlink_to(os.path.relpath(source, os.path.realpath(target.parent)))
        elif self._linking == "hard":
            os.link(source, target)
        else:
            with replace_file(target) as temporary:
                shutil.copy2(source, temporary)

    def _is_made(self, target: Path) -> bool:
        """Return whether a file, which is of the photo, is of the kind that is wanted."""
        return os.path.lexists(target) and target.is_symlink() == (self._linking == "symbolic")

    def _is_of_another(self, target: Path, source: Path) -> bool:
        """Return whether a name is taken, but not by the photo."""
        if not os.path.lexists(target):
            return False
        with suppress(OSError):  # a link to nothing
            if target.samefile(source):
                return False
            ours, theirs = source.stat(), target.stat()
            return (ours.st_size, ours.st_mtime_ns) != (theirs.st_size, theirs.st_mtime_ns) or target.is_symlink()
        return str(target) in self._made
