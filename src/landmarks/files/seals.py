"""Sealed JSON files: digests of the files beside them and a fingerprint of themselves, so that changes are noticed.

Every artefact has one: photo sets `source.json`, shards `shards.json`, networks `network.json`, recognizers
`bundle.json` and `index.json`, reports `run.json`, `evaluation.json`, `registration.json` and `package.json`. Where one
artefact is made from another, its sealed file names the fingerprint of the other, so together they are a tree.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_fingerprint, compute_sha256
from landmarks.files.parsing import read_json
from landmarks.files.writing import write_json

FILES, FINGERPRINT = "files", "fingerprint"
REBUILD = "Run `dvc repro`."


def compute_digests(folder: Path, leave_out: Collection[str] = ()) -> dict[str, str]:
    """Compute the SHA-256 of every file directly in a folder, by name."""
    paths = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in leave_out)
    return {path.name: compute_sha256(path) for path in paths}


def write_sealed(path: Path, facts: Mapping[str, Any]) -> str:
    """Write a sealed JSON file atomically, and return its fingerprint.

    Args:
        path: the file.
        facts: its content; `files`, if it is there, has the digests of `compute_digests`.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot express.
    """
    fingerprint = compute_fingerprint(facts)
    write_json(path, {**facts, FINGERPRINT: fingerprint})
    return fingerprint


def read_sealed(path: Path, remedy: str = REBUILD) -> dict[str, Any]:
    """Read a sealed JSON file; the result has its `fingerprint` too.

    Args:
        path: the file.
        remedy: what to do, for the message of an error.

    Raises:
        ArtifactError: the file is missing, is no JSON, or its content does not have the fingerprint that it names.
    """
    content = read_json(path)
    if not isinstance(content, dict) or FINGERPRINT not in content:
        raise ArtifactError(
            f"{path} has no fingerprint, so it was written by an earlier version or altered. Delete it. {remedy}"
        )
    if content[FINGERPRINT] != compute_fingerprint({name: content[name] for name in content if name != FINGERPRINT}):
        raise ArtifactError(
            f"{path} was altered: its content does not have the fingerprint that it names. Delete it. {remedy}"
        )
    return content


def open_sealed(path: Path) -> dict[str, Any]:
    """Read a sealed JSON file, compare the files beside it with their digests, and return its facts alone.

    Raises:
        ArtifactError: as `read_sealed` and `check_files`.
    """
    content = read_sealed(path)
    check_files(path.parent, content.get(FILES, {}))
    return {name: content[name] for name in content if name not in (FILES, FINGERPRINT)}


def check_files(
    folder: Path, digests: Mapping[str, str], names: Collection[str] | None = None, remedy: str = REBUILD
) -> None:
    """Compare files with the digests of a sealed file.

    Args:
        folder: of the files.
        digests: from the sealed file.
        names: of the files to compare; all if None.
        remedy: what to do, for the message of an error.

    Raises:
        ArtifactError: a file is missing, or differs from its digest.
    """
    for name in digests if names is None else names:
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing. {remedy}")
        if compute_sha256(path) != digests.get(name):
            raise ArtifactError(f"{path} is damaged: its digest differs from the recorded one. Delete it. {remedy}")
