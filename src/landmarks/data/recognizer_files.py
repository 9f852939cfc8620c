"""The files of a recognizer directory (docs/pipeline.md): their names, formats and digests."""

import csv
import sys
from pathlib import Path
from typing import Any, NamedTuple

from landmarks.errors import ArtifactError
from landmarks.files import compute_sha256, read_json

BUNDLE_FORMAT = 2
INDEX_FORMAT = 4
BUNDLE_FILE = "bundle.json"
SERVING_MODEL_FILE = "serving.tflite"
INDEX_FILE = "index.json"
ITEMS_FILE = "items.csv"
EMBEDDINGS_FILE = "embeddings.npy"
DISTRACTORS_FILE = "distractors.npy"
PROJECTION_FILE = "projection.npy"
NOT_SERVED_SUFFIX = ".keras"  # the network for further training: serving has no use for its weight
MEND = "Run `dvc repro`, or fetch the model again."


class Credit(NamedTuple):
    """Whose photo it is; empty texts where that is not known."""

    author: str
    license: str
    url: str


class Items(NamedTuple):
    """The photos of a gallery, by row."""

    image_ids: tuple[str, ...]
    labels: tuple[int, ...]
    credits: tuple[Credit, ...]


_BUNDLE_KEYS = (
    "image_size",
    "fit",
    "max_pixels",
    "labels",
    "embedding_dim",
    "precision",
    "shards_fingerprint",
    "files",
    "fingerprint",
)
_INDEX_KEYS = ("bundle_fingerprint", "photos", "scorer", "threshold", "precision_target", "files")


def read_bundle_facts(bundle: Path) -> dict[str, Any]:
    """Read `bundle.json`.

    Raises:
        ArtifactError: it is missing, of another format, or incomplete.
    """
    return _read_facts(bundle / BUNDLE_FILE, BUNDLE_FORMAT, _BUNDLE_KEYS)


def read_index_facts(index: Path) -> dict[str, Any]:
    """Read `index.json`.

    Raises:
        ArtifactError: it is missing, of another format, or incomplete.
    """
    return _read_facts(index / INDEX_FILE, INDEX_FORMAT, _INDEX_KEYS)


def read_items(path: Path) -> Items:
    """Read `items.csv`; indexes of earlier versions have no credits, and those are empty then.

    Equal credits become one object, for a gallery may have a million rows.

    Raises:
        ArtifactError: it is no such table.
    """
    image_ids, labels, owners = [], [], []
    known: dict[Credit, Credit] = {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                image_ids.append(row["image_id"])
                labels.append(int(row["label"]))
                owner = Credit(*(sys.intern(row.get(column) or "") for column in Credit._fields))
                owners.append(known.setdefault(owner, owner))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ArtifactError(f"{path} is not a table of image_id,label ({error}). {MEND}") from error
    return Items(tuple(image_ids), tuple(labels), tuple(owners))


def check_files(folder: Path, digests: dict[str, str], names: tuple[str, ...]) -> None:
    """Compare files with the digests recorded beside them, where there are some.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    for path in (folder / name for name in names):
        if not path.is_file():
            raise ArtifactError(f"{path} is missing. {MEND}")
        if path.name in digests and compute_sha256(path) != digests[path.name]:
            raise ArtifactError(f"{path} is damaged: its digest is not the one recorded beside it. {MEND}")


def _read_facts(path: Path, expected_format: int, keys: tuple[str, ...]) -> dict[str, Any]:
    read: Any = read_json(path)
    facts: dict[str, Any] = read if isinstance(read, dict) else {}
    if facts.get("format") != expected_format:
        raise ArtifactError(
            f"{path} has format {facts.get('format')!r}, this version of landmarks reads {expected_format}. {MEND}"
        )
    if missing := [key for key in keys if key not in facts]:
        raise ArtifactError(f"{path} lacks {', '.join(missing)}. {MEND}")
    return facts
