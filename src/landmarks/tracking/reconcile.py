"""Reconcile runs in the tracking store with their receipts: log again what is missing or differs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files.parsing import read_json
from landmarks.files.writing import open_scratch
from landmarks.tracking.receipts import EPOCH, Receipt
from landmarks.tracking.runs import (
    EVALUATE_FILES,
    LISTING_FILE,
    TRAIN_FILES,
    Store,
    find_run,
    list_files,
    log_dataset,
    log_folder,
    log_metrics,
    log_params,
    log_run_metrics,
    name_epoch,
    name_final,
    name_scores,
    now_ms,
    open_experiment,
    read_values,
    restore_run,
    set_tags,
)

Rows = Sequence[Mapping[str, float]]


def reconcile_run(store: Store, receipt: Receipt, history: Rows, folder: Path) -> tuple[str, list[str]]:
    """Reconcile the run of a training with its receipt, its history and its files.

    Args:
        store: from `store.open_store`.
        receipt: of the training.
        history: metrics of each epoch, from `receipts.read_history`.
        folder: the files of the training.

    Returns:
        The id of the run in this store, and descriptions of the changes.
    """
    open_experiment(store, receipt.experiment)
    run = find_run(store, receipt)
    if run is None:
        run_id = restore_run(store, receipt)
        _reconcile_history(store, run_id, receipt, history)
        log_folder(store, run_id, folder, TRAIN_FILES)
        return run_id, ["the run"]
    run_id = run.info.run_id
    changes = [
        *_reconcile_facts(store, run, receipt),
        *log_run_metrics(store, run_id, name_final(receipt.metrics)),
        *_reconcile_history(store, run_id, receipt, history),
        *_reconcile_folder(store, run_id, folder, TRAIN_FILES),
    ]
    return run_id, changes


def reconcile_evaluation(
    store: Store, run_id: str, metrics: Mapping[str, float], folder: Path, params: Mapping[str, str]
) -> list[str]:
    """Reconcile a run with an evaluation: metrics, parameters (as tags) and files; return the names of the changes."""
    return [
        *log_run_metrics(store, run_id, name_scores(metrics)),
        *_reconcile_tags(store, store.client.get_run(run_id), params),
        *_reconcile_folder(store, run_id, folder, EVALUATE_FILES),
    ]


def _reconcile_facts(store: Store, run: Any, receipt: Receipt) -> list[str]:
    run_id, changes = run.info.run_id, _reconcile_tags(store, run, receipt.tags)
    if missing := {name: value for name, value in receipt.params.items() if name not in run.data.params}:
        log_params(store, run_id, missing)
        changes += sorted(missing)
    if run.info.run_name != receipt.variant:
        store.client.update_run(run_id, name=receipt.variant)
        changes.append("name")
    if (run.info.status, run.info.end_time) != ("FINISHED", receipt.ended_ms):
        store.client.set_terminated(run_id, "FINISHED", receipt.ended_ms)
        changes.append("status")
    # the source has the whole fingerprint, the digest of an MLflow data set only its beginning
    if not any(receipt.dataset.fingerprint in item.dataset.source for item in run.inputs.dataset_inputs):
        log_dataset(store, run_id, receipt.dataset)
        changes.append("data set")
    return changes


def _reconcile_tags(store: Store, run: Any, tags: Mapping[str, str]) -> list[str]:
    other = {name: value for name, value in tags.items() if run.data.tags.get(name) != value}
    set_tags(store, run.info.run_id, other)
    return sorted(other)


def _reconcile_history(store: Store, run_id: str, receipt: Receipt, history: Rows) -> list[str]:
    known = read_values(store, run_id)
    changed: set[str] = set()
    for position, row in enumerate(history, start=1):
        step = int(row[EPOCH])
        metrics = name_epoch({name: value for name, value in row.items() if name != EPOCH})
        other = {name: value for name, value in metrics.items() if known.get((name, step)) != value}
        # MLflow shows the value with the latest timestamp, so a correction needs a later one than the value it corrects
        is_correction = any((name, step) in known for name in other)
        # the times of the epochs are not recorded; they are spread evenly over the run
        spread = receipt.started_ms + (receipt.ended_ms - receipt.started_ms) * position // len(history)
        log_metrics(store, run_id, other, step, now_ms() if is_correction else spread)
        changed |= other.keys()
    return sorted(changed)


def _reconcile_folder(store: Store, run_id: str, folder: Path, path: str) -> list[str]:
    """Log the files of a folder again if one is missing, or if the listing in the store has other digests."""
    wanted, present = list_files(folder), _list_artifacts(store, run_id, path)
    if {*wanted, LISTING_FILE} <= present and _read_listing(store, run_id, path) == wanted:
        return []
    log_folder(store, run_id, folder, path)
    return [f"files of {path}"]


def _read_listing(store: Store, run_id: str, path: str) -> Any:
    with open_scratch("listing") as scratch:
        try:
            return read_json(Path(store.client.download_artifacts(run_id, f"{path}/{LISTING_FILE}", str(scratch))))
        except ArtifactError:
            return None


def _list_artifacts(store: Store, run_id: str, path: str) -> set[str]:
    found: set[str] = set()
    waiting = [path]
    while waiting:
        for item in store.client.list_artifacts(run_id, waiting.pop()):
            if item.is_dir:
                waiting.append(item.path)
            else:
                found.add(item.path.removeprefix(f"{path}/"))
    return found
