"""`reports/package.json`: what was packaged. It travels inside the Bento and tells the service what to load."""

from pathlib import Path

import pydantic

from landmarks.errors import ArtifactError
from landmarks.files import read_json
from landmarks.params import Section, ServiceParams

RECEIPT_PATH = Path("reports/package.json")


class Origin(Section):
    """Where a registered version comes from, as its tags in the registry tell it; null for what they do not.

    `registered` is ISO 8601 in UTC; `metrics` are those of the test split.
    """

    variant: str | None
    registered: str | None
    metrics: dict[str, float]
    fingerprint: str | None
    data_fingerprint: str | None
    git_commit: str | None
    dvc_lock: str | None


class PackageReceipt(Section):
    """One packaged model: the Bento, the model inside it, where that came from, and the limits of its service."""

    tag: str
    model_tag: str
    model_name: str
    model_version: str
    run_id: str
    alias: str
    origin: Origin
    service: ServiceParams


def read_receipt(path: Path = RECEIPT_PATH) -> PackageReceipt:
    """Read what was packaged.

    Raises:
        ArtifactError: the file is missing or is no such receipt.
    """
    if not path.is_file():
        raise ArtifactError(
            f"{path} is missing in {Path.cwd()}, so there is no packaged model to serve. Run `landmarks package` first."
        )
    try:
        return PackageReceipt.model_validate(read_json(path))
    except pydantic.ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) or "all of it" for problem in error.errors())
        raise ArtifactError(
            f"{path} is not the receipt of a package (wrong: {fields}). Run `landmarks package` again."
        ) from None
