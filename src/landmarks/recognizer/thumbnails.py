"""Thumbnails of the gallery photos: concatenated JPEGs in one file, and their offsets in another.

The JPEGs are memory-mapped, so that a service with millions of them reads only those that it shows.
"""

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from landmarks.errors import ArtifactError

THUMBNAILS_FILE = "thumbnails.jpegs"
OFFSETS_FILE = "thumbnails.npy"
_MOST_SIDE = 128  # pixels
_QUALITY = 75


class Thumbnails:
    """The thumbnails of an index folder, by row of its gallery; safe to use from several threads."""

    def __init__(self, data: "mmap.mmap | bytes", offsets: npt.NDArray[np.int64]) -> None:
        self._data = data
        self._offsets = offsets

    @classmethod
    def load(cls, folder: Path) -> "Thumbnails":
        """Open the thumbnails of an index folder.

        Raises:
            ArtifactError: a file is missing or damaged, or the offsets do not fit the JPEGs.
        """
        path = folder / THUMBNAILS_FILE
        try:
            offsets = np.load(folder / OFFSETS_FILE, allow_pickle=False)
            with path.open("rb") as stream:
                size = stream.seek(0, io.SEEK_END)
                data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""  # mmap refuses 0 bytes
        except (OSError, ValueError, EOFError) as error:
            raise ArtifactError(f"{folder} has no usable thumbnails: {error}. Run `dvc repro index`.") from error
        is_ordered = offsets.ndim == 1 and offsets.dtype == np.int64 and len(offsets) and (np.diff(offsets) >= 0).all()
        if not is_ordered or offsets[0] != 0 or offsets[-1] != size:
            raise ArtifactError(f"{folder / OFFSETS_FILE} does not fit {path.name}. Run `dvc repro index`.")
        return cls(data, offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, row: int) -> bytes:
        """Return the JPEG of a row."""
        return self._data[int(self._offsets[row]) : int(self._offsets[row + 1])]


class ThumbnailWriter:
    """Appends thumbnails, in the order of the gallery's rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream = (folder / THUMBNAILS_FILE).open("wb")
        self._offsets = [0]

    def add(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Append one photo: uint8 (height, width, 3)."""
        image = Image.fromarray(pixels)
        image.thumbnail((_MOST_SIDE, _MOST_SIDE))
        encoded = io.BytesIO()
        image.save(encoded, "JPEG", quality=_QUALITY)
        self._offsets.append(self._offsets[-1] + self._stream.write(encoded.getvalue()))

    def close(self) -> None:
        """Write the offsets."""
        self._stream.close()
        np.save(self._folder / OFFSETS_FILE, np.array(self._offsets, np.int64))


@contextmanager
def open_thumbnails(folder: Path) -> Iterator[ThumbnailWriter]:
    """Open a writer for an index folder, and close it at the end of the `with` block."""
    writer = ThumbnailWriter(folder)
    try:
        yield writer
    finally:
        writer.close()
