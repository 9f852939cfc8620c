"""What a run writes beside the sidecars: tables for programs, and folders of links for people."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol

from landmarks.albums.names import Names
from landmarks.albums.tagging import Tagged
from landmarks.errors import LandmarksError
from landmarks.files.writing import replace_file
from landmarks.recognizer.answers import NO_LANDMARK

Linking = Literal["symbolic", "hard", "copy"]
COLUMNS = (
    *("path", "answer", "landmark_id", "confidence", "landmark_score", "threshold", "tagged", "outcome", "link"),
    "error",
)
_MAX_FOLDER_BYTES = 255
_MARKER = ".landmarks-album"  # an album folder is ours only if it has this file
# not allowed in names by Windows and its file systems; a point at the end is not either
_FORBIDDEN = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


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
        self._writer.writerow([facts.get(column) for column in COLUMNS])

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
        "path": str(tagged.path),
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


class AlbumFolder:
    """A folder with a folder for each landmark, which has links to its photos."""

    def __init__(self, folder: Path, linking: Linking) -> None:
        """Make the folder, or take one that an earlier run made.

        Raises:
            LandmarksError: the folder has other things in it.
        """
        self._folder = folder
        self._linking = linking
        if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).exists():
            raise LandmarksError(
                f"--album makes a folder of its own, and {folder} has other things in it. Name a new folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARKER).touch()
        self._owners: dict[str, int] = {}  # landmark_id by folder

    def add(self, tagged: Tagged) -> None:
        """Link a photo into the folders of its landmarks."""
        source = Path(os.path.abspath(tagged.path))  # noqa: PTH100 - the link leads to the photo by the name it has
        for landmark_id, name, _ in tagged.landmarks:
            folder = self._folder / self._choose_name(landmark_id, name)
            folder.mkdir(exist_ok=True)
            self._link(source, folder)

    def _choose_name(self, landmark_id: int, name: str) -> str:
        """Choose the folder of a landmark: its name, without characters that some file systems do not have."""
        cleaned = name.translate(_FORBIDDEN).strip(". ") or "_"
        if self._owners.setdefault(cleaned.casefold(), landmark_id) != landmark_id:
            cleaned = f"{cleaned} ({landmark_id})"
        if len(cleaned.encode()) > _MAX_FOLDER_BYTES:
            raise LandmarksError(f"The name {name[:60]}… has {len(name.encode())} bytes, too many for a folder.")
        return cleaned

    def _link(self, source: Path, folder: Path) -> None:
        """Link a photo under its own name, or where another photo has that, with a number."""
        for number in range(1, 10_000):
            name = source.name if number == 1 else f"{source.stem}-{number}{source.suffix}"
            target = folder / name
            if not os.path.lexists(target):
                self._make(source, target)
                return
            if self._is_same(source, target):
                return
        raise LandmarksError(f"{folder} has 10,000 photos of the name {source.name}.")

    def _make(self, source: Path, target: Path) -> None:
        try:
            if self._linking == "symbolic":
                target.symlink_to(os.path.relpath(source, os.path.realpath(target.parent)))
            elif self._linking == "hard":
                os.link(source, target)
            else:
                with replace_file(target) as temporary:
                    shutil.copy2(source, temporary)
        except OSError as error:
            advice = "--copy works everywhere" if self._linking != "copy" else "Check the disk"
            raise LandmarksError(f"{target} cannot be made: {error.strerror}. {advice}.") from error

    def _is_same(self, source: Path, target: Path) -> bool:
        with suppress(OSError):
            if self._linking != "copy":
                return target.samefile(source)
            ours, theirs = source.stat(), target.stat()
            return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
        return False
