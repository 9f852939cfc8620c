"""Packaging with BentoML: import a recognizer into the model store, and build a Bento with all that serving needs."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import bentoml
import pydantic
from bentoml.exceptions import BentoMLException, NotFound
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_fingerprint, compute_sha256
from landmarks.files.parsing import describe_problems, parse_yaml
from landmarks.files.writing import open_scratch, write_text
from landmarks.params import ServiceParams
from landmarks.recognizer.format import check_recognizer
from landmarks.schema.network_format import KERAS_MODEL_FILE
from landmarks.serving.locked_hashes import LOCK, add_hashes
from landmarks.serving.receipt import RECEIPT_PATH, Origin, PackageReceipt, write_receipt

BENTOFILE = "bentofile.yaml"
_VERSION_DIGITS = 12
_WHOLE = ".whole"  # a file that ends an item in a store of BentoML
# the service runs the exported network, not the Keras model
_NOT_SERVED = shutil.ignore_patterns(KERAS_MODEL_FILE)


def find_recognizer(model_name: str, version: str, fingerprint: str) -> str | None:
    """Return the tag of a registered version in BentoML's model store; None if it has not been imported.

    A stored model that was altered since is deleted, and does not count.
    """
    tag = _name_model(model_name, version, fingerprint)
    model = _find_whole(bentoml.models, tag)
    if model is None:
        return None
    with suppress(ArtifactError):
        # the tag has only the first digits of the fingerprint
        if check_recognizer(Path(model.path), with_keras=False) == fingerprint:
            return tag
    bentoml.models.delete(tag)
    return None


def find_packaged_recognizer(tag: str) -> Path:
    """Find the recognizer directory of a Bento in the store of this machine, by its tag, such as `landmarks:latest`.

    Raises:
        ArtifactError: there is no such Bento, or it has no model.
    """
    try:
        bento = bentoml.get(tag)
        return Path(bentoml.models.get(bento.info.all_models[0].tag).path)
    except (BentoMLException, IndexError) as error:
        raise ArtifactError(
            f"There is no Bento {tag} with a model. `bentoml list` shows those of this machine."
        ) from error


def import_recognizer(folder: Path, model_name: str, version: str, run_id: str, labels: dict[str, str]) -> str:
    """Copy a recognizer directory into BentoML's model store, once per registered version and content.

    Args:
        folder: the recognizer directory, as in docs/pipeline.md.
        model_name: name of the registered model.
        version: its version in the registry.
        run_id: run that trained it.
        labels: labels of the stored model; `registry_version` and `run_id` are added.

    Returns:
        The tag with its version. It is the same for the same registered version and content.

    Raises:
        ArtifactError: the folder is not a recognizer directory, or a file was altered.
    """
    fingerprint = check_recognizer(folder, with_keras=False)
    if tag := find_recognizer(model_name, version, fingerprint):
        return tag
    # a tag of our own: BentoML's import functions make a new one at every call
    tag = _name_model(model_name, version, fingerprint)
    labels = {**labels, "registry_version": version, "run_id": run_id}
    with _keep_private(), bentoml.models.create(tag, labels=labels) as model:
        shutil.copytree(folder, model.path, dirs_exist_ok=True, ignore=_NOT_SERVED)
    _mark_whole(bentoml.models, tag)
    return tag


def build_bento(
    model_tag: str,
    *,
    model_name: str,
    version: str,
    run_id: str,
    alias: str,
    origin: Origin,
    service: ServiceParams,
    project: Path,
) -> PackageReceipt:
    """Build the Bento of an imported recognizer, once per content.

    The version of the Bento is computed here, from the registered version and a digest of the content. So the receipt
    inside the Bento can name the Bento, and packaging the same content twice gives one Bento.

    Args:
        model_tag: tag from `import_recognizer`.
        model_name: name of the registered model, and of the Bento.
        version: its version in the registry.
        run_id: run that trained it.
        alias: alias in the registry that was resolved to this version.
        origin: further facts about the origin of the model.
        service: limits of the service.
        project: folder of `bentofile.yaml`.

    Returns:
        The receipt, with the tag of the Bento.

    Raises:
        ArtifactError: `bentofile.yaml` or a file that it includes is missing, a package is not installed or has
            another version, or BentoML cannot build.
    """
    options = _pin_packages(read_bentofile(project), project / LOCK)
    facts = {"model_name": model_name, "model_version": version, "run_id": run_id, "alias": alias}
    sections = [section.model_dump(mode="json") for section in (origin, service)]
    content = compute_fingerprint([facts, model_tag, *sections, options, _digest_sources(project, options)])
    tag = f"{model_name}:v{version}-{content[:_VERSION_DIGITS]}"
    receipt = PackageReceipt(tag=tag, model_tag=model_tag, origin=origin, service=service, **facts)
    if not has_bento(tag):
        _build(receipt, options, project)
    return receipt


def has_bento(tag: str) -> bool:
    """Return whether the Bento with this tag is in the store, whole."""
    return _find_whole(bentoml.bentos, tag) is not None


def _find_whole(store: Any, tag: str) -> Any | None:
    """Find an item of BentoML's stores, whole; what a killed process left of it is deleted.

    BentoML copies items file by file to the place where it looks for them.

    Args:
        store: `bentoml.models` or `bentoml.bentos`.
        tag: with its version.
    """
    try:
        item = store.get(tag)
        if (Path(item.path) / _WHOLE).is_file():
            return item
    except NotFound:
        return None
    except BentoMLException:  # even its description is missing
        pass
    store.delete(tag)
    return None


def _mark_whole(store: Any, tag: str) -> None:
    write_text(Path(store.get(tag).path) / _WHOLE, "")


def pin_requirements(requirements: Iterable[str]) -> list[str]:
    """Pin packages and all their dependencies to the installed versions, as `name==version`.

    BentoML's own lock would write the address of a package index into the Bento.

    Raises:
        ArtifactError: a package is not installed, or its version does not meet a requirement.
    """
    pinned: dict[str, str] = {}
    waiting = [Requirement(text) for text in requirements]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in done:
            continue
        done.add((name, frozenset(wanted.extras)))
        pinned[name] = _installed_version(wanted)
        waiting += _list_dependencies(wanted)
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def _name_model(model_name: str, version: str, fingerprint: str) -> str:
    return f"{model_name}:v{version}-{fingerprint[:_VERSION_DIGITS]}"


def _installed_version(wanted: Requirement) -> str:
    try:
        version = distribution(wanted.name).version
    except PackageNotFoundError:
        raise ArtifactError(f"{wanted.name} is not installed, but the service needs it. Install it first.") from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise ArtifactError(
            f"{wanted.name} {version} is installed, but the service needs {wanted}. Install that version."
        )
    return version


def _list_dependencies(wanted: Requirement) -> Iterator[Requirement]:
    for text in distribution(wanted.name).requires or ():
        needed = Requirement(text)
        extras = wanted.extras or {""}
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            yield needed


def read_bentofile(project: Path) -> dict[str, Any]:
    """Read the options of `bentofile.yaml`.

    Raises:
        ArtifactError: it is missing, or is not such a file.
    """
    path = project / BENTOFILE
    try:
        options = parse_yaml(path.read_text(encoding="utf-8"), YAML(typ="safe"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing. Run from the project's root.") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid YAML: {error}. Restore it from git.") from error
    try:
        _Options.model_validate(options, strict=True)
    except pydantic.ValidationError as error:
        raise ArtifactError(f"{path} cannot be used: {describe_problems(error)[0]}. Restore it from git.") from None
    return dict(options)


def _pin_packages(options: dict[str, Any], lock: Path) -> dict[str, Any]:
    python = options["python"]
    # BentoML adds the pin of itself once more, without a hash
    pins = add_hashes(pin_requirements(python["packages"]), lock)
    return options | {"python": python | {"packages": pins}}


def _list_sources(project: Path, options: dict[str, Any]) -> Iterator[Path]:
    for name in options["include"]:
        path = project / name
        if name == RECEIPT_PATH.as_posix():  # written by `_build`, since it names the Bento
            continue
        if not path.exists():
            raise ArtifactError(f"{path} is missing, but {BENTOFILE} includes it. Run from the project's root.")
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _digest_sources(project: Path, options: dict[str, Any]) -> list[list[str]]:
    return [[path.relative_to(project).as_posix(), compute_sha256(path)] for path in _list_sources(project, options)]


def _build(receipt: PackageReceipt, options: dict[str, Any], project: Path) -> None:
    """Build in a temporary folder that holds only the included files, because BentoML walks its whole build context."""
    with open_scratch("bento") as context, _keep_private():
        for path in _list_sources(project, options):
            copy = context / path.relative_to(project)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        write_receipt(context / RECEIPT_PATH, receipt)
        YAML(typ="safe").dump(options, context / BENTOFILE)
        name, version = receipt.tag.split(":")
        labels = {"model_name": receipt.model_name, "model_version": receipt.model_version, "run_id": receipt.run_id}
        try:
            bentoml.bentos.build_bentofile(
                str(context / BENTOFILE), name=name, version=version, labels=labels, build_ctx=str(context)
            )
        except BentoMLException as error:
            raise ArtifactError(f"BentoML cannot build {receipt.tag}: {error}") from error
    _mark_whole(bentoml.bentos, receipt.tag)


class _Python(pydantic.BaseModel):
    packages: list[str]


class _Options(pydantic.BaseModel):
    """What `landmarks package` itself reads of `bentofile.yaml`; BentoML checks the rest."""

    include: list[str]
    python: _Python


@contextmanager
def _keep_private() -> Iterator[None]:
    """Keep BentoML from sending usage statistics while the block runs."""
    before = os.environ.get("BENTOML_DO_NOT_TRACK")
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    try:
        yield
    finally:
        if before is None:
            del os.environ["BENTOML_DO_NOT_TRACK"]
