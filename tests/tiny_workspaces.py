"""Workspaces as the stages before `register` leave them, with tiny recognizers, and real stores of MLflow for them."""

import contextlib
import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from landmarks.evaluation.receipt import EvaluationReceipt, write_evaluation_receipt
from landmarks.files.digests import compute_sha256
from landmarks.files.writing import write_json
from landmarks.params import ExportParams, RegisterParams
from landmarks.recognizer.format import ExportPrecision, compute_recognizer_fingerprint, write_bundle_file
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.vocabulary import Landmark, write_vocabulary
from landmarks.shards.format import Record, Shard, read_manifest, write_manifest, write_shard
from landmarks.tracking.store import DatasetInfo, log_evaluation, open_store, read_receipt, start_run, write_receipt
from tiny_recognizers import (
    COLOURS,
    FORMAT,
    LANDMARKS,
    SIZE,
    Colour,
    Photo,
    build_network,
    encode_png,
    make_photos,
    write_tiny_index,
    write_tiny_shards,
)

HISTORY = [
    {"epoch": 1, "train_loss": 1.1, "val_accuracy": 0.4},
    {"epoch": 2, "train_loss": 0.3, "val_accuracy": 0.8},
]
SCORES = {"plain": 0.5, "augmented": 0.75}
PARITY = {"parity_photos": 100.0, "parity_differing": 0.0, "parity_min_cosine": 1.0, "parity_top1_change": 0.0}
EXPORT = ExportParams(
    precision="auto", min_agreement=0.99, max_top1_change=0.005, min_float_agreement=0.995, min_float_cosine=0.999
)


@dataclass(frozen=True)
class Workspace:
    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def shards(self) -> Path:
        return self.root / "data" / "shards"


def make_params(**changes: Any) -> RegisterParams:
    values = {
        "model_name": "tiny",
        "metric": "top1",
        "min_score": 0.3,
        "max_regression": 0.0,
    }
    return RegisterParams.model_validate(values | changes)


@cache
def make_empty_database() -> Path:
    """As MLflow makes it, once: making it takes longer than most tests."""
    path = Path(mkdtemp(prefix="landmarks-test-")) / "tracking.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        open_store()
    return path


def use_empty_store(patch: pytest.MonkeyPatch, folder: Path) -> Path:
    folder.mkdir(parents=True)
    database = Path(shutil.copy(make_empty_database(), folder / "tracking.db"))
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    return database


def write_workspace(
    root: Path,
    scores: Mapping[str, float] | None = None,
    test_colours: Sequence[Colour] = COLOURS,
    landmarks: tuple[Landmark, ...] = LANDMARKS,
    precision: ExportPrecision = "float32",
) -> Workspace:
    """Shards, and for each variant a bundle, an index, a run and an evaluation with the top-1 score given."""
    workspace = Workspace(root)
    photos = {
        Split.TRAIN: [photo for label in range(3) for photo in make_photos(10 * label, label, [COLOURS[label]] * 2)],
        Split.TEST: [make_photos(100 + number, number % 3, [colour])[0] for number, colour in enumerate(test_colours)],
    }
    manifest = write_tiny_shards(workspace.shards, photos, landmarks)
    for variant, score in (scores or SCORES).items():
        folder = workspace.models / variant
        fingerprint = write_bundle(folder / "bundle", variant, manifest.fingerprint, landmarks, precision)
        write_tiny_index(folder / "index", fingerprint, photos[Split.TRAIN], 0.5)
        write_run(workspace, variant, manifest.fingerprint)
        write_evaluation(workspace, variant, {"top1": score, "top5": 1.0, "top1_low": score / 2, "top1_high": 1.0})
    return workspace


@cache
def export_network() -> Path:
    folder = Path(mkdtemp(prefix="landmarks-test-"))
    build_network().save(folder / "model.keras")
    with contextlib.redirect_stdout(io.StringIO()):
        build_network().export(folder / "serving.tflite", format="litert", verbose=False)
    return folder


def write_bundle(
    folder: Path,
    variant: str,
    shards_fingerprint: str,
    landmarks: tuple[Landmark, ...],
    precision: ExportPrecision = "float32",
) -> str:
    """As docs/pipeline.md says, around the network that names colours; returns the fingerprint."""
    shutil.copytree(export_network(), folder)
    write_vocabulary(folder / "vocabulary.csv", landmarks)
    bundle = write_bundle_file(
        folder,
        variant=variant,
        image_format=FORMAT,
        labels=len(landmarks),
        embedding_dim=3,
        precision=precision,
        shards_fingerprint=shards_fingerprint,
    )
    return bundle.fingerprint


def write_run(workspace: Workspace, variant: str, fingerprint: str) -> None:
    folder = workspace.reports / "train" / variant
    folder.mkdir(parents=True)
    (folder / "model_summary.txt").write_text(f"{variant}, a network")
    with (folder / "history.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, HISTORY[0].keys())
        writer.writeheader()
        writer.writerows(HISTORY)
    params = {"train.epochs": 2, "augmentation.flip": variant == "augmented"}
    run = start_run("tiny", variant, params, {}, DatasetInfo("colours", fingerprint, 6, 3))
    for row in HISTORY:
        run.log_epoch(int(row["epoch"]), {name: value for name, value in row.items() if name != "epoch"})
    write_receipt(folder / "run.json", run.finish({"best_epoch": 2}, folder))


def write_evaluation(workspace: Workspace, variant: str, metrics: dict[str, float]) -> None:
    folder = workspace.reports / "evaluate" / variant
    folder.mkdir(parents=True, exist_ok=True)
    params = {"evaluate.seed": 0}
    metrics = PARITY | metrics
    write_json(folder / "metrics.json", metrics)
    (folder / "reliability.png").write_bytes(b"\x89PNG of " + variant.encode())
    recognizer = compute_recognizer_fingerprint(workspace.models / variant)
    write_evaluation_receipt(folder, EvaluationReceipt(recognizer, read_manifest(workspace.shards).fingerprint, params))
    log_evaluation(read_receipt(workspace.reports / "train" / variant / "run.json"), metrics, folder, params)


def write_shards_of_size(folder: Path, photos: Sequence[Photo], size: int) -> None:
    """A test split of photos blown up to a size."""
    repeats = size // SIZE
    records = [
        Record(photo.image_id, photo.label, encode_png(photo.pixels.repeat(repeats, 0).repeat(repeats, 1)), size)
        for photo in photos
    ]
    path = folder / "test-00000-of-00001.tfrecord"
    write_shard(path, records)
    write_vocabulary(folder / "vocabulary.csv", LANDMARKS)
    shard = Shard(path.name, len(records), path.stat().st_size, compute_sha256(path))
    write_manifest(folder, ImageFormat(size, "crop", 10**6), len(LANDMARKS), {Split.TEST: [shard]})
