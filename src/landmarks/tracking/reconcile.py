"""Whether the tracking store holds what the receipts say, and logging again what it lacks or holds differently."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files import read_json
from landmarks.tracking.receipts import EPOCH, Receipt
from landmarks.tracking.runs import (
    EVALUATE_FILES,
    LISTING_FILE,
    TRAIN_FILES,
    Store,
    find_run,
    list_files,
    log_dataset,
    log_figures,
    log_folder,
    log_metrics,
    log_params,
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


def agree_run(store: Store, receipt: Receipt, history: Rows, folder: Path) -> tuple[str, list[str]]:
    """Make the store hold a training as its receipt, its history and its files say.

    Args:
        store: as `tracking.open_store` gives it.
        receipt: of the training.
        history: the figures of each epoch, as `receipts.read_history` gives them.
        folder: the files of the training.

    Returns:
        The id of the run in this store, and what was changed, in words.
    """
    open_experiment(store, receipt.experiment)
    run = find_run(store, receipt)
    if run is None:
        run_id = restore_run(store, receipt)
        _agree_history(store, run_id, receipt, history)
        log_folder(store, run_id, folder, TRAIN_FILES)
        return run_id, ["the run"]
    run_id = run.info.run_id
    changes = [
        *_agree_facts(store, run, receipt),
        *log_figures(store, run_id, name_final(receipt.metrics)),
        *_agree_history(store, run_id, receipt, history),
        *_agree_folder(store, run_id, folder, TRAIN_FILES),
    ]
    return run_id, changes


def agree_evaluation(
    store: Store, run_id: str, metrics: Mapping[str, float], folder: Path, params: Mapping[str, str]
) -> list[str]:
    """Make a run hold an evaluation: its figures, its parameters as tags, its files. Return what was changed."""
    return [
        *log_figures(store, run_id, name_scores(metrics)),
        *_agree_tags(store, store.client.get_run(run_id), params),
        *_agree_folder(store, run_id, folder, EVALUATE_FILES),
    ]


def _agree_facts(store: Store, run: Any, receipt: Receipt) -> list[str]:
    run_id, changes = run.info.run_id, _agree_tags(store, run, receipt.tags)
    if missing := {name: value for name, value in receipt.params.items() if name not in run.data.params}:
        log_params(store, run_id, missing)
        changes += sorted(missing)
    if run.info.run_name != receipt.variant:
        store.client.update_run(run_id, name=receipt.variant)
        changes.append("name")
    if (run.info.status, run.info.end_time) != ("FINISHED", receipt.ended_ms):
        store.client.set_terminated(run_id, "FINISHED", receipt.ended_ms)
        changes.append("status")
    if not any(receipt.dataset.fingerprint in item.dataset.source for item in run.inputs.dataset_inputs):
        log_dataset(store, run_id, receipt.dataset)
        changes.append("data set")
    return changes


def _agree_tags(store: Store, run: Any, tags: Mapping[str, str]) -> list[str]:
    other = {name: value for name, value in tags.items() if run.data.tags.get(name) != value}
    set_tags(store, run.info.run_id, other)
    return sorted(other)


def _agree_history(store: Store, run_id: str, receipt: Receipt, history: Rows) -> list[str]:
    known = read_values(store, run_id)
    changed: set[str] = set()
    for position, row in enumerate(history, start=1):
        step = int(row[EPOCH])
        figures = name_epoch({name: value for name, value in row.items() if name != EPOCH})
        other = {name: value for name, value in figures.items() if known.get((name, step)) != value}
        # a value that corrects another must be the later of the two
        is_correction = any((name, step) in known for name in other)
        spread = receipt.started_ms + (receipt.ended_ms - receipt.started_ms) * position // len(history)
        log_metrics(store, run_id, other, step, now_ms() if is_correction else spread)
        changed |= other.keys()
    return sorted(changed)


def _agree_folder(store: Store, run_id: str, folder: Path, path: str) -> list[str]:
    wanted, present = list_files(folder), _list_artifacts(store, run_id, path)
    if {*wanted, LISTING_FILE} <= present and _read_listing(store, run_id, path) == wanted:
        return []
    log_folder(store, run_id, folder, path)
    return [f"files of {path}"]


def _read_listing(store: Store, run_id: str, path: str) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return read_json(Path(store.client.download_artifacts(run_id, f"{path}/{LISTING_FILE}", scratch)))
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
