"""The receipt of a package, `reports/package.json`. The Bento includes it, and the service reads its model from it."""

from pathlib import Path

import pydantic

from landmarks.errors import ArtifactError
from landmarks.files.seals import FINGERPRINT, read_sealed, write_sealed
from landmarks.params import Section, ServiceParams

RECEIPT_PATH = Path("reports/package.json")


class Origin(Section):
    """Origin of a registered version, from its tags in the registry; null if a tag is missing.

    `registered` is a time in UTC, ISO 8601; `metrics` are those on the test split.
    """

    variant: str | None
    registered: str | None
    metrics: dict[str, float]
    fingerprint: str | None
    data_fingerprint: str | None
    git_commit: str | None
    dvc_lock: str | None


class PackageReceipt(Section):
    """Content of the receipt: the Bento, the model inside it and its origin, and the limits of the service."""

    tag: str
    model_tag: str
    model_name: str
    model_version: str
    run_id: str
    alias: str
    origin: Origin
    service: ServiceParams


def write_receipt(path: Path, receipt: PackageReceipt) -> Path:
    """Write the receipt of a package, and return its path."""
    write_sealed(path, receipt.model_dump(mode="json"))
    return path


def read_receipt(path: Path = RECEIPT_PATH) -> PackageReceipt:
    """Read the receipt of a package.

    Raises:
        ArtifactError: the file is missing, was altered or is not a receipt.
    """
    if not path.is_file():
        raise ArtifactError(
            f"{path} is missing in {Path.cwd()}, so there is no packaged model to serve. Run `landmarks package` first."
        )
    content = read_sealed(path, "Run `landmarks package` again.")
    del content[FINGERPRINT]
    try:
        return PackageReceipt.model_validate(content)
    except pydantic.ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) or "whole file" for problem in error.errors())
        raise ArtifactError(
            f"{path} is not the receipt of a package (invalid: {fields}). Run `landmarks package` again."
        ) from None
