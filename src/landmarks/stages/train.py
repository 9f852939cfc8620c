"""Train one variant of the network on the shards, as one MLflow run."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from landmarks.adapters.receipts import HISTORY_FILE, RECEIPT_FILE
from landmarks.adapters.tracking import DatasetInfo, TrackedRun, start_run, write_receipt
from landmarks.data import batches
from landmarks.data.batches import TrainingData, open_training_data, read_augmented_examples
from landmarks.data.schema import Split
from landmarks.data.shards import ShardManifest, read_manifest
from landmarks.data.vocabulary import VOCABULARY_FILE, Landmark, read_vocabulary
from landmarks.figures.training import draw_augmented, draw_learning_curves
from landmarks.files import (
    compute_code_digests,
    compute_fingerprint,
    compute_sha256,
    hold_lock,
    read_json,
    replace_folder,
    write_json,
    write_text,
)
from landmarks.modeling import averaging, checkpoint, initial_weights, layers, losses, networks, optimizers, training
from landmarks.modeling.bundle import write_bundle
from landmarks.modeling.comparison import measure_parity
from landmarks.modeling.initial_weights import load_initial_weights
from landmarks.modeling.networks import Normalization, Precision, Scaling, build_classifier, build_recognizer
from landmarks.modeling.training import (
    HISTORY_COLUMNS,
    TrainingResult,
    choose_precision,
    choose_strategy,
    configure_runtime,
    train_classifier,
)
from landmarks.params import AugmentationParams, ExportParams, Params, flatten_params
from landmarks.serving_network import ServingNetwork

_AUGMENTED_VERSIONS = 15
_CODE = (averaging, batches, checkpoint, initial_weights, layers, losses, networks, optimizers, training)
log = logging.getLogger(__name__)


def train(variant: str, shards: Path, bundle: Path, reports: Path, params: Params, work: Path) -> Path:
    """Train `plain` or `augmented` and write its bundle and its reports.

    Work in progress lives below `work`, in a folder named by all that determines the result: a training that was
    killed goes on from its last finished epoch, under the same MLflow run.

    Raises:
        ArtifactError: the shards are missing or damaged.
        DataError: a landmark has no training photo, or there is nothing to validate on.
        LandmarksError: the loss is no longer a number, or another process trains the same.
    """
    configure_runtime()
    manifest = read_manifest(shards, check_digests=True)
    landmarks = read_vocabulary(shards / VOCABULARY_FILE)
    augmentation = params.augmentation if variant == "augmented" else None
    data = open_training_data(shards, manifest, landmarks, params.train, augmentation)
    settings = _describe_settings(augmentation, params)
    workplace = work / _compute_work_fingerprint(variant, manifest, settings, params.train.initial_weights)[:16]
    with hold_lock(workplace.with_suffix(".lock"), f"training {variant}"):
        run = _open_run(variant, workplace, manifest, settings, params.tracking.experiment)
        try:
            result = _train_classifier(data, manifest, params, workplace, run)
            exported = _build(manifest.image_size, manifest.labels, params, "float32", "portable")
            exported.set_weights(result.classifier.get_weights())
            center_crop = augmentation.test_center_crop if augmentation else 1.0
            recognizer = build_recognizer(exported, params.network.mirror, center_crop)
            facts = _describe_bundle(variant, manifest, params)
            _write_bundle(bundle, recognizer, landmarks, facts, shards, params.export)
        except BaseException:
            run.fail()
            raise
        with replace_folder(reports) as folder:
            _write_reports(folder, result, shards, manifest, augmentation)
            best = result.history[result.best_epoch - 1]
            metrics = {"best_epoch": result.best_epoch} | {name: best[name] for name in best if name != "epoch"}
            write_receipt(folder / RECEIPT_FILE, run.finish(metrics, folder))
        shutil.rmtree(workplace)
    return bundle


def _compute_work_fingerprint(variant: str, manifest: ShardManifest, settings: Mapping[str, Any], weights: str) -> str:
    """All that the weights depend on, this code included: what other code began is not continued."""
    return compute_fingerprint(
        {
            **settings,
            "shards": manifest.fingerprint,
            "variant": variant,
            "initial_weights": compute_sha256(Path(weights)) if Path(weights).is_file() else weights,
            "code": compute_code_digests(_CODE),
            "versions": [version(package) for package in ("tensorflow", "keras")],
        }
    )


def _describe_settings(augmentation: AugmentationParams | None, params: Params) -> dict[str, Any]:
    settings = flatten_params(params.network, "network") | flatten_params(params.train, "train")
    return settings | (flatten_params(augmentation, "augmentation") if augmentation else {})


def _describe_bundle(variant: str, manifest: ShardManifest, params: Params) -> dict[str, str | int]:
    return {
        "variant": variant,
        "image_size": manifest.image_size,
        "fit": manifest.fit,
        "max_pixels": params.prepare.max_pixels,
        "shards_fingerprint": manifest.fingerprint,
    }


def _write_bundle(
    folder: Path,
    recognizer: keras.Model,
    landmarks: Sequence[Landmark],
    facts: Mapping[str, str | int],
    shards: Path,
    params: ExportParams,
) -> None:
    """Export with 8-bit weights where that is wished or leaves the answers as they are, else in float32."""
    if params.precision != "float32":
        write_bundle(folder, recognizer, landmarks, facts, "int8")
        if params.precision == "int8":
            return
        fault = measure_parity(folder, ServingNetwork.load(folder).run, shards).find_fault("int8", params)
        if fault is None:
            return
        log.warning("The network is served in float32: with 8-bit weights %s.", fault)
        facts = {**facts, "int8_refused": fault}
    write_bundle(folder, recognizer, landmarks, facts, "float32")


def _open_run(
    variant: str, workplace: Path, manifest: ShardManifest, settings: dict[str, Any], experiment: str
) -> TrackedRun:
    """Begin the MLflow run, or go on with the one that a killed training began."""
    note = workplace / RECEIPT_FILE
    photos = manifest.count_photos(Split.TRAIN)
    run = start_run(
        experiment,
        variant,
        settings,
        {"data_fingerprint": manifest.fingerprint},
        DatasetInfo(experiment, manifest.fingerprint, photos, manifest.labels),
        read_json(note)["run_id"] if note.exists() else None,
    )
    write_json(note, {"run_id": run.run_id})
    return run


def _build(
    image_size: int | None, labels: int, params: Params, precision: Precision, normalization: Normalization
) -> keras.Model:
    scaling: Scaling = params.network.scaling if params.train.initial_weights == "none" else "imagenet"
    return build_classifier(image_size, labels, params.network, precision, scaling, normalization, params.train.seed)


def _choose_normalization(replicas: int, precision: Precision) -> Normalization:
    if replicas > 1:
        return "synchronized"
    # the gradient of the fused kernel is slow in bfloat16
    return "fused" if precision == "float32" else "portable"


def _train_classifier(
    data: TrainingData, manifest: ShardManifest, params: Params, workplace: Path, run: TrackedRun
) -> TrainingResult:
    strategy = choose_strategy(params.train.devices)
    precision = choose_precision(params.train.precision)

    normalization = _choose_normalization(strategy.num_replicas_in_sync, precision)
    image_size = None if params.train.resizing else manifest.image_size

    def build() -> keras.Model:
        classifier = _build(image_size, manifest.labels, params, precision, normalization)
        load_initial_weights(classifier, params.train.initial_weights)
        return classifier

    tracking = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: run.log_epoch(epoch + 1, logs))
    return train_classifier(build, data, params.train, params.network, strategy, workplace, [tracking])


def _write_reports(
    folder: Path,
    result: TrainingResult,
    shards: Path,
    manifest: ShardManifest,
    augmentation: AugmentationParams | None,
) -> None:
    history = pd.DataFrame(result.history, columns=list(HISTORY_COLUMNS))
    history.to_csv(folder / HISTORY_FILE, index=False)
    draw_learning_curves(folder / "learning_curves.png", history, result.best_epoch)
    lines: list[str] = []
    result.classifier.summary(print_fn=lines.append, expand_nested=True, line_length=110)
    write_text(folder / "model_summary.txt", "\n".join(lines) + "\n")
    if augmentation:
        files = [shards / shard.file for shard in manifest.splits[Split.TRAIN]]
        photo, versions = read_augmented_examples(files, manifest.image_size, _AUGMENTED_VERSIONS, augmentation)
        draw_augmented(folder / "augmented.png", photo, versions)
