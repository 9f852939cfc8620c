"""Fuzzing of every table that a command reads: damaged bytes, other structures, other values; CSV and Parquet."""

import csv
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from chaos.campaign import Tally, try_reader
from landmarks.drift.report import read_reference
from landmarks.files.seals import FILES, compute_digests, write_sealed
from landmarks.kaggle.files import (
    read_recognition_solution,
    read_recognition_submission,
    read_retrieval_solution,
    read_retrieval_submission,
    read_task,
)
from landmarks.params import read_params
from landmarks.recognizer.format import read_items
from landmarks.schema.columns import ATTRIBUTIONS_FILE
from landmarks.schema.vocabulary import read_vocabulary
from landmarks.shards.photo_table import append_attributions
from landmarks.shards.plan import read_plan
from landmarks.tables.photo_set import (
    SOURCE_FILE,
    PhotoSet,
    build_places,
    read_attribution_table,
    read_distractor_table,
    read_name_table,
    read_photo_set,
    read_photo_table,
    write_photo_set,
)
from landmarks.tracking.receipts import read_history

PROMISE = "A table is read or refused with an error of ours, within 2 s."
TRIES = 20_000

_PROJECT = Path(__file__).parents[1]
_IDS = [f"{number:016x}" for number in range(12)]
_CELLS = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "1e999",
        "1_0",
        "9" * 30,
        "9" * 5000,
        "\u0663",
        "'",
        '"',
        '""',
        '"a',
        'a"b',
        ",",
    ),
    *("\0", "a\0b", "\r", "\n", "\r\n", "\t", "\u2028", "\ufeff", "é", "😀", "None", "NA", "null", "=1+1", "../../x"),
    *(_IDS[0], _IDS[0].upper(), f"{_IDS[1]} {_IDS[2]}", "7 0.5", "7 nan", "7  1", "Public", "Ignored", "a" * 200_000),
)
_PIECES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b'"',
    b",",
    b";",
    b"\x1a",
    b"PAR1",
    b"\x1f\x8b",
)

Target = tuple[Path, bytes, Callable[[Path], Any]]


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Damage each table in turn at random, and read it."""
    tally, generator = Tally(), random.Random(seed)
    targets = [*_list_csv(scratch / "csv"), *_list_parquet(scratch / "parquet")]
    for number in range(tries):
        path, whole, read = targets[number % len(targets)]
        damage = damage_parquet if path.suffix == ".parquet" else damage_csv
        path.write_bytes(damage(whole, generator))
        try_reader(tally, read, path, f"try {number} of seed {seed}: {path.name}")
        path.write_bytes(whole)
    return tally


def damage_csv(data: bytes, generator: random.Random) -> bytes:
    """Return a CSV file with one to three changes of its cells, its rows, its format or its bytes."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    form: dict[str, Any] = {}
    for _ in range(generator.choice((1, 1, 2, 3))):
        row = generator.choice(rows)
        change = generator.randrange(8)
        if change <= 2 and row:
            row[generator.randrange(len(row))] = generator.choice(_CELLS)
        elif change == 3:
            rows.insert(generator.randrange(len(rows) + 1), list(generator.choice(rows)))
        elif change == 4:
            row.insert(generator.randrange(len(row) + 1), generator.choice(_CELLS))
        elif change == 5 and row:
            del row[generator.randrange(len(row)) :]
        elif change == 6:
            del rows[generator.randrange(len(rows)) :]
            rows = rows or [[]]
        else:
            form = generator.choice(
                ({"delimiter": ";"}, {"delimiter": "\t"}, {"lineterminator": "\r"}, {"lineterminator": "\n\n"})
            )
    stream = io.StringIO()
    csv.writer(stream, **({"lineterminator": "\n"} | form)).writerows(rows)
    text = stream.getvalue()
    if generator.random() < 0.05:
        return text.encode(generator.choice(("utf-16", "utf-32", "utf-8-sig", "cp037")), "replace")
    return _damage_bytes(text.encode("utf-8", "surrogatepass"), generator, 0.3)


def damage_parquet(data: bytes, generator: random.Random) -> bytes:
    """Return a Parquet file with changed columns, or changed bytes, most often in its footer."""
    if generator.random() < 0.5:
        return _damage_bytes(data, generator, 1.0)
    table = pq.read_table(pa.BufferReader(data))
    name = generator.choice(table.column_names)
    column, place = table[name], table.column_names.index(name)
    change = generator.randrange(5)
    if change == 0:
        table = table.drop_columns([name])
    elif change == 1:
        kinds = (
            pa.string(),
            pa.int8(),
            pa.float64(),
            pa.binary(),
            pa.large_string(),
            pa.dictionary(pa.int8(), pa.string()),
        )
        try:
            table = table.set_column(place, name, column.cast(generator.choice(kinds)))
        except pa.ArrowException:
            table = table.set_column(place, name, pa.array([None] * len(table), pa.list_(pa.int8())))
    elif change == 2:
        values = column.to_pylist()
        values[generator.randrange(len(values))] = None
        table = table.set_column(place, name, pa.array(values, column.type))
    elif change == 3:
        table = table.append_column(name, column)
    else:
        table = table.slice(0, generator.randrange(len(table)))
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def _damage_bytes(data: bytes, generator: random.Random, chance: float) -> bytes:
    changed = bytearray(data)
    if generator.random() < chance:
        for _ in range(generator.choice((1, 1, 2, 8))):
            # the last bytes of a Parquet file say where its columns are
            low = len(changed) * 3 // 4 if generator.random() < 0.5 else 0
            place = generator.randrange(low, len(changed) + 1)
            length = generator.choice((0, 1, 1, 1, 40))
            changed[place : place + length] = generator.choice((*_PIECES, bytes([generator.randrange(256)])))
    if generator.random() < 0.1 * chance:
        del changed[generator.randrange(len(changed)) :]
    return bytes(changed)


def _list_csv(folder: Path) -> list[Target]:
    folder.mkdir()
    ids = [pd.Series(_IDS, dtype="str")]
    recognition, retrieval = folder / "recognition.csv", folder / "retrieval.csv"
    tables: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "recognition.csv": ("id,landmarks,Usage", lambda p: (read_task(p), read_recognition_solution(p))),
        "retrieval.csv": ("id,images,Usage", lambda p: (read_task(p), read_retrieval_solution(p))),
        "train.csv": ("id,landmark_id", read_photo_table),
        "names.csv": ("landmark_id,name", read_name_table),
        "distractors.csv": ("id,category", read_distractor_table),
        "attribution.csv": ("id,url,author,license,title", lambda p: read_attribution_table(p, ids)),
        "guesses.csv": (
            "id,landmarks",
            lambda p: read_recognition_submission(p, read_recognition_solution(recognition)),
        ),
        "neighbours.csv": ("id,images", lambda p: read_retrieval_submission(p, read_retrieval_solution(retrieval))),
        "vocabulary.csv": ("label,landmark_id,name,train,val,test", read_vocabulary),
        "items.csv": ("image_id,label,author,license,url", read_items),
        "history.csv": ("epoch,loss,val_loss", read_history),
        "predictions.csv": ("image_id,score,landmark_score", lambda p: read_reference(p.parent)),
    }
    for name, (header, _) in tables.items():
        rows = [[_make_cell(name, column, row) for column in header.split(",")] for row in range(len(_IDS))]
        with (folder / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([header.split(","), *rows])
    import numpy as np

    np.save(folder / "test_embeddings.npy", np.zeros((3, 4), np.float16))
    return [(folder / name, (folder / name).read_bytes(), read) for name, (_, read) in tables.items()]


def _make_cell(table: str, column: str, row: int) -> str:
    if column in ("id", "image_id"):
        return _IDS[row]
    if column == "landmarks":
        return f"{row} 0.{row}5" if table == "guesses.csv" else str(row)
    cells = {"images": f"{_IDS[0]} {_IDS[row]}", "Usage": "Public", "name": f'The "{row}", a tower', "label": str(row)}
    return cells.get(column, str(row) if column not in ("score", "landmark_score", "loss") else f"0.{row}")


def _list_parquet(folder: Path) -> list[Target]:
    for name in ("photos", "others"):
        (folder / name).mkdir(parents=True)
    count = len(_IDS)
    places = {"offset": -1, "compressed_bytes": range(count), "method": 0, "stamp": 7}
    splits = [("train", "val", "test")[row % 3] for row in range(count)]
    images = pd.DataFrame({"image_id": _IDS, "landmark_id": 7, "label": 0, "split": splits, **places})
    others = pd.DataFrame({"image_id": [f"f{name[1:]}" for name in _IDS], "category": "x", "split": splits, **places})
    others["split"] = "distractors_test"
    texts = dict.fromkeys(("author", "license", "url", "title"), "x")
    source = {name: {"kind": "folder", "path": str(folder / where)} for name, where in _SOURCES.items()}
    photo_set = PhotoSet(
        images=images,
        distractors=others,
        names=pd.DataFrame({"landmark_id": [7], "name": ["Seven"]}),
        attributions=pd.DataFrame({"image_id": _IDS, **texts}),
        sources=source,
    )
    (folder / "vocabulary.csv").write_text("label,landmark_id,name,train,val,test\n0,7,Seven,4,4,4\n")
    write_photo_set(folder, photo_set)
    params = read_params(_PROJECT / "experiments" / "default.yaml").prepare

    def read(_: Path) -> None:
        # sealed again, as if the table had been written so
        write_sealed(folder / SOURCE_FILE, {**source, FILES: compute_digests(folder, (SOURCE_FILE,))})
        photos = read_photo_set(folder)
        build_places(photos.images)
        build_places(photos.distractors)
        plan = read_plan(folder, params)
        list(plan.iterate_tasks(folder))
        append_attributions(plan.photos, folder)

    names = ("images.parquet", "distractors.parquet", "names.parquet", ATTRIBUTIONS_FILE)
    return [(folder / name, (folder / name).read_bytes(), read) for name in names]


_SOURCES = {"photos": "photos", "distractors": "others"}
