"""package: the registered version behind an alias becomes a Bento, with all that serving needs."""

import math
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from landmarks.files import write_json
from landmarks.params import Params
from landmarks.serving.packaging import build_bento, find_recognizer, import_recognizer
from landmarks.serving.receipt import RECEIPT_PATH, Origin
from landmarks.tracking.registry import RegisteredVersion, download_recognizer, resolve_alias

_ORIGIN_TAGS = ("variant", "fingerprint", "data_fingerprint", "git_commit", "dvc_lock")


def package(reports: Path, params: Params, project: Path = Path()) -> Path:
    """Build the Bento of the version behind `package.alias`, from the registry alone, and write its receipt.

    Args:
        reports: gets `package.json`.
        params: the model's name, the alias, and the limits of the service.
        project: the folder of `bentofile.yaml`.

    Raises:
        LandmarksError: there is no such alias, the version lacks a file, or the Bento cannot be built.
    """
    version = resolve_alias(params.register_.model_name, params.package.alias)
    receipt = build_bento(
        _store_recognizer(version),
        model_name=version.name,
        version=str(version.version),
        run_id=version.run_id,
        alias=params.package.alias,
        origin=describe_origin(version),
        service=params.service,
        project=project,
    )
    return write_json(reports / RECEIPT_PATH.name, receipt.model_dump(mode="json"))


def describe_origin(version: RegisteredVersion) -> Origin:
    """Where a version comes from: its tags, those that are numbers as metrics."""
    known = {name: version.tags.get(name) for name in _ORIGIN_TAGS}
    metrics = {name: number for name, text in version.tags.items() if (number := _read_number(name, text)) is not None}
    registered = datetime.fromtimestamp(version.created_ms / 1000, UTC).isoformat(timespec="seconds")
    return Origin(registered=registered, metrics=dict(sorted(metrics.items())), **known)


def _read_number(name: str, text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if name not in _ORIGIN_TAGS and math.isfinite(number) else None


def _store_recognizer(version: RegisteredVersion) -> str:
    name, number, run_id = version.name, str(version.version), version.run_id
    if tag := find_recognizer(name, number, run_id):
        return tag
    with TemporaryDirectory(prefix="landmarks-package-") as scratch:
        folder = download_recognizer(version, Path(scratch) / "recognizer")
        return import_recognizer(folder, name, number, run_id, {})
