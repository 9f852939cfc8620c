"""The recognizer directory on disk: file names, and the typed content of `bundle.json`, `index.json` and `items.csv`.

No other module opens these files. docs/pipeline.md documents them.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pydantic

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_fingerprint
from landmarks.files.parsing import describe_problems, parse_integer, read_json, read_rows
from landmarks.files.seals import FINGERPRINT, check_files, compute_digests, read_sealed, write_sealed
from landmarks.schema.network_format import KERAS_MODEL_FILE, ImageFormat
from landmarks.schema.vocabulary import VOCABULARY_FILE

BUNDLE_FOLDER, INDEX_FOLDER = "bundle", "index"
BUNDLE_FORMAT = 3
_FLAT_BUNDLE_FORMAT = 2  # had image_size, fit and max_pixels at the top level
INDEX_FORMAT = 6
_FIVE_PIECES_INDEX_FORMAT = 5  # had scorers without the class "none"
_UNSEALED_INDEX_FORMAT = 4  # had no fingerprint either
BUNDLE_FILE = "bundle.json"
SERVING_MODEL_FILE = "serving.tflite"
INDEX_FILE = "index.json"
ITEMS_FILE = "items.csv"
EMBEDDINGS_FILE = "embeddings.npy"
DISTRACTORS_FILE = "distractors.npy"
PCA_FILE = "projection.npy"
REBUILD = "Run `dvc repro`, or fetch the model again."

_IMAGE_FORMAT_KEYS = ("image_size", "fit", "max_pixels")

ExportPrecision = Literal["float32", "int8"]


class _Content(pydantic.BaseModel):
    """Base of the contents of JSON files: frozen, strict, and without unknown keys."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Bundle(_Content):
    """Content of `bundle.json`: a trained network, exported for serving, with its vocabulary.

    Attributes:
        variant: `plain` or `augmented`.
        image_format: format of the input photos.
        labels: number of landmarks.
        embedding_dim: length of an embedding.
        precision: of the exported weights.
        int8_refused: reason why 8-bit weights were not accepted; None if they were, or were not tried.
        training_precision: of the backbone in training; None if not recorded.
        shards_fingerprint: of the shards that it was trained on.
        files: SHA-256 of the other files in the folder, by name.
        fingerprint: of all other keys.
    """

    format: Literal[3]
    variant: str
    image_format: ImageFormat
    labels: int
    embedding_dim: int
    precision: ExportPrecision
    int8_refused: str | None = None
    training_precision: Literal["float32", "bfloat16"] | None = None
    shards_fingerprint: str
    files: dict[str, str]
    fingerprint: str


class LogisticCoefficients(_Content):
    """A logistic model in JSON: log-odds = weights · features + bias."""

    weights: tuple[float, ...]
    bias: float


class ScorerCoefficients(_Content):
    """Coefficients of the landmark scorer; `probe` is None without known distractors."""

    landmark: LogisticCoefficients
    answer: LogisticCoefficients
    probe: LogisticCoefficients | None


class Index(_Content):
    """Content of `index.json`: the gallery of training photos, the scorer and its operating point.

    Attributes:
        bundle_fingerprint: of the bundle that embedded the gallery.
        photos: number of photos in the gallery.
        scorer: coefficients of the landmark scorer.
        threshold: the operating point; photos with at least this landmark score show a landmark.
        precision_target: precision that the threshold was chosen for.
        precision: precision on val at the threshold; None if not recorded.
        answered_fraction: fraction of the val photos, distractors included, at or above the threshold.
        auroc: AUROC of the landmark score on val; None without distractors.
        files: SHA-256 of the other files in the folder, by name.
        fingerprint: of all other keys; empty until the file is written.
    """

    format: Literal[6] = 6
    bundle_fingerprint: str
    photos: int
    scorer: ScorerCoefficients
    threshold: float
    precision_target: float
    precision: float | None = None
    answered_fraction: float | None = None
    auroc: float | None = None
    files: dict[str, str]
    fingerprint: str = ""


class Credit(NamedTuple):
    """Attribution of a photo; unknown fields are empty."""

    author: str
    license: str
    url: str


class Items(NamedTuple):
    """The photos of a gallery, by row."""

    image_ids: tuple[str, ...]
    labels: tuple[int, ...]
    credits: tuple[Credit, ...]


def write_bundle_file(
    folder: Path,
    *,
    variant: str,
    image_format: ImageFormat,
    labels: int,
    embedding_dim: int,
    precision: ExportPrecision,
    shards_fingerprint: str,
    int8_refused: str | None = None,
    training_precision: str | None = None,
) -> Bundle:
    """Write `bundle.json` for the files that are already in a folder, and return its content."""
    facts: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "variant": variant,
        "image_format": vars(image_format),
        "labels": labels,
        "embedding_dim": embedding_dim,
        "precision": precision,
        "shards_fingerprint": shards_fingerprint,
        "files": compute_digests(folder),
    }
    optional = {"int8_refused": int8_refused, "training_precision": training_precision}
    facts |= {name: value for name, value in optional.items() if value}
    write_sealed(folder / BUNDLE_FILE, facts)
    return read_bundle(folder)


def write_index_file(folder: Path, index: Index) -> Index:
    """Write `index.json`, and return its content with the fingerprint."""
    write_sealed(folder / INDEX_FILE, index.model_dump(mode="json", exclude={FINGERPRINT}))
    return read_index(folder)


def read_bundle(folder: Path) -> Bundle:
    """Read `bundle.json`, also in the previous format.

    Raises:
        ArtifactError: the file is missing, altered, of another format or incomplete, or a value has the wrong type.
    """
    path = folder / BUNDLE_FILE
    facts = read_sealed(path, REBUILD)
    if facts.get("format") == _FLAT_BUNDLE_FORMAT:
        image_format = {name: facts.pop(name) for name in _IMAGE_FORMAT_KEYS if name in facts}
        facts |= {"format": BUNDLE_FORMAT, "image_format": image_format}
    return _parse(path, facts, Bundle, BUNDLE_FORMAT)


def read_index(folder: Path) -> Index:
    """Read `index.json`, also in the two previous formats.

    Raises:
        ArtifactError: the file is missing, altered, of another format or incomplete, or a value has the wrong type.
    """
    path = folder / INDEX_FILE
    facts = _read_object(path)
    if facts.get("format") != _UNSEALED_INDEX_FORMAT or FINGERPRINT in facts:
        facts = read_sealed(path, REBUILD)
    if facts.get("format") in (_UNSEALED_INDEX_FORMAT, _FIVE_PIECES_INDEX_FORMAT):
        facts |= {"format": INDEX_FORMAT, "scorer": _add_piece(facts.get("scorer"))}
    return _parse(path, facts, Index, INDEX_FORMAT)


def _add_piece(scorer: Any) -> Any:
    """Add the weight 0 of a feature that the scorers of earlier formats did not have."""
    if not isinstance(scorer, dict):
        return scorer
    return scorer | {
        name: model | {"weights": [*model["weights"], 0.0]}
        for name, model in scorer.items()
        if name != "probe" and isinstance(model, dict) and isinstance(model.get("weights"), list)
    }


def compute_recognizer_fingerprint(recognizer: Path) -> str:
    """Compute the identity of a recognizer directory from the fingerprint of its bundle and its `index.json`.

    Raises:
        ArtifactError: a file is missing or cannot be used.
    """
    # index.json is read raw: a key that this version does not know makes another recognizer too
    bundle, index = read_bundle(recognizer / BUNDLE_FOLDER), _read_object(recognizer / INDEX_FOLDER / INDEX_FILE)
    return compute_fingerprint([bundle.fingerprint, index])


def check_recognizer(recognizer: Path, with_keras: bool = True) -> str:
    """Compare every file of a recognizer directory with its digest, and return the fingerprint of the directory.

    Args:
        recognizer: the recognizer directory.
        with_keras: compare the Keras network too, which answers need not and a Bento does not have.

    Raises:
        ArtifactError: a file is missing or damaged, or cannot be used.
    """
    bundle, index = read_bundle(recognizer / BUNDLE_FOLDER), read_index(recognizer / INDEX_FOLDER)
    named = {*bundle.files, SERVING_MODEL_FILE, VOCABULARY_FILE}
    check_files(
        recognizer / BUNDLE_FOLDER, bundle.files, sorted(named if with_keras else named - {KERAS_MODEL_FILE}), REBUILD
    )
    check_files(recognizer / INDEX_FOLDER, index.files, sorted({*index.files, ITEMS_FILE, EMBEDDINGS_FILE}), REBUILD)
    return compute_recognizer_fingerprint(recognizer)


def read_items(path: Path) -> Items:
    """Read `items.csv`; files of earlier versions have no credits, which are empty then.

    Raises:
        ArtifactError: the file is missing, a column is missing, or a label is not a number.
    """
    image_ids, labels, owners = [], [], []
    known: dict[Credit, Credit] = {}  # equal credits share one object, since a gallery may have a million rows
    try:
        for row in read_rows(path, ("image_id", "label")):
            image_ids.append(row["image_id"])
            labels.append(parse_integer(row["label"]))
            owner = Credit(*(sys.intern(row.get(column, "")) for column in Credit._fields))
            owners.append(known.setdefault(owner, owner))
    except ValueError as error:
        raise ArtifactError(f"{path} is not a table of image_id,label ({error}). {REBUILD}") from error
    return Items(tuple(image_ids), tuple(labels), tuple(owners))


Content = TypeVar("Content", bound=_Content)


def _read_object(path: Path) -> dict[str, Any]:
    read: Any = read_json(path)
    return read if isinstance(read, dict) else {}


def _parse(path: Path, facts: dict[str, Any], kind: type[Content], expected_format: int) -> Content:
    if facts.get("format") != expected_format:
        raise ArtifactError(
            f"{path} has format {facts.get('format')!r}, this version of landmarks reads {expected_format}. {REBUILD}"
        )
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    if missing := [name for name in required if name not in facts]:
        raise ArtifactError(f"{path} lacks {', '.join(missing)}. {REBUILD}")
    try:
        # as JSON, because strict validation of Python values takes no list for a tuple
        return kind.model_validate_json(json.dumps(facts))
    except pydantic.ValidationError as error:
        raise ArtifactError(f"{path} cannot be used: {describe_problems(error)[0]}. {REBUILD}") from None
