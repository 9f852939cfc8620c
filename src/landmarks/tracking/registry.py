"""MLflow's model registry: recognizers as registered versions with aliases.

A registered version is a model of MLflow's Keras flavour, so `mlflow.keras.load_model("models:/NAME@champion")` works
without this package, and one of its pyfunc flavour, which answers photos with names where this package is installed.
The rest of the recognizer directory is beside the network under `recognizer/`, and so is `model_card.md`.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files.writing import replace_folder
from landmarks.recognizer.format import BUNDLE_FOLDER, check_recognizer
from landmarks.schema.network_format import KERAS_MODEL_FILE
from landmarks.tracking.runs import Store, get_run, name_scores
from landmarks.tracking.store import open_store

FINGERPRINT_TAG = "fingerprint"
RECOGNIZER_FOLDER = "recognizer"
CARD_FILE = "model_card.md"
MODEL_DESCRIPTION = "MLmodel"  # of MLflow
MODEL_FILE = f"data/{KERAS_MODEL_FILE}"
_UPLOAD_AGAIN = "in the workspace that it was registered from; this uploads the files again."
_SCORES = (
    *(f"{name}{part}" for name in ("top1", "top5", "macro_recall") for part in ("", "_low", "_high")),
    "auroc",
    "ece",
)
_ORIGIN_TAGS = ("variant", FINGERPRINT_TAG, "data_fingerprint", "git_commit", "dvc_lock")


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes:
        name: of the registered model.
        version: its number, as text.
        run_id: of the run that trained it, in this store.
        model_id: of the logged model that has its files.
        tags: `variant`, `fingerprint`, `data_fingerprint`, `git_commit`, `dvc_lock` and scores.
        aliases: of this version.
        created_ms: milliseconds since 1970.
    """

    name: str
    version: str
    run_id: str
    model_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    created_ms: int

    def as_json(self) -> dict[str, Any]:
        """Return the attributes for a JSON document."""
        return asdict(self)

    @property
    def origin(self) -> dict[str, str | None]:
        """The tags about the origin, by name; None where a tag is missing."""
        return {name: self.tags.get(name) for name in _ORIGIN_TAGS}

    def describe(self) -> str:
        """Return a line for a terminal."""
        created = datetime.fromtimestamp(self.created_ms / 1000, UTC)
        scores = [f"{name} {float(self.tags[name]):.3f}" for name in ("top1", "auroc") if name in self.tags]
        variant, aliases = self.tags.get("variant", ""), ", ".join(self.aliases)
        return (
            f"{self.name}  {self.version:>3}  {aliases:10}  {variant:9}  {'  '.join(scores)}  {created:%Y-%m-%d %H:%M}"
        )


def read_scores(version: RegisteredVersion) -> dict[str, float]:
    """Read the scores of a version on the test split from its run, with the bounds of their intervals, by name.

    Of a run that was deleted, those that stand in the tags of the version are left.

    Raises:
        LandmarksError: the registry cannot be used.
    """
    run = get_run(open_store(create=False), version.run_id)
    found: dict[str, float] = run.data.metrics if run else {}
    logged = {name: found.get(logged) for name in _SCORES for logged in name_scores({name: 0.0})}
    scores = {name: float(version.tags.get(name, "nan") if value is None else value) for name, value in logged.items()}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def read_dataset(version: RegisteredVersion) -> str:
    """Read the name of the data set that a version was trained on; empty if its run is lost.

    Raises:
        LandmarksError: the registry cannot be used.
    """
    run = get_run(open_store(create=False), version.run_id)
    return next((str(item.dataset.name) for item in run.inputs.dataset_inputs), "") if run else ""


def list_models() -> list[RegisteredVersion]:
    """List all registered versions, by name, the newest of each first.

    Raises:
        LandmarksError: the registry cannot be used.
    """
    store = open_store(create=False)
    found: list[RegisteredVersion] = []
    for model in store.client.search_registered_models():
        versions = store.client.search_model_versions(f"name = '{model.name}'")
        found += sorted((_read_version(item, model) for item in versions), key=lambda v: -int(v.version))
    return found


def resolve_alias(model_name: str, alias: str) -> RegisteredVersion:
    """Find the registered version with an alias.

    Raises:
        ArtifactError: there is no such model or alias.
        LandmarksError: the registry cannot be used.
    """
    store = open_store(create=False)
    version = find_alias(store, model_name, alias)
    if version is None:
        known = ", ".join(f"{v.name}@{a}" for v in list_models() for a in v.aliases) or "none"
        raise ArtifactError(
            f"The registry {store.address} has no model {model_name}@{alias}; there are: {known}. "
            "Run `landmarks register`, or `landmarks sync` where the model was registered elsewhere."
        )
    return version


def resolve_uri(uri: str) -> RegisteredVersion:
    """Find the registered version that MLflow calls `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        ArtifactError: it is no such name, or there is no such version.
        LandmarksError: the registry cannot be used.
    """
    found = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))", uri)
    if not found:
        raise ArtifactError(
            f"{uri} is no name of a registered version: use models:/NAME@ALIAS or models:/NAME/VERSION."
        )
    name, alias, version = found.groups()
    if alias:
        return resolve_alias(name, alias)
    store = open_store(create=False)
    try:
        return get_version(store, name, version)
    except store.mlflow.MlflowException as error:
        raise ArtifactError(f"The registry {store.address} has no version {version} of {name}.") from error


def download_recognizer(version: RegisteredVersion, folder: Path) -> Path:
    """Fetch the recognizer directory of a registered version, whole or not at all, and return its path.

    Every file is compared with its digest, and the directory with the fingerprint of the version.

    Raises:
        ArtifactError: the version lacks a file, or a file was altered since it was registered.
        LandmarksError: the registry cannot be used.
    """
    store = open_store()
    with replace_folder(folder) as temporary:
        _download(store, version, RECOGNIZER_FOLDER, temporary)
        _download(store, version, MODEL_FILE, temporary)
        (temporary / MODEL_FILE).replace(temporary / RECOGNIZER_FOLDER / BUNDLE_FOLDER / KERAS_MODEL_FILE)
        (temporary / MODEL_FILE).parent.rmdir()
        for part in (temporary / RECOGNIZER_FOLDER).iterdir():
            part.replace(temporary / part.name)
        (temporary / RECOGNIZER_FOLDER).rmdir()
        _check_download(store, version, temporary)
    return folder


def download_card(version: RegisteredVersion, folder: Path) -> str:
    """Fetch the model card of a registered version into a folder, and return its text.

    Raises:
        ArtifactError: the version lacks it.
        LandmarksError: the registry cannot be used.
    """
    _download(open_store(), version, CARD_FILE, folder)
    return (folder / CARD_FILE).read_text(encoding="utf-8")


def _check_download(store: Store, version: RegisteredVersion, recognizer: Path) -> None:
    where = f"{version.name} version {version.version} in {store.address}"
    try:
        fingerprint = check_recognizer(recognizer)
    except ArtifactError as error:
        reason, _, _ = str(error).replace(f"{recognizer}/", "").partition(" Delete it.")
        raise ArtifactError(
            f"{where} was altered since it was registered: {reason} Run `dvc repro -f register` {_UPLOAD_AGAIN}"
        ) from error
    if fingerprint != version.tags.get(FINGERPRINT_TAG):
        raise ArtifactError(
            f"{where} was altered since it was registered: its files have the fingerprint {fingerprint[:12]}…, its tag "
            f"says {version.tags.get(FINGERPRINT_TAG, '')[:12]}…. Run `dvc repro -f register` {_UPLOAD_AGAIN}"
        )


def find_version(store: Store, model_name: str, fingerprint: str) -> RegisteredVersion | None:
    """Find the version of a recognizer by its fingerprint; the newest of several."""
    found = store.client.search_model_versions(f"name = '{model_name}' and tags.`{FINGERPRINT_TAG}` = '{fingerprint}'")
    if not found:
        return None
    return get_version(store, model_name, max((item.version for item in found), key=int))


def find_alias(store: Store, model_name: str, alias: str) -> RegisteredVersion | None:
    """Find the version with an alias; None if there is none."""
    try:
        found = store.client.get_model_version_by_alias(model_name, alias)
    except store.mlflow.MlflowException as error:
        # MLflow reports a missing alias as an invalid parameter
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return get_version(store, model_name, found.version)


def get_version(store: Store, model_name: str, version: str) -> RegisteredVersion:
    """Read a version by its number."""
    found = store.client.get_model_version(model_name, version)
    return _read_version(found, store.client.get_registered_model(model_name))


def set_alias(store: Store, version: RegisteredVersion, alias: str) -> None:
    """Set an alias to a version; another version loses it."""
    store.client.set_registered_model_alias(version.name, alias, version.version)


def _read_version(item: Any, model: Any) -> RegisteredVersion:
    aliases = tuple(sorted(alias for alias, number in model.aliases.items() if str(number) == str(item.version)))
    return RegisteredVersion(
        name=item.name,
        version=str(item.version),
        run_id=item.run_id or "",
        model_id=item.model_id or str(item.source).removeprefix("models:/"),
        tags=dict(item.tags),
        aliases=aliases,
        created_ms=int(item.creation_timestamp),
    )


def _download(store: Store, version: RegisteredVersion, path: str, folder: Path) -> None:
    uri = f"models:/{version.name}/{version.version}/{path}"
    try:
        with use_store(store):
            store.mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))
    except (store.mlflow.MlflowException, OSError) as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        raise ArtifactError(
            f"{path} of {version.name} version {version.version} cannot be fetched from {store.address}: {reason}. "
            f"Run `landmarks sync` {_UPLOAD_AGAIN}"
        ) from error


@contextmanager
def use_store(store: Store) -> Iterator[None]:
    """Let MLflow's own functions use a store; they can only be told by a setting of the process."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    store.mlflow.set_tracking_uri(store.address.uri)
    try:
        yield
    finally:
        store.mlflow.set_tracking_uri(None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before
