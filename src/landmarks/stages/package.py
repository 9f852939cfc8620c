"""package: build the Bento of a registered version, with everything that serving needs."""

from datetime import UTC, datetime
from pathlib import Path

from landmarks.files.writing import open_scratch
from landmarks.params import Params
from landmarks.serving.packaging import build_bento, find_recognizer, import_recognizer
from landmarks.serving.receipt import RECEIPT_PATH, Origin, write_receipt
from landmarks.tracking.registry import download_recognizer, read_scores, resolve_alias


def package(reports: Path, params: Params, project: Path = Path()) -> Path:
    """Build the Bento of the version with the alias `package.alias`, from the registry alone, and write its receipt.

    Args:
        reports: gets `package.json`.
        params: `register.model_name`, `package.alias` and the section `service` are used.
        project: the folder of `bentofile.yaml`.

    Raises:
        LandmarksError: there is no such alias, the version lacks a file, or the Bento cannot be built.
    """
    version = resolve_alias(params.register_.model_name, params.package.alias)
    name, number, run_id = version.name, version.version, version.run_id
    # BentoML does not recognize equal models: it would store another copy at every import
    tag = find_recognizer(name, number, version.origin["fingerprint"] or "")
    if not tag:
        with open_scratch("package") as scratch:
            folder = download_recognizer(version, scratch / "recognizer")
            tag = import_recognizer(folder, name, number, run_id, {})
    registered = datetime.fromtimestamp(version.created_ms / 1000, UTC).isoformat(timespec="seconds")
    receipt = build_bento(
        tag,
        model_name=name,
        version=number,
        run_id=run_id,
        alias=params.package.alias,
        origin=Origin(registered=registered, metrics=read_scores(version), **version.origin),
        service=params.service,
        project=project,
    )
    return write_receipt(reports / RECEIPT_PATH.name, receipt)
