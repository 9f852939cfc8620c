"""train: train one variant of the network on the shards, as one MLflow run."""

import logging
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import pandas as pd

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_fingerprint, compute_sha256
from landmarks.files.seals import read_sealed, write_sealed
from landmarks.files.writing import hold_lock, replace_folder, write_text
from landmarks.network.networks import Precision
from landmarks.network.runtime import choose_precision, configure_runtime, describe_machine
from landmarks.network.trained import Training, describe_layers, write_network
from landmarks.network.training import HISTORY_COLUMNS, TrainingResult
from landmarks.network.variant import describe_settings, open_variant_data, train_variant
from landmarks.params import Params
from landmarks.schema.columns import Split
from landmarks.shards.format import ShardManifest, open_shards
from landmarks.tracking.provenance import compute_code_digest
from landmarks.tracking.receipts import HISTORY_FILE, RECEIPT_FILE
from landmarks.tracking.store import DatasetInfo, TrackedRun, start_run, write_receipt

log = logging.getLogger(__name__)


def train(variant: str, shards: Path, out: Path, reports: Path, params: Params, work: Path) -> Path:
    """Train `plain` or `augmented`, and write the network and the reports of the training.

    Work in progress is below `work`, in a folder named by a fingerprint of everything that determines the result. A
    killed training resumes after its last finished epoch, in the same MLflow run; on another kind of machine it starts
    anew.

    Args:
        variant: `plain` or `augmented`.
        shards: `data/shards`.
        out: `models/VARIANT/network`.
        reports: `reports/train/VARIANT`.
        params: the sections `network`, `augmentation`, `train` and `tracking`.
        work: a folder that git and DVC ignore, on the disk of `out`. DVC deletes `out` before it runs the stage.

    Raises:
        ArtifactError: the shards are missing or damaged.
        DataError: a landmark has no training photo, or there are no validation photos.
        LandmarksError: the loss is NaN or infinite, or another process runs the same training.
    """
    configure_runtime(params.train.parts)
    manifest = open_shards(shards, (Split.TRAIN, Split.VAL, Split.DISTRACTORS_TRAIN))
    data = open_variant_data(variant, shards, manifest, params, work)
    machine = describe_machine()
    base = _name_work(work, compute_work_fingerprint(variant, manifest, params), machine)
    with hold_lock(base.with_suffix(".lock"), f"training {variant}"):
        folder, precision = _open_work(base, params)
        run = _open_run(variant, folder, manifest, params, {**machine, "precision": precision})
        try:
            trained = train_variant(variant, data, manifest, params, precision, folder, run.log_epoch)
            training = Training(variant, manifest.image_format, manifest.fingerprint, precision)
            write_network(out, trained.network, training)
        except BaseException:  # Ctrl-C too; the run is resumed all the same
            run.fail()
            raise
        _write_reports(reports, trained.result, run)
        shutil.rmtree(folder)
    return out


def compute_work_fingerprint(variant: str, manifest: ShardManifest, params: Params) -> str:
    """Compute a fingerprint of everything that determines the weights, including code and versions of the framework."""
    weights = params.train.initial_weights
    return compute_fingerprint(
        {
            **describe_settings(variant, params),
            "shards": manifest.fingerprint,
            "variant": variant,
            "initial_weights": compute_sha256(Path(weights)) if Path(weights).is_file() else weights,
            "code": compute_code_digest("train"),
            "versions": [version(package) for package in ("tensorflow", "keras")],
        }
    )


def _name_work(work: Path, fingerprint: str, machine: Mapping[str, str]) -> Path:
    """Name the work of a training by its fingerprint and by what of the machine can change the weights."""
    base = work / f"{fingerprint[:16]}-{compute_fingerprint(dict(machine))[:8]}"
    others = [path for path in work.glob(f"{fingerprint[:16]}-*") if path.is_dir()]
    if others and not any(path.name.startswith(base.name) for path in others):
        log.warning(
            "%s has the same training, unfinished on another kind of machine. It is not continued on this one, whose "
            "rounding differs: %s. Go on there, or delete it.",
            others[0],
            ", ".join(f"{name} {value}" for name, value in machine.items() if value),
        )
    return base


def _open_work(base: Path, params: Params) -> tuple[Path, Precision]:
    """Find the folder of an unfinished training, or make one, and return it with the precision that its name tells.

    `train.precision: auto` measures, and may choose otherwise the next time. The name keeps the choice.
    """
    for precision in get_args(Precision):
        folder = base.with_name(f"{base.name}-{precision}")
        if folder.is_dir():
            return folder, precision
    chosen = choose_precision(params.train.precision)
    folder = base.with_name(f"{base.name}-{chosen}")
    folder.mkdir(parents=True)
    return folder, chosen


def _open_run(
    variant: str, folder: Path, manifest: ShardManifest, params: Params, machine: Mapping[str, str]
) -> TrackedRun:
    """Start an MLflow run, or resume that of a killed training."""
    note = folder / RECEIPT_FILE
    experiment = params.tracking.experiment
    dataset = DatasetInfo(experiment, manifest.fingerprint, manifest.count_photos(Split.TRAIN), manifest.labels)
    run = start_run(
        experiment,
        variant,
        describe_settings(variant, params),
        {"data_fingerprint": manifest.fingerprint, **machine},
        dataset,
        _read_note(note),
    )
    write_sealed(note, {"run_id": run.run_id})
    return run


def _read_note(note: Path) -> str | None:
    """Read the id of the run that a killed training logged to; None if there is none, or the note is damaged."""
    try:
        run_id: str = read_sealed(note)["run_id"]
    except ArtifactError:
        return None
    return run_id


def _write_reports(reports: Path, result: TrainingResult, run: TrackedRun) -> None:
    """Write history, model summary and receipt; `evaluate` draws the charts."""
    with replace_folder(reports) as folder:
        pd.DataFrame(result.history, columns=list(HISTORY_COLUMNS)).to_csv(folder / HISTORY_FILE, index=False)
        write_text(folder / "model_summary.txt", describe_layers(result.classifier))
        best = result.history[result.best_epoch - 1]
        metrics = {"best_epoch": result.best_epoch} | {name: best[name] for name in best if name != "epoch"}
        write_receipt(folder / RECEIPT_FILE, run.finish(metrics, folder))
