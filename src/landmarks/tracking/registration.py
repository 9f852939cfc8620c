"""Register recognizers: upload files, create a version with tags and model card, and check that it loads."""

import base64
import io
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.metadata import version as get_installed_version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pandas as pd
from PIL import Image

from landmarks.errors import ArtifactError, LandmarksError
from landmarks.files.writing import hold_lock, open_scratch
from landmarks.recognizer.format import (
    BUNDLE_FOLDER,
    INDEX_FOLDER,
    check_recognizer,
    read_bundle,
)
from landmarks.schema.library_settings import load_keras
from landmarks.schema.network_format import EMBEDDING, KERAS_MODEL_FILE, PROBABILITIES, Pixels
from landmarks.tracking.registry import (
    CARD_FILE,
    FINGERPRINT_TAG,
    MODEL_DESCRIPTION,
    MODEL_FILE,
    RECOGNIZER_FOLDER,
    RegisteredVersion,
    download_recognizer,
    find_version,
    get_version,
    use_store,
)
from landmarks.tracking.runs import Store, now_ms

_LONGEST_DESCRIPTION = 5000  # characters, the limit of MLflow's databases
# Between two runtimes with the same weights, by precision of the export; networks with other weights differ more. The
# effect of 8-bit weights on real photos is measured by `evaluate` and limited by the gate.
_LARGEST_DIFFERENCE = {"float32": 1e-3, "int8": 0.1}
_CHECKED_PHOTOS = 4
_EXAMPLE_SIZE = 32  # pixels
_UNFINISHED = ("PENDING", "FAILED")
_LONGEST_UPLOAD = 600.0  # seconds
_OLD_MS = 24 * 3600 * 1000
_DESCRIPTION = """\
Names the landmark in a photo, or says that it shows none. Each version comes from a run of the landmarks pipeline; its
model card tells which landmarks it knows, what it was trained on and how good it is. The alias `champion` is the
version that passed the gate last.

Where the package `landmarks` is installed:

```python
model = mlflow.pyfunc.load_model("models:/{name}@champion")  # photos in, names and confidences out
model.predict(pandas.DataFrame({{"photo": [open("photo.jpg", "rb").read()]}}))
```

`landmarks classify --model models:/{name}@champion PHOTOS` and `mlflow models serve --env-manager local` use it too.
`mlflow.keras.load_model` loads the bare network anywhere.
"""
_LOADER = "landmarks.tracking.pyfunc"
_REQUIREMENTS = ("keras", "tensorflow", "numpy")


class _SavedNetwork:
    """Gives MLflow the Keras file of a bundle in place of a network to save.

    Keras would write the same network with other bytes, and the digest in `bundle.json` would not fit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, filepath: str) -> None:
        """Copy the file, when MLflow calls this as the method of a network."""
        shutil.copyfile(self.path, filepath)


def log_model(
    store: Store,
    recognizer: Path,
    *,
    model_name: str,
    variant: str,
    run_id: str,
    tags: Mapping[str, str],
    card: str,
) -> RegisteredVersion:
    """Register a recognizer directory; if a version has it already, mend and return that one.

    Args:
        store: from `store.open_store`.
        recognizer: the recognizer directory.
        model_name: name of the registered model; created if it does not exist.
        variant: name of the logged model.
        run_id: of the run that trained it, in this store.
        tags: of the version; the fingerprint is added.
        card: the model card, for the description of the version and a file beside the model.

    Raises:
        ArtifactError: the directory lacks a file, or the registered model does not load or does not answer as its
            serving export. A version that was created for it is deleted.
    """
    fingerprint = check_recognizer(recognizer)
    version = find_version(store, model_name, fingerprint)
    if version is None:
        model_id = _log_files(store, recognizer, variant, run_id, card)
        version = _create_version(store, model_name, model_id, run_id, {FINGERPRINT_TAG: fingerprint})
        try:
            check_model(store, version)
        except BaseException:  # also on Ctrl-C: a version without this check must not stay
            store.client.delete_model_version(model_name, version.version)
            store.client.delete_logged_model(model_id)
            raise
    elif not (is_complete(store, version, recognizer) and _is_sound(store, version)):
        _upload(store, recognizer, version.model_id, version.run_id, card)
        check_model(store, version)
    reconcile_version(store, version, tags, card)
    return get_version(store, model_name, version.version)


def reconcile_version(store: Store, version: RegisteredVersion, tags: Mapping[str, str], card: str) -> list[str]:
    """Set the tags and the description of a version if they differ, and return the names of the changes.

    A registered model that nobody has described yet gets a description too.
    """
    described = []
    if not store.client.get_registered_model(version.name).description:
        store.client.update_registered_model(version.name, _DESCRIPTION.format(name=version.name))
        described = ["description of the model"]
    other = {name: value for name, value in tags.items() if version.tags.get(name) != value}
    for name, value in other.items():
        store.client.set_model_version_tag(version.name, version.version, name, value)
    description = card[:_LONGEST_DESCRIPTION]
    if store.client.get_model_version(version.name, version.version).description == description:
        return [*described, *sorted(other)]
    store.client.update_model_version(version.name, version.version, description)
    with open_scratch("card") as scratch:
        (scratch / CARD_FILE).write_text(card, encoding="utf-8")
        store.client.log_model_artifacts(version.model_id, str(scratch))
    return [*described, *sorted(other), "model card"]


def check_model(store: Store, version: RegisteredVersion) -> None:
    """Load a registered version as users do, with `mlflow.keras`, and compare its answers with its serving export.

    Raises:
        ArtifactError: it is not ready, does not load, or the answers differ.
    """
    from landmarks.recognizer.recognizer import Recognizer  # not at the top, as the next: `sync` rarely needs them

    name = f"{version.name} version {version.version}"
    status = store.client.get_model_version(version.name, version.version).status
    if status != "READY":
        raise ArtifactError(f"{name} is {status}, not READY. Register it again: `dvc repro -f register`.")
    with open_scratch("check") as scratch:
        folder = download_recognizer(version, scratch / "recognizer")
        network = Recognizer.load(folder, verify=False).network
        pixels = _draw_pixels(network.image_format.image_size, _CHECKED_PHOTOS)
        expected = dict(zip((PROBABILITIES, EMBEDDING), network.run(pixels), strict=True))
        answers = _answer_with_keras(store, version, pixels)
    largest = _LARGEST_DIFFERENCE[network.bundle.precision]
    for output, values in expected.items():
        difference = float(np.abs(answers[output] - values).max())
        if not difference <= largest:  # also true for NaN
            raise ArtifactError(
                f"{name} does not answer as its serving export: {output} differ by {difference:.2g}, at most {largest} "
                "is accepted. The two files of the bundle do not belong together. Train again: `dvc repro`."
            )


def discard_unfinished(store: Store, experiment_id: str, variant: str) -> list[str]:
    """Delete what killed registrations of a variant left: logged models that never became ready.

    In a database on this machine a lock shows whether one is still being logged; on a server, its age.

    Returns:
        Descriptions of what was deleted.
    """
    if not _find_unfinished(store, experiment_id, variant):
        return []
    try:
        with _hold_store(store, wait=0):
            found = _find_unfinished(store, experiment_id, variant)
            for model_id in found:
                _delete_model(store, model_id)
    except LandmarksError:  # another process registers at this moment; the next one looks again
        return []
    return [f"unfinished model {model_id} deleted" for model_id in found]


def is_complete(store: Store, version: RegisteredVersion, recognizer: Path) -> bool:
    """Check whether a version has all files of a recognizer directory, with the same sizes, and answers photos."""
    wanted = {_place(path.relative_to(recognizer)): path.stat().st_size for path in _list_parts(recognizer)}
    folders = {str(Path(place).parent) for place in wanted}
    try:
        lists = [store.client.list_logged_model_artifacts(version.model_id, folder) for folder in sorted(folders)]
        top = store.client.list_logged_model_artifacts(version.model_id)
    except store.mlflow.MlflowException:
        return False
    found = {item.path: item.file_size for items in lists for item in items}
    is_whole = wanted.items() <= found.items() and {MODEL_DESCRIPTION, CARD_FILE} <= {item.path for item in top}
    return is_whole and _answers_photos(store, version)


def _answers_photos(store: Store, version: RegisteredVersion) -> bool:
    """Check that the pyfunc flavour is ours; earlier versions of this package registered the bare network alone."""
    try:
        with use_store(store):
            described = store.mlflow.models.get_model_info(f"models:/{version.model_id}")
    except (store.mlflow.MlflowException, OSError):
        return False
    return bool(described.flavors.get(store.mlflow.pyfunc.FLAVOR_NAME, {}).get("loader_module") == _LOADER)


def _is_sound(store: Store, version: RegisteredVersion) -> bool:
    try:
        check_model(store, version)
    except ArtifactError:
        return False
    return True


def _list_parts(recognizer: Path) -> Iterator[Path]:
    for part in (BUNDLE_FOLDER, INDEX_FOLDER):
        yield from (path for path in (recognizer / part).rglob("*") if path.is_file())


def _place(part: Path) -> str:
    """Return the path in the logged model of a file in a recognizer directory; the Keras file is the model itself."""
    return MODEL_FILE if part.name == KERAS_MODEL_FILE else f"{RECOGNIZER_FOLDER}/{part.as_posix()}"


def _log_files(store: Store, recognizer: Path, variant: str, run_id: str, card: str) -> str:
    experiment_id = store.client.get_run(run_id).info.experiment_id
    with _hold_store(store, _LONGEST_UPLOAD):
        model_id: str = store.client.create_logged_model(experiment_id, name=variant, source_run_id=run_id).model_id
        try:
            _upload(store, recognizer, model_id, run_id, card)
        except BaseException:
            with suppress(store.mlflow.MlflowException):  # on a full disk; the next `discard_unfinished` does it
                _delete_model(store, model_id)
            raise
        store.client.finalize_logged_model(model_id, "READY")
    store.client.log_outputs(run_id, [store.mlflow.entities.LoggedModelOutput(model_id, step=0)])
    return model_id


def _find_unfinished(store: Store, experiment_id: str, variant: str) -> list[str]:
    latest = now_ms() - (0 if store.address.database else _OLD_MS)
    models = store.client.search_logged_models([experiment_id], f"name = '{variant}'")
    return [one.model_id for one in models if one.status in _UNFINISHED and one.last_updated_timestamp <= latest]


def _hold_store(store: Store, wait: float) -> AbstractContextManager[None]:
    """Hold the lock of a database on this machine, so that it is known whether an unfinished model is still logged."""
    database = store.address.database
    if database is None:
        return nullcontext()
    return hold_lock(database.with_name(f"{database.name}.lock"), "registering a model", wait)


def _delete_model(store: Store, model_id: str) -> None:
    """Delete a logged model, and its files if they are on this machine; `mlflow gc` deletes those of a server."""
    location = urlsplit(store.client.get_logged_model(model_id).artifact_location)
    store.client.delete_logged_model(model_id)
    if location.scheme == "file":
        shutil.rmtree(Path(url2pathname(location.path)), ignore_errors=True)


def _upload(store: Store, recognizer: Path, model_id: str, run_id: str, card: str) -> None:
    with open_scratch("model") as scratch:
        folder = scratch / "model"
        _save_model(store, recognizer, folder, model_id, run_id)
        for path in _list_parts(recognizer):
            place = folder / _place(path.relative_to(recognizer))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        store.client.log_model_artifacts(model_id, str(folder))


def _save_model(store: Store, recognizer: Path, folder: Path, model_id: str, run_id: str) -> None:
    flavour, models = _load_flavour(store), store.mlflow.models
    folder.mkdir()
    with warnings.catch_warnings():
        # MLflow compares the columns of the example with a range
        warnings.filterwarnings("ignore", "Operation with range", pd.errors.Pandas4Warning)
        flavour.save_model(
            _SavedNetwork(recognizer / BUNDLE_FOLDER / KERAS_MODEL_FILE),
            str(folder),
            mlflow_model=models.Model(artifact_path=folder.name, model_uuid=model_id, model_id=model_id, run_id=run_id),
            signature=_describe_network(store, recognizer),
            input_example=_draw_example(),
            # listed here, because MLflow would infer them by importing TensorFlow in a subprocess, which takes 12 s
            pip_requirements=[f"{name}=={get_installed_version(name)}" for name in _REQUIREMENTS],
        )
    # the flavour of Keras answers pixels of one size with numbers; that of pyfunc answers photos with names
    model = models.Model.load(str(folder))
    environment = model.flavors[store.mlflow.pyfunc.FLAVOR_NAME]["env"]
    store.mlflow.pyfunc.add_to_model(model, loader_module=_LOADER, data=RECOGNIZER_FOLDER, env=environment)
    model.signature = _describe_answers(store)
    model.save(str(folder / MODEL_DESCRIPTION))


def _load_flavour(store: Store) -> Any:
    """Return `mlflow.keras`, without the warnings of its first import."""
    with warnings.catch_warnings():
        # mlflow.pyfunc warns about type hints in MLflow's own code
        warnings.filterwarnings("ignore", ".*Any type hint", UserWarning)
        _ = store.mlflow.pyfunc.FLAVOR_NAME  # MLflow imports its modules lazily, at the first attribute
    load_keras()
    return store.mlflow.keras


def _describe_network(store: Store, recognizer: Path) -> Any:
    bundle = read_bundle(recognizer / BUNDLE_FOLDER)
    schema, size = store.mlflow.types.schema, bundle.image_format.image_size
    outputs = {EMBEDDING: bundle.embedding_dim, PROBABILITIES: bundle.labels}
    return store.mlflow.models.ModelSignature(
        schema.Schema([schema.TensorSpec(np.dtype(np.uint8), (-1, size, size, 3))]),
        schema.Schema([schema.TensorSpec(np.dtype(np.float32), (-1, n), name) for name, n in outputs.items()]),
    )


def _describe_answers(store: Store) -> Any:
    from landmarks.tracking import pyfunc

    schema = store.mlflow.types.schema
    return store.mlflow.models.ModelSignature(
        schema.Schema([schema.ColSpec(schema.AnyType(), pyfunc.PHOTO_COLUMN)]),
        schema.Schema([schema.ColSpec(kind, name) for name, kind in pyfunc.ANSWER_COLUMNS.items()]),
    )


def _draw_example() -> pd.DataFrame:
    """Draw the input of the example: a photo of nobody's, as base64 text of a PNG."""
    from landmarks.tracking import pyfunc

    (pixels,) = _draw_pixels(_EXAMPLE_SIZE, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return pd.DataFrame({pyfunc.PHOTO_COLUMN: [base64.b64encode(stream.getvalue()).decode()]})


def _create_version(
    store: Store, model_name: str, model_id: str, run_id: str, tags: Mapping[str, str]
) -> RegisteredVersion:
    try:
        store.client.create_registered_model(model_name)
    except store.mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with use_store(store):  # MLflow looks for the logged model in the default store
        created = store.client.create_model_version(
            model_name, f"models:/{model_id}", run_id=run_id, tags=dict(tags), model_id=model_id
        )
    # MLflow's own `register_model` sets this tag too; its pages link a logged model to its versions by it
    link = json.dumps([{"name": created.name, "version": created.version}])
    store.client.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})
    return get_version(store, model_name, created.version)


def _answer_with_keras(store: Store, version: RegisteredVersion, pixels: Pixels) -> dict[str, Any]:
    uri = f"models:/{version.name}/{version.version}"
    try:
        # MLflow cannot load from its own folder of artifacts where the path of the project has a percent sign
        with open_scratch("keras") as scratch, use_store(store):
            model = _load_flavour(store).load_model(uri, dst_path=str(scratch))
        answers: dict[str, Any] = model.predict_on_batch(pixels)
    except (store.mlflow.MlflowException, OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{uri} cannot be loaded with Keras: {error} Train again: `dvc repro`.") from error
    return answers


def _draw_pixels(size: int, images: int) -> Pixels:
    """Draw images with coarse and fine noise, uint8 (n, size, size, 3); uniform noise alone excites few features."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (images, 4, 4, 3), np.uint8)
    repeats = -(-size // 4)
    blocks = coarse.repeat(repeats, axis=1).repeat(repeats, axis=2)[:, :size, :size]
    noise = random.integers(-20, 21, blocks.shape)
    return np.clip(blocks + noise, 0, 255).astype(np.uint8)
