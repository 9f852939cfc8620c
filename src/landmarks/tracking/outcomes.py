"""What a stage found, in one sentence, from the files that it wrote."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from landmarks.evaluation.receipt import METRICS_FILE
from landmarks.files.parsing import read_json, read_record
from landmarks.files.seals import read_sealed
from landmarks.recognizer.format import BUNDLE_FOLDER, INDEX_FOLDER, read_bundle
from landmarks.tracking.receipts import HISTORY_FILE, RECEIPT_FILE, read_history, read_receipt

_SPLITS = ("train", "val", "test")


def describe_outcome(stage: str, variant: str, reports: Path, models: Path) -> str:
    """Describe the outcome of a stage that has just run; empty for `acquire`, whose tables `validate` counts.

    Args:
        stage: its name.
        variant: `plain` or `augmented`, for the stages that have one.
        reports: `reports`.
        models: `models`.

    Raises:
        ArtifactError: a file of the stage is missing or was altered.
    """
    describe = _DESCRIBE.get(stage)
    return describe(variant, reports, models) if describe else ""


def _describe_validation(_: str, reports: Path, __: Path) -> str:
    found = read_json(reports / "validation.json")
    return (
        f"All {len(found['expectations'])} expectations hold: {found['images']:,} photos of {found['landmarks']:,} "
        f"landmarks, {found['distractors']:,} distractors"
    )


def _describe_selection(_: str, reports: Path, __: Path) -> str:
    found = read_json(reports / "selection" / "selection.json")
    return f"Chose {found['landmarks']:,} landmarks: {_list_splits(found['splits'])} photos"


def _describe_preparation(_: str, reports: Path, __: Path) -> str:
    found = read_json(reports / "preparation" / "preparation.json")
    near, prepared = found["near_duplicates"], sum(found["photos"].values())
    return (
        f"Prepared {prepared:,} of {found['selected']:,} photos, {found['unreadable']:,} unreadable; "
        f"near-duplicates of training photos: {near['val']:,} in val, {near['test']:,} in test"
    )


def _describe_training(variant: str, reports: Path, _: Path) -> str:
    folder = reports / "train" / variant
    receipt, history = read_receipt(folder / RECEIPT_FILE), read_history(folder / HISTORY_FILE)
    best = int(receipt.metrics["best_epoch"])
    row = history[best - 1]
    minutes = (receipt.ended_ms - receipt.started_ms) / 60_000
    speed = sum(each["images_per_second"] for each in history) / len(history)
    return (
        f"Trained {variant}: val top-1 {row['val_accuracy']:.3f} at epoch {best} of {len(history)}, {minutes:.1f} min, "
        f"{speed:.0f} photos/s"
    )


def _describe_index(variant: str, _: Path, models: Path) -> str:
    bundle = read_bundle(models / variant / BUNDLE_FOLDER)
    index = read_sealed(models / variant / INDEX_FOLDER / "index.json")
    megabytes = sum(path.stat().st_size for path in (models / variant / BUNDLE_FOLDER).glob("*.tflite")) / 1e6
    return (
        f"Indexed {variant}: {index['photos']:,} photos, a network of {megabytes:.1f} MB ({bundle.precision}), "
        f"landmarks from a score of {index['threshold']:.2f}"
    )


def _describe_evaluation(variant: str, reports: Path, _: Path) -> str:
    metrics = read_record(reports / "evaluate" / variant / METRICS_FILE, dict[str, float])
    auroc = f", AUROC against distractors {metrics['auroc']:.3f}" if "auroc" in metrics else ""
    return (
        f"Evaluated {variant}: top-1 {metrics['top1']:.3f} ({metrics['top1_low']:.3f} to {metrics['top1_high']:.3f}) "
        f"on {metrics['test_photos']:,.0f} test photos{auroc}, mAP@100 {metrics['map_at_100']:.3f}"
    )


def _describe_registration(_: str, reports: Path, __: Path) -> str:
    found = read_sealed(reports / "registration.json")
    champion = found["champion"]
    return (
        f"Registered {champion} as {found['model_name']} version {found['versions'][champion]['version']}, the champion"
    )


def _describe_package(_: str, reports: Path, __: Path) -> str:
    return f"Packed {read_sealed(reports / 'package.json')['tag']}: `bentoml serve` answers with it"


def _list_splits(splits: Mapping[str, Any]) -> str:
    return ", ".join(f"{splits.get(split, 0):,} {split}" for split in _SPLITS)


_DESCRIBE: dict[str, Callable[[str, Path, Path], str]] = {
    "validate": _describe_validation,
    "select": _describe_selection,
    "prepare": _describe_preparation,
    "train": _describe_training,
    "index": _describe_index,
    "evaluate": _describe_evaluation,
    "register": _describe_registration,
    "package": _describe_package,
}
