"""package: the registered version behind an alias becomes a Bento, with all that serving needs."""

from pathlib import Path
from tempfile import TemporaryDirectory

from landmarks.adapters.bento import build_bento, find_recognizer, import_recognizer
from landmarks.adapters.registry import RegisteredVersion, download_recognizer, resolve_alias
from landmarks.files import write_json
from landmarks.params import PackageParams, ServiceParams
from landmarks.serving.receipt import RECEIPT_PATH


def package(
    model_name: str, params: PackageParams, service: ServiceParams, out: Path = RECEIPT_PATH, project: Path = Path()
) -> Path:
    """Build the Bento of the version behind `params.alias`, from the registry alone, and write its receipt.

    Raises:
        LandmarksError: there is no such alias, the version lacks a file, or the Bento cannot be built.
    """
    version = resolve_alias(model_name, params.alias)
    receipt = build_bento(
        _store_recognizer(version),
        model_name=model_name,
        version=str(version.version),
        run_id=version.run_id,
        alias=params.alias,
        service=service,
        project=project,
    )
    return write_json(out, receipt.model_dump(mode="json"))


def _store_recognizer(version: RegisteredVersion) -> str:
    name, number, run_id = version.name, str(version.version), version.run_id
    if tag := find_recognizer(name, number, run_id):
        return tag
    with TemporaryDirectory(prefix="landmarks-package-") as scratch:
        folder = download_recognizer(version, Path(scratch) / "recognizer")
        return import_recognizer(folder, name, number, run_id, {})
