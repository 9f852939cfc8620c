"""Change sealed files as if they had been written so, to test what is checked besides the seal."""

from pathlib import Path
from typing import Any

from landmarks.files.parsing import read_json
from landmarks.files.seals import FILES, FINGERPRINT, compute_digests, write_sealed


def write_anew(path: Path, facts: dict[str, Any]) -> None:
    """Write the file with these facts and the fingerprint that fits them."""
    write_sealed(path, {name: facts[name] for name in facts if name != FINGERPRINT})


def change_sealed(path: Path, **changes: Any) -> None:
    write_anew(path, read_json(path) | changes)


def digest_anew(path: Path) -> None:
    """Record the digests that the files of the folder have now."""
    listed = set(read_json(path)[FILES])
    found = compute_digests(path.parent, (path.name,))
    change_sealed(path, files={name: digest for name, digest in found.items() if name in listed})


def renew_bundle(recognizer: Path) -> None:
    """Record the files that the bundle has now, and let the index belong to it."""
    digest_anew(recognizer / "bundle/bundle.json")
    bundle = read_json(recognizer / "bundle/bundle.json")
    change_sealed(recognizer / "index/index.json", bundle_fingerprint=bundle[FINGERPRINT])
