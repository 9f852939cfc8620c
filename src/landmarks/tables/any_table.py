"""Read chosen columns of any CSV or Parquet table as texts, under names that are guessed or given."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from landmarks.errors import DataError
from landmarks.tables.photo_set import read_first_line

_DELIMITERS = ",;\t|"
_PARQUET_SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class Column:
    """A column that is looked for.

    Attributes:
        given: its name in the table; None to take the first of the guesses that is there.
        guesses: usual names, in lower case.
        required: whether it is an error if it is not found.
    """

    given: str | None
    guesses: tuple[str, ...]
    required: bool = False


def read_any_table(path: Path, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Read columns of a CSV file (with `,`, `;`, tab or `|`) or a Parquet file, as texts named as in `columns`.

    Empty cells become missing values. Columns that are not found are left out.

    Raises:
        DataError: the file is missing, is not such a table or has no rows, or a column is not found.
    """
    is_parquet = path.suffix.lower() in _PARQUET_SUFFIXES
    delimiter, header = (",", _read_parquet_header(path)) if is_parquet else _read_csv_header(path)
    chosen = choose_columns(header, columns, str(path))
    names = list(chosen.values())
    table = _read_parquet(path, names) if is_parquet else _read_csv(path, delimiter, names)
    frame: pd.DataFrame = table.select(names).rename_columns(list(chosen)).to_pandas()
    if frame.empty:
        raise DataError(f"{path} has a header but no rows. It must list at least one photo.")
    return frame.astype("str")


def choose_columns(header: Sequence[str], columns: Mapping[str, Column], where: str) -> dict[str, str]:
    """Choose the columns of a table, by the names of `columns`.

    Raises:
        DataError: a column that is given or required is not there, or is there twice.
    """
    chosen = {}
    shown = ", ".join(f"{name!r:.40}" for name in header[:12]) or "none"
    lower = [name.strip().lower() for name in header]
    for key, column in columns.items():
        found = [name for name in header if name == column.given]
        if column.given is None:
            guess = next((guess for guess in column.guesses if guess in lower), None)
            found = [name for name, low in zip(header, lower, strict=True) if low == guess]
        elif not found:
            raise DataError(f"{where} has no column {column.given!r:.60}, acquire.columns.{key}. It has {shown}.")
        if len(found) > 1:
            raise DataError(f"{where} has the column {found[0]!r:.60} more than once. Rename one of them.")
        if found:
            chosen[key] = found[0]
        elif column.required:
            raise DataError(
                f"{where} has no column {', '.join(column.guesses[:-1])} or {column.guesses[-1]}. It has {shown}. Name "
                f"the right one in acquire.columns.{key} of params.yaml."
            )
    return chosen


def _read_csv_header(path: Path) -> tuple[str, list[str]]:
    line = read_first_line(path, "Expected a table of photos, as CSV in UTF-8 or as Parquet.")
    delimiter = max(_DELIMITERS, key=line.count)
    return delimiter, next(csv.reader([line], delimiter=delimiter), [])


def _read_csv(path: Path, delimiter: str, names: list[str]) -> pa.Table:
    options = pyarrow.csv.ConvertOptions(
        include_columns=names,
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],  # only empty cells; "NA" or "null" may be real names
        strings_can_be_null=True,
    )
    # Error messages name the row only if a single thread reads the file.
    reading = pyarrow.csv.ReadOptions(use_threads=False)
    parsing = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        return pyarrow.csv.read_csv(path, reading, parsing, options)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path} cannot be read: {str(error)[:300]}. Every row needs as many cells as the header, as UTF-8 text."
        ) from None


def _read_parquet_header(path: Path) -> list[str]:
    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Check `acquire.table` of params.yaml.") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged or not a Parquet file ({str(error)[:200]}).") from None


def _read_parquet(path: Path, names: list[str]) -> pa.Table:
    try:
        table = pyarrow.parquet.read_table(path, columns=names)
        for name in names:
            column = table[name]
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            table = table.set_column(table.schema.get_field_index(name), name, column.cast(pa.string()))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read: {str(error)[:300]}. Paths, labels and splits must be texts or whole numbers."
        ) from None
    return table
