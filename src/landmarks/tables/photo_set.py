"""The tables of photos, names and distractors: read with suspicion, stored as a photo set.

Values stay texts until the validate stage has judged them; only what is no table at all is refused here.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from landmarks.errors import ArtifactError, DataError
from landmarks.files import read_json, write_json
from landmarks.photos.places import Place
from landmarks.schema.columns import ATTRIBUTION_COLUMNS, ATTRIBUTIONS_FILE

IMAGES_FILE = "images.parquet"
DISTRACTORS_FILE = "distractors.parquet"
NAMES_FILE = "names.parquet"
SOURCE_FILE = "source.json"

_PHOTO_COLUMNS = {"id": "image_id", "landmark_id": "landmark_id"}
_NAME_COLUMNS = {"landmark_id": "landmark_id", "name": "name"}
_DISTRACTOR_COLUMNS = {"id": "image_id", "category": "category"}
_SOLUTION_COLUMN = "landmarks"
_ATTRIBUTION_COLUMNS = {"id": "image_id", **{column: column for column in ATTRIBUTION_COLUMNS}}
_LONGEST_BLANK = 2
_PLACE_COLUMNS = ("offset", "compressed_bytes", "method")
_TABLE_COLUMNS = (*_PLACE_COLUMNS, "stamp")  # so that whatever depends on a table sees that a photo was replaced
_TYPES = {
    "image_id": pa.string(),
    "name": pa.string(),
    "category": pa.string(),
    "split": pa.string(),
    "offset": pa.int64(),
    "compressed_bytes": pa.int64(),
    "method": pa.int8(),
    "stamp": pa.int64(),
    "label": pa.int32(),
    **dict.fromkeys(ATTRIBUTION_COLUMNS, pa.string()),
}
_BLOCK_BYTES = 16 << 20  # of a table that is filtered while it is read
_LONGEST_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class PhotoSet:
    """The photos of landmarks, those of none, the landmarks' names, who made the photos, and where the bytes are.

    The columns are those of `docs/pipeline.md`; `sources` has the keys `photos` and `distractors`.
    """

    images: pd.DataFrame
    distractors: pd.DataFrame
    names: pd.DataFrame
    attributions: pd.DataFrame
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

    Of a solution of Google's test set the photos without landmarks are taken, but for those that its `Usage` ignores.
    Nobody sorted them: their categories are the first two digits of their ids.

    Raises:
        DataError: the file is missing or no such table.
    """
    if not is_solution(path):
        return _read_optional_table(path, _DISTRACTOR_COLUMNS)
    table = _read_table(path, {"id": "image_id", _SOLUTION_COLUMN: "category", "Usage": "usage"})
    wanted = (table["category"].fillna("").str.strip() == "") & (table["usage"] != "Ignored")
    ids = table.loc[wanted, "image_id"].reset_index(drop=True)
    return pd.DataFrame({"image_id": ids, "category": ids.str[:2]})


def is_solution(path: Path) -> bool:
    """Whether a table says which landmarks the photos of Google's test set show: `id,landmarks,Usage`.

    Raises:
        DataError: the file is missing or no table.
    """
    return not _is_blank(path) and _SOLUTION_COLUMN in _read_header(path, tuple(_DISTRACTOR_COLUMNS))


def read_attribution_table(path: Path, image_ids: Iterable[pd.Series]) -> pd.DataFrame:
    """Read those rows of `id,url,author,license,title` that are about given photos; a blank file has none.

    Google's table lists four million photos. It is filtered block by block, so that memory holds what is wanted alone.

    Returns:
        `image_id,author,license,url,title`, texts without missing values.

    Raises:
        DataError: the file is missing or no such table, or lists a photo twice.
    """
    if _is_blank(path):
        return _make_empty(_ATTRIBUTION_COLUMNS)
    wanted = pa.array(pd.concat(list(image_ids)).dropna().unique(), pa.string())
    table = _read_table(path, _ATTRIBUTION_COLUMNS, wanted).fillna("")
    repeated = table["image_id"][table["image_id"].duplicated()]
    if len(repeated):
        raise DataError(
            f"{path} lists {len(repeated)} photos twice, for example {repeated.iloc[0]!r}. Keep one row each."
        )
    return table


def write_photo_set(folder: Path, photo_set: PhotoSet) -> Path:
    """Write the five files into an existing folder; equal sets give equal bytes."""
    _write_parquet(folder / IMAGES_FILE, photo_set.images)
    _write_parquet(folder / DISTRACTORS_FILE, photo_set.distractors)
    _write_parquet(folder / NAMES_FILE, photo_set.names)
    _write_parquet(folder / ATTRIBUTIONS_FILE, photo_set.attributions)
    write_json(folder / SOURCE_FILE, photo_set.sources)
    return folder


def read_photo_set(folder: Path) -> PhotoSet:
    """Read what `write_photo_set` wrote.

    Raises:
        ArtifactError: a file is missing, damaged, or lacks a column.
    """
    return PhotoSet(
        images=_read_parquet(folder / IMAGES_FILE, (*_PHOTO_COLUMNS.values(), *_TABLE_COLUMNS)),
        distractors=_read_parquet(folder / DISTRACTORS_FILE, (*_DISTRACTOR_COLUMNS.values(), *_TABLE_COLUMNS)),
        names=_read_parquet(folder / NAMES_FILE, tuple(_NAME_COLUMNS.values())),
        attributions=_read_parquet(folder / ATTRIBUTIONS_FILE, tuple(_ATTRIBUTION_COLUMNS.values())),
        sources=read_json(folder / SOURCE_FILE),
    )


def build_places(table: pd.DataFrame) -> list[Place]:
    """Where each photo of a table is, in the order of its rows."""
    return [Place(*row) for row in zip(*(table[column] for column in ("image_id", *_PLACE_COLUMNS)), strict=True)]


def _read_optional_table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    return _make_empty(columns) if _is_blank(path) else _read_table(path, columns)


def _is_blank(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LONGEST_BLANK and not path.read_bytes().strip()


def _make_empty(columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({new: pd.Series([], dtype="str") for new in columns.values()})


def _read_table(path: Path, columns: dict[str, str], wanted: pa.Array | None = None) -> pd.DataFrame:
    """The given columns, renamed; where `wanted` is given only the rows whose first column is among it."""
    _check_header(path, tuple(columns))
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(columns),
        column_types=dict.fromkeys(columns, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    try:
        if wanted is None:
            # only without threads do errors name the row
            read_options = pyarrow.csv.ReadOptions(use_threads=False)
            table = pyarrow.csv.read_csv(path, read_options=read_options, convert_options=options)
        else:
            table = _read_filtered(path, options, wanted)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path} is not a table of {','.join(columns)}: {str(error)[:300]}. Every row needs as many cells as the "
            "header, as UTF-8 text."
        ) from None
    frame: pd.DataFrame = table.rename_columns(list(columns.values())).to_pandas()
    return frame.astype("str")


def _read_filtered(path: Path, options: pyarrow.csv.ConvertOptions, wanted: pa.Array) -> pa.Table:
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)  # free texts may hold them
    with pyarrow.csv.open_csv(path, reading, parsing, options) as reader:
        kept = (batch.filter(pc.is_in(batch.column(0), wanted)) for batch in reader)
        return pa.Table.from_batches(kept, reader.schema)


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
