"""The tables of photos, names and distractors: read with suspicion, stored as a photo set.

Values stay texts until the validate stage has judged them; only what is no table at all is refused here.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from landmarks.data.schema import Place
from landmarks.errors import ArtifactError, DataError
from landmarks.files import read_json, write_json

IMAGES_FILE = "images.parquet"
DISTRACTORS_FILE = "distractors.parquet"
NAMES_FILE = "names.parquet"
SOURCE_FILE = "source.json"

_PHOTO_COLUMNS = {"id": "image_id", "landmark_id": "landmark_id"}
_NAME_COLUMNS = {"landmark_id": "landmark_id", "name": "name"}
_DISTRACTOR_COLUMNS = {"id": "image_id", "category": "category"}
_LONGEST_BLANK = 2
_PLACE_COLUMNS = ("offset", "compressed_bytes", "method")
_TYPES = {
    "image_id": pa.string(),
    "name": pa.string(),
    "category": pa.string(),
    "split": pa.string(),
    "offset": pa.int64(),
    "compressed_bytes": pa.int64(),
    "method": pa.int8(),
    "label": pa.int32(),
}
_LONGEST_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class PhotoSet:
    """The photos of landmarks, those of none, the landmarks' names, and where the bytes are.

    The columns are those of `docs/pipeline.md`; `sources` has the keys `photos` and `distractors`.
    """

    images: pd.DataFrame
    distractors: pd.DataFrame
    names: pd.DataFrame
    sources: dict[str, Any]


def read_photo_table(path: Path) -> pd.DataFrame:
    """Read `id,landmark_id` as texts: `image_id,landmark_id`. Empty cells become missing values.

    Raises:
        DataError: the file is missing, empty or no such table.
    """
    table = _read_table(path, _PHOTO_COLUMNS)
    if table.empty:
        raise DataError(f"{path} has a header but no rows. It must list at least one photo.")
    return table


def read_name_table(path: Path) -> pd.DataFrame:
    """Read `landmark_id,name` as texts; a file of 0 bytes means that there are no names.

    Raises:
        DataError: the file is missing or no such table.
    """
    return _read_optional_table(path, _NAME_COLUMNS)


def read_distractor_table(path: Path) -> pd.DataFrame:
    """Read `id,category` as texts: `image_id,category`; a file of 0 bytes means that there are no distractors.

    Raises:
        DataError: the file is missing or no such table.
    """
    return _read_optional_table(path, _DISTRACTOR_COLUMNS)


def write_photo_set(folder: Path, photo_set: PhotoSet) -> Path:
    """Write the four files into an existing folder; equal sets give equal bytes."""
    _write_parquet(folder / IMAGES_FILE, photo_set.images)
    _write_parquet(folder / DISTRACTORS_FILE, photo_set.distractors)
    _write_parquet(folder / NAMES_FILE, photo_set.names)
    write_json(folder / SOURCE_FILE, photo_set.sources)
    return folder


def read_photo_set(folder: Path) -> PhotoSet:
    """Read what `write_photo_set` wrote.

    Raises:
        ArtifactError: a file is missing, damaged, or lacks a column.
    """
    return PhotoSet(
        images=_read_parquet(folder / IMAGES_FILE, (*_PHOTO_COLUMNS.values(), *_PLACE_COLUMNS)),
        distractors=_read_parquet(folder / DISTRACTORS_FILE, (*_DISTRACTOR_COLUMNS.values(), *_PLACE_COLUMNS)),
        names=_read_parquet(folder / NAMES_FILE, tuple(_NAME_COLUMNS.values())),
        sources=read_json(folder / SOURCE_FILE),
    )


def build_places(table: pd.DataFrame) -> list[Place]:
    """Where each photo of a table is, in the order of its rows."""
    return [Place(*row) for row in zip(*(table[column] for column in ("image_id", *_PLACE_COLUMNS)), strict=True)]


def _read_optional_table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    if path.is_file() and path.stat().st_size <= _LONGEST_BLANK and not path.read_bytes().strip():
        return pd.DataFrame({new: pd.Series([], dtype="str") for new in columns.values()})
    return _read_table(path, columns)


def _read_table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    _check_header(path, tuple(columns))
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # only then do errors name the row
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path} is not a table of {','.join(columns)}: {str(error)[:300]}. Every row needs as many cells as the "
            "header, as UTF-8 text."
        ) from None
    frame: pd.DataFrame = table.rename_columns(list(columns.values())).to_pandas()
    return frame.astype("str")


def _check_header(path: Path, expected: tuple[str, ...]) -> None:
    found = _read_header(path, expected)
    missing = [column for column in expected if column not in found]
    doubled = [column for column in expected if found.count(column) > 1]
    if missing or doubled:
        problem = f"lacks the column {missing[0]}" if missing else f"has the column {doubled[0]} more than once"
        shown = ", ".join(f"{column!r:.40}" for column in found[:8])
        raise DataError(
            f"{path} {problem}: its first line has {shown or 'nothing'}. Its header must contain {','.join(expected)}."
        )


def _read_header(path: Path, expected: tuple[str, ...]) -> list[str]:
    wanted = f"Expected a UTF-8 table with the header {','.join(expected)}."
    try:
        with path.open("rb") as stream:
            line = stream.readline(_LONGEST_HEADER_BYTES)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. {wanted} The path is in the acquire section of params.yaml.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). {wanted}") from None
    if not line:
        raise DataError(f"{path} is empty. {wanted}")
    try:
        return next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")]), [])
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path} is not text: it starts with {line[:16]!r}. {wanted}") from None


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    fields = [(str(column), _get_type(frame, str(column))) for column in frame.columns]
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False)
    # pandas would note its own version and the index, which says nothing about the photos.
    pyarrow.parquet.write_table(table.replace_schema_metadata(None), path, compression="zstd")


def _get_type(frame: pd.DataFrame, column: str) -> pa.DataType:
    if column == "landmark_id":  # the text of the table at first, a number once it is validated
        return pa.int64() if pd.api.types.is_integer_dtype(frame[column]) else pa.string()
    return _TYPES[column]


def _read_parquet(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pyarrow.parquet.ParquetFile(path).read().to_pandas()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({error}). Delete it and run `dvc repro`.") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ArtifactError(f"{path} lacks the columns {', '.join(missing)}. Delete it and run `dvc repro`.")
    return frame
