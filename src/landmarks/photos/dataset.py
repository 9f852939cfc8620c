"""Photos in the rows of a data set of Hugging Face: Parquet files, or the Arrow files that `save_to_disk` writes.

References:
    Hugging Face Datasets, "Image" feature: a column of `struct<bytes: binary, path: string>`, and the features as JSON
    in the metadata of the schema, by `huggingface`.
"""

import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet

from landmarks.errors import DataError
from landmarks.files.parsing import parse_json
from landmarks.photos.places import Place, is_photo_id
from landmarks.photos.walk import MAX_PHOTO_BYTES, is_hidden

DATASET_SUFFIXES = (".parquet", ".arrow")
_MAX_GROUP_BYTES = 2 << 30  # of photos that are read at once; writers keep to far less
_CACHE_BYTES = 256 << 20  # of row groups read last
_OPEN_FILES = 64


class DataFile(Protocol):
    """A table of photos in a file."""

    schema: pa.Schema

    def iterate(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows of some columns in blocks."""

    def read_photo(self, column: str, row: int) -> bytes | None:
        """Return the encoded photo in a row, None if there is none."""


class _ArrowFile:
    def __init__(self, path: Path) -> None:
        memory = pa.memory_map(str(path))
        is_file = memory.read(6) == b"ARROW1"
        memory.seek(0)
        self._table = (pa.ipc.open_file(memory) if is_file else pa.ipc.open_stream(memory)).read_all()
        self._table.validate()
        self.schema = self._table.schema

    def iterate(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(columns).to_batches()

    def read_photo(self, column: str, row: int) -> bytes | None:
        photo: bytes | None = get_bytes(self._table[column].slice(row, 1))[0].as_py()
        return photo


class _ParquetFile:
    def __init__(self, path: Path) -> None:
        self._file = pa.parquet.ParquetFile(path)
        self.schema, metadata = self._file.schema_arrow, self._file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        self._ends = list(accumulate(group.num_rows for group in groups))
        self._bytes = [group.total_byte_size for group in groups]
        self._cache = OrderedDict[tuple[int, str], pa.ChunkedArray]()
        self._lock = threading.Lock()

    def iterate(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(batch_size=256, columns=columns, use_threads=False)

    def read_photo(self, column: str, row: int) -> bytes | None:
        number = bisect_right(self._ends, row)
        with self._lock:
            group = self._read_group(number, column)
        start = self._ends[number - 1] if number else 0
        photo: bytes | None = group[row - start].as_py()
        return photo

    def _read_group(self, number: int, column: str) -> pa.ChunkedArray:
        """Read the photos of a row group: Parquet has no smaller part that can be found without reading the others."""
        key = (number, column)
        if key not in self._cache:
            if self._bytes[number] > _MAX_GROUP_BYTES:
                raise DataError(
                    f"A row group has {self._bytes[number] >> 20} MiB, more than the {_MAX_GROUP_BYTES >> 20} allowed. "
                    "Write the data set with fewer rows in a group (row_group_size)."
                )
            self._cache[key] = get_bytes(self._file.read_row_group(number, [column], use_threads=False)[column])
        self._cache.move_to_end(key)
        while len(self._cache) > 1 and sum(group.nbytes for group in self._cache.values()) > _CACHE_BYTES:
            self._cache.popitem(last=False)
        return self._cache[key]


class DatasetSource:
    """Photos in the rows of the files below a folder."""

    def __init__(self, root: Path, column: str) -> None:
        """Args: `column` has the photos."""
        self._root, self._column = root, column

    def read(self, place: Place) -> bytes:
        """As `PhotoSource.read`."""
        if place.compressed_bytes < 0 or place.offset < 0 or not is_photo_id(place.path):
            raise DataError("The photo is missing.")
        if place.compressed_bytes > MAX_PHOTO_BYTES:
            raise DataError(f"The photo has {place.compressed_bytes} bytes, more than the {MAX_PHOTO_BYTES} allowed.")
        path = self._root / place.path
        try:
            photo = open_data_file(path).read_photo(self._column, place.offset)
        except (OSError, pa.ArrowException, KeyError, IndexError) as error:
            raise DataError(f"The photo cannot be read from {path}: {str(error)[:200]}") from error
        if photo is None or len(photo) != place.compressed_bytes:
            raise DataError(f"{path} has changed since it was indexed. Run `dvc repro -f acquire`.")
        return photo


@lru_cache(maxsize=_OPEN_FILES)
def open_data_file(path: Path) -> DataFile:
    """Open a Parquet or Arrow file.

    Raises:
        DataError: it is damaged or no such file.
        OSError: it is missing or cannot be read.
    """
    try:
        return _ParquetFile(path) if path.suffix.lower() == ".parquet" else _ArrowFile(path)
    except pa.ArrowException as error:
        kind = path.suffix.lower()[1:].title()
        raise DataError(f"{path} is damaged or not a {kind} file ({str(error)[:200]}).") from error


def list_data_files(root: Path) -> list[str]:
    """List the Parquet and Arrow files below a folder, as relative paths in alphabetical order."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in DATASET_SUFFIXES)
    return sorted(str(path) for path in found if not any(map(is_hidden, path.parts)) and (root / path).is_file())


def get_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the encoded photos of an image column, binary."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def is_image_type(kind: pa.DataType) -> bool:
    """Return whether a column holds encoded photos: `struct<bytes, path>` or binary values."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def read_features(schema: pa.Schema) -> dict[str, Any]:
    """Return the features that Hugging Face Datasets describes in a schema, by column; empty without any."""
    try:
        described = parse_json((schema.metadata or {})[b"huggingface"].decode())["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def measure_photo(photo: bytes | None) -> tuple[int, int]:
    """Return the size and the CRC-32 of a photo; -1 and -1 if there is none."""
    return (-1, -1) if photo is None else (len(photo), zlib.crc32(photo))
