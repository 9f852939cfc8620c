"""Photo sources: a folder, a zip, which is read in place, or a data set of Hugging Face."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from landmarks.errors import DataError, ImageError
from landmarks.photos.files import MEASURED, make_check, measure_file
from landmarks.photos.places import Place, is_photo_id
from landmarks.photos.raw import get_photo
from landmarks.photos.walk import MAX_PHOTO_BYTES
from landmarks.photos.zip_members import read_member


class PhotoSource(Protocol):
    """A reader of encoded photos."""

    def read(self, place: Place) -> bytes:
        """Return the encoded bytes of one photo.

        Raises:
            DataError: the photo is missing, too large, or cannot be read.
        """
        ...


@dataclass(frozen=True)
class FolderSource:
    """Photos as files below a folder."""

    root: Path

    def read(self, place: Place) -> bytes:
        """As `PhotoSource.read`."""
        _check_place(place)
        path = self.root / place.path
        try:
            size, _ = measure_file(str(path), make_check(self.root))
            if size < 0:
                raise DataError(f"The photo {MEASURED[size]}.")
            if size > MAX_PHOTO_BYTES:
                raise DataError(f"The photo has {size} bytes, more than the {MAX_PHOTO_BYTES} allowed.")
            return _get_photo(place, path.read_bytes())
        except OSError as error:
            raise DataError(f"The photo cannot be read: {error.strerror}.") from error


@dataclass(frozen=True)
class ArchiveSource:
    """Photos inside a zip that is never unpacked."""

    path: Path

    def read(self, place: Place) -> bytes:
        """As `PhotoSource.read`."""
        _check_place(place)
        if place.compressed_bytes < 0 or place.offset < 0:
            raise DataError("The photo is missing.")
        try:
            return _get_photo(place, read_member(self.path, place.path, place, MAX_PHOTO_BYTES))
        except OSError as error:
            raise DataError(f"The photo cannot be read: {error.strerror}.") from error


def open_source(spec: Mapping[str, Any]) -> PhotoSource:
    """Open a photo source described in `source.json`.

    Args:
        spec: `{"kind": "folder", "archive" or "dataset", "path": …}`; other keys say how its photos were located.

    Raises:
        DataError: the kind is unknown, or the folder or file is missing.
    """
    path, kind = check_source(spec)
    if kind == "folder":
        return FolderSource(path)
    if kind == "archive":
        return ArchiveSource(path)
    from landmarks.photos.dataset import DatasetSource  # pyarrow, which workers of other sources do without

    return DatasetSource(path, spec["column"])


def check_source(spec: Mapping[str, Any]) -> tuple[Path, str]:
    """Return the path and the kind of a source.

    Raises:
        DataError: the kind is unknown, or the folder or file is missing.
    """
    kind, path = spec.get("kind"), Path(str(spec.get("path", "")))
    if kind not in ("folder", "archive", "dataset"):
        raise DataError(
            f"A photo source must be a folder, an archive or a dataset, received {kind!r}. Run acquire again."
        )
    if kind == "archive" and not path.is_file():
        raise DataError(f"The photo archive {path} is missing. Download it, or correct `acquire.photos`.")
    if kind != "archive" and not path.is_dir():
        raise DataError(f"The photo folder {path} is missing. Mount it, or correct `acquire.photos`.")
    return path, kind


def _get_photo(place: Place, data: bytes) -> bytes:
    """Return the encoded photo in a file: of RAW, the preview."""
    try:
        return get_photo(place.path, data)
    except ImageError as error:
        raise DataError(str(error)) from error


def _check_place(place: Place) -> None:
    """Refuse a path that could lead out of the source."""
    if not place.path:
        raise DataError("The photo is missing.")
    if not is_photo_id(place.path):
        raise DataError("The photo's path does not lie below its source.")
