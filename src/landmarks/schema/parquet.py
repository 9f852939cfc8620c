"""Read the Parquet tables that the stages write for each other."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from landmarks.errors import ArtifactError


def read_parquet(
    path: Path,
    types: Mapping[str, pa.DataType | None],
    *,
    nullable: Collection[str] = (),
    others: bool = False,
    remedy: str = "Delete it and run `dvc repro`.",
) -> pa.Table:
    """Read columns of a table, and check all that can be wrong with them: texts, lengths, types and missing values.

    Args:
        path: the file.
        types: the columns, each with the type it is brought to; None leaves it as it is.
        nullable: those that may have missing values.
        others: whether to read the other columns too, as they are.
        remedy: what the error says to do.

    Raises:
        ArtifactError: the file is missing or damaged, or a column is missing, repeated, of another type, or has missing
            values.
    """
    try:
        table = pyarrow.parquet.ParquetFile(path).read(None if others else list(types))
        names = table.column_names
        if absent := [name for name in types if name not in names]:
            raise ArtifactError(f"{path} lacks the columns {', '.join(absent)}. {remedy}")
        if len(set(names)) < len(names):
            raise ArtifactError(f"{path} has two columns of the same name. {remedy}")
        table.validate(full=True)
        for name, kind in types.items():
            table = table if kind is None else table.set_column(names.index(name), name, table[name].cast(kind))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        reason, _, _ = str(error).partition("\n")
        raise ArtifactError(f"{path} is damaged or has a column of another type ({reason:.300}). {remedy}") from error
    if empty := [name for name in types if name not in nullable and table[name].null_count]:
        raise ArtifactError(f"{path} has rows without {', '.join(empty)}. {remedy}")
    return table if others else table.select(list(types))
