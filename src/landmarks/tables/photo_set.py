"""Read the tables of photos, names, distractors and attributions, and store them as a photo set.

Values stay texts until the validate stage has checked them; only files that are not such tables are refused here.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from landmarks.errors import DataError
from landmarks.files.seals import FILES, compute_digests, open_sealed, write_sealed
from landmarks.photos.places import Place
from landmarks.schema.columns import ATTRIBUTION_COLUMNS, ATTRIBUTIONS_FILE
from landmarks.schema.parquet import read_parquet
from landmarks.schema.vocabulary import TRANSLATION

IMAGES_FILE = "images.parquet"
DISTRACTORS_FILE = "distractors.parquet"
NAMES_FILE = "names.parquet"
SOURCE_FILE = "source.json"

_PHOTO_COLUMNS = {"id": "image_id", "landmark_id": "landmark_id"}
_NAME_COLUMNS = {"landmark_id": "landmark_id", "name": "name"}
_DISTRACTOR_COLUMNS = {"id": "image_id", "category": "category"}
_SOLUTION_COLUMN = "landmarks"
_ATTRIBUTION_COLUMNS = {"id": "image_id", **{column: column for column in ATTRIBUTION_COLUMNS}}
_MAX_BLANK_BYTES = 2  # 0 bytes, or one line break
PLACE_COLUMNS = ("path", "offset", "compressed_bytes", "method")
_TABLE_COLUMNS = (*PLACE_COLUMNS, "stamp")  # the stamp makes DVC rerun later stages when a photo is replaced
_TYPES = {
    "image_id": pa.string(),
    "name": pa.string(),
    "category": pa.string(),
    "split": pa.string(),
    "given_split": pa.string(),
    "path": pa.string(),
    "offset": pa.int64(),
    "compressed_bytes": pa.int64(),
    "method": pa.int8(),
    "stamp": pa.int64(),
    "label": pa.int32(),
    **dict.fromkeys(ATTRIBUTION_COLUMNS, pa.string()),
}
_TRANSLATION = re.compile(rf"{TRANSLATION}[A-Za-z]{{2}}([-_][A-Za-z0-9]{{2,8}})*")
_BLOCK_BYTES = 16 << 20  # read at once from a table that is filtered
_MAX_HEADER_BYTES = 1 << 16  # a binary file may have no line break at all


@dataclass(frozen=True)
class PhotoSet:
    """Landmark photos, distractors, names of landmarks, attributions, and the photo sources.

    `docs/pipeline.md` lists the columns. `sources` has the keys `photos` and `distractors`.
    """

    images: pd.DataFrame
    distractors: pd.DataFrame
    names: pd.DataFrame
    attributions: pd.DataFrame
    sources: dict[str, Any]


def read_photo_table(path: Path) -> pd.DataFrame:
    """Read `id,landmark_id` as texts, renamed to `image_id,landmark_id`. Empty cells become missing values.

    Raises:
        DataError: the file is missing, empty, or not such a table.
    """
    table = _read_table(path, _PHOTO_COLUMNS)
    if table.empty:
        raise DataError(f"{path} has a header but no rows. It must list at least one photo.")
    return table


def read_name_table(path: Path) -> pd.DataFrame:
    """Read `landmark_id,name` as texts, and columns such as `name_de`; a blank file means that there are no names.

    Raises:
        DataError: the file is missing or not such a table.
    """
    if _is_blank(path):
        return _make_empty(_NAME_COLUMNS)
    header = _read_header(path, tuple(_NAME_COLUMNS))
    return _read_table(path, _NAME_COLUMNS | {name: name for name in header if is_translation(name)})


def is_translation(column: str) -> bool:
    """Return whether a column has names in another language: `name_de`, `name_pt-BR`."""
    return _TRANSLATION.fullmatch(column) is not None


def read_distractor_table(path: Path) -> pd.DataFrame:
    """Read `id,category` as texts, renamed to `image_id,category`; a blank file means that there are no distractors.

    From a solution of Google's test set, take the photos without landmarks, except those with `Usage` Ignored. They
    have no categories; the first two digits of their ids stand in, so that `split_distractors` can split them.

    Raises:
        DataError: the file is missing or not such a table.
    """
    if not is_solution(path):
        return _read_optional_table(path, _DISTRACTOR_COLUMNS)
    table = _read_table(path, {"id": "image_id", _SOLUTION_COLUMN: "category", "Usage": "usage"})
    wanted = (table["category"].fillna("").str.strip() == "") & (table["usage"] != "Ignored")
    ids = table.loc[wanted, "image_id"].reset_index(drop=True)
    return pd.DataFrame({"image_id": ids, "category": ids.str[:2]})


def is_solution(path: Path) -> bool:
    """Return whether a table is a solution of Google's test set: `id,landmarks,Usage`.

    Raises:
        DataError: the file is missing or not a table.
    """
    return not _is_blank(path) and _SOLUTION_COLUMN in _read_header(path, tuple(_DISTRACTOR_COLUMNS))


def read_attribution_table(path: Path, image_ids: Iterable[pd.Series]) -> pd.DataFrame:
    """Read the rows of `id,url,author,license,title` for the given photos; a blank file has none.

    Google's table lists four million photos. It is filtered block by block, so only the requested rows are in memory.

    Args:
        path: the CSV file.
        image_ids: ids of the requested photos, in one or more columns.

    Returns:
        `image_id,author,license,url,title`, texts without missing values.

    Raises:
        DataError: the file is missing or not such a table, or lists a photo twice.
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
    """Write the five files into an existing folder; equal sets give identical bytes.

    `source.json` gets the digests of all files in the folder, so it comes last.
    """
    _write_parquet(folder / IMAGES_FILE, photo_set.images)
    _write_parquet(folder / DISTRACTORS_FILE, photo_set.distractors)
    _write_parquet(folder / NAMES_FILE, photo_set.names)
    _write_parquet(folder / ATTRIBUTIONS_FILE, photo_set.attributions)
    write_sealed(folder / SOURCE_FILE, {**photo_set.sources, FILES: compute_digests(folder, (SOURCE_FILE,))})
    return folder


def read_photo_set(folder: Path) -> PhotoSet:
    """Read what `write_photo_set` wrote, and compare every file of the folder with its digest.

    Raises:
        ArtifactError: a file is missing, altered, or lacks a column.
    """
    sources = read_sources(folder)
    return PhotoSet(
        images=_read_parquet(folder / IMAGES_FILE, (*_PHOTO_COLUMNS.values(), *_TABLE_COLUMNS)),
        distractors=_read_parquet(folder / DISTRACTORS_FILE, (*_DISTRACTOR_COLUMNS.values(), *_TABLE_COLUMNS)),
        names=_read_parquet(folder / NAMES_FILE, tuple(_NAME_COLUMNS.values())),
        attributions=_read_parquet(folder / ATTRIBUTIONS_FILE, tuple(_ATTRIBUTION_COLUMNS.values())),
        sources=sources,
    )


def read_sources(folder: Path) -> dict[str, Any]:
    """Read the photo sources of a photo set, and compare every file of its folder with its digest.

    Raises:
        ArtifactError: a file is missing or altered.
    """
    return open_sealed(folder / SOURCE_FILE)


def build_places(table: pd.DataFrame) -> list[Place]:
    """Return the location of each photo of a table, in the order of its rows."""
    return [Place(*row) for row in zip(*(table[column] for column in ("image_id", *PLACE_COLUMNS)), strict=True)]


def _read_optional_table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    return _make_empty(columns) if _is_blank(path) else _read_table(path, columns)


def _is_blank(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _MAX_BLANK_BYTES and not path.read_bytes().strip()


def _make_empty(columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({new: pd.Series([], dtype="str") for new in columns.values()})


def _read_table(path: Path, columns: dict[str, str], wanted: pa.Array | None = None) -> pd.DataFrame:
    """Read the given columns and rename them; with `wanted`, keep only the rows whose first column is in it."""
    _check_header(path, tuple(columns))
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(columns),
        column_types=dict.fromkeys(columns, pa.string()),
        null_values=[""],  # only empty cells; "NA" or "null" may be real names
        strings_can_be_null=True,
    )
    try:
        if wanted is None:
            # Error messages name the row only if a single thread reads the file.
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
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)  # authors and titles are free text
    with pyarrow.csv.open_csv(path, reading, parsing, options) as reader:
        kept = (batch.filter(pc.is_in(batch.column(0), wanted)) for batch in reader)
        return pa.Table.from_batches(kept, reader.schema)


def _check_header(path: Path, expected: tuple[str, ...]) -> None:
    found = _read_header(path, expected)
    missing = [column for column in expected if column not in found]
    repeated = [column for column in expected if found.count(column) > 1]
    if missing or repeated:
        problem = f"lacks the column {missing[0]}" if missing else f"has the column {repeated[0]} more than once"
        shown = ", ".join(f"{column!r:.40}" for column in found[:8])
        raise DataError(
            f"{path} {problem}: its first line has {shown or 'nothing'}. The header must contain {','.join(expected)}."
        )


def _read_header(path: Path, expected: tuple[str, ...]) -> list[str]:
    wanted = f"Expected a UTF-8 table with the header {','.join(expected)}."
    line = read_first_line(path, wanted)
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        raise DataError(f"{path} is not UTF-8 text: it starts with {line[:16]!r}. {wanted}") from None


def read_first_line(path: Path, wanted: str) -> str:
    """Read the first line of a table; `wanted` is a sentence that says what the file should be.

    Raises:
        DataError: the file is missing, empty, or not UTF-8 text.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_MAX_HEADER_BYTES)
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing. {wanted} Check the path in the section `acquire` of params.yaml."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). {wanted}") from None
    if not head:
        raise DataError(f"{path} is empty. {wanted}")
    line = re.split(rb"[\r\n]", head, maxsplit=1)[0]  # as for pyarrow, \r alone ends a line, too
    try:
        return line.decode("utf-8-sig")  # utf-8-sig: a BOM is not a name
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text: it starts with {line[:16]!r}. {wanted}") from None


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    # `landmark_id` is the raw text until validation, an integer afterwards.
    is_validated = "landmark_id" in frame and pd.api.types.is_integer_dtype(frame["landmark_id"])
    types = _TYPES | {"landmark_id": pa.int64() if is_validated else pa.string()}
    fields = [(str(column), types.get(str(column), pa.string())) for column in frame.columns]
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False)
    # Drop pandas' metadata: its version and the index would change the bytes of equal tables.
    pyarrow.parquet.write_table(table.replace_schema_metadata(None), path, compression="zstd")


def _read_parquet(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    types = {column: _TYPES.get(column) for column in columns}
    # values of the photos' own tables may be missing until validation
    nullable = set(columns) - set(_TABLE_COLUMNS)
    frame: pd.DataFrame = read_parquet(path, types, nullable=nullable, others=True).to_pandas()
    return frame
