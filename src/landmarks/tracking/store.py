"""MLflow tracking: one run per training, with its parameters, its figures, its data set and its pictures.

Names of metrics in the store: `epoch/` and the columns of `history.csv`, `final/` for figures of the whole training,
`test/` and the names in `metrics.json`, `test_intervals/` for the ends of intervals among them. The page that compares
runs makes a section of each, in this order. Files stand under `train/` and `evaluate/`.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from landmarks.errors import LandmarksError
from landmarks.tracking.provenance import collect_tags
from landmarks.tracking.receipts import DatasetInfo, Receipt, describe_params, read_receipt, write_receipt
from landmarks.tracking.runs import (
    EVALUATE_FILES,
    SQLITE,
    TRAIN_FILES,
    Store,
    create_run,
    find_run,
    get_run,
    log_figures,
    log_folder,
    log_metrics,
    name_epoch,
    name_final,
    name_scores,
    now_ms,
    read_values,
    restore_run,
    set_tags,
)

__all__ = ["DatasetInfo", "Receipt", "TrackedRun", "log_evaluation", "read_receipt", "start_run", "write_receipt"]

DEFAULT_DATABASE = "mlflow.db"
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def load_mlflow() -> Any:
    """Import MLflow, which takes more than a second, with its telemetry and its chatter off."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    return mlflow


def find_store_uri() -> str:
    """MLFLOW_TRACKING_URI, or `mlflow.db` in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or SQLITE + str(Path(DEFAULT_DATABASE).resolve())


def open_store() -> Store:
    """Connect to the tracking store and its registry; a database that does not exist is made.

    Raises:
        LandmarksError: there is no answer, or the database is none of MLflow's.
    """
    mlflow = load_mlflow()
    uri = find_store_uri()
    try:
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # what comes depends on the database's driver
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = (
            f"The tracking store {uri} cannot be used: {reason} Check MLFLOW_TRACKING_URI, or move the damaged "
            "database away and run `landmarks sync`."
        )
        raise LandmarksError(_hide_password(message, uri)) from error
    return Store(uri, client, mlflow)


def _hide_password(text: str, uri: str) -> str:
    password = urlsplit(uri).password
    return text.replace(password, "***") if password else text


class TrackedRun:
    """A run that is being written. It ends by `finish` or `fail`."""

    def __init__(self, store: Store, draft: Receipt, monitor: Any) -> None:
        self._store = store
        self._draft = draft
        self._monitor = monitor
        self._known = read_values(store, draft.run_id)

    @property
    def run_id(self) -> str:
        """Name of the run in the store."""
        return self._draft.run_id

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the figures of an epoch. An epoch that is repeated after a kill adds only what came out differently."""
        new = {name: value for name, value in name_epoch(metrics).items() if self._known.get((name, epoch)) != value}
        log_metrics(self._store, self.run_id, new, epoch, now_ms())
        self._known |= {(name, epoch): value for name, value in new.items()}

    def finish(self, metrics: Mapping[str, float], artifacts: Path) -> Receipt:
        """Add the figures of the whole training and the files of a folder, and close the run.

        Returns:
            The receipt, which is to be kept as `run.json` in that folder.
        """
        self._monitor.finish()
        log_figures(self._store, self.run_id, name_final(metrics))
        log_folder(self._store, self.run_id, artifacts, TRAIN_FILES)
        receipt = replace(self._draft, metrics=dict(metrics), ended_ms=now_ms())
        self._store.client.set_terminated(self.run_id, "FINISHED", receipt.ended_ms)
        return receipt

    def fail(self) -> None:
        """Close the run as failed."""
        self._monitor.finish()
        self._store.client.set_terminated(self.run_id, "FAILED")


def start_run(
    experiment: str,
    variant: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    dataset: DatasetInfo,
    run_id: str | None = None,
) -> TrackedRun:
    """Begin a run, or go on with one that was cut off.

    Args:
        experiment: groups the runs that are compared; made where it does not exist.
        variant: the name of the run.
        params: by flat names such as `train.epochs`.
        tags: more than the git commit and the DVC experiment, which are added.
        dataset: what the run learns from.
        run_id: of the run to go on with; where the store does not have it, a new one begins.

    Raises:
        LandmarksError: the store cannot be used.
    """
    store = open_store()
    own_tags = {"variant": variant, **collect_tags(), **tags}
    draft = Receipt("", experiment, variant, describe_params(params), own_tags, dataset, {}, now_ms(), 0)
    run = get_run(store, run_id) if run_id else None
    if run is None:
        draft = replace(draft, run_id=create_run(store, draft))
    else:
        draft = replace(draft, run_id=run.info.run_id, started_ms=run.info.start_time)
        store.client.update_run(draft.run_id, status="RUNNING")
        set_tags(store, draft.run_id, own_tags)
    return TrackedRun(store, draft, _start_monitor(store.uri, draft.run_id))


def log_evaluation(
    receipt: Receipt, metrics: Mapping[str, float], reports: Path, params: Mapping[str, Any] | None = None
) -> None:
    """Add the figures and the files of an evaluation to the run that trained the model.

    The run is the one the receipt names, or the one `sync` made of that receipt in this store; where there is none, it
    is made now.

    Args:
        receipt: of the training.
        metrics: of the test split, by the names in `metrics.json`.
        reports: folder of tables and pictures.
        params: of the evaluation; they become tags, because MLflow keeps the first value of a parameter for ever.

    Raises:
        LandmarksError: the store cannot be used.
    """
    store = open_store()
    run = find_run(store, receipt)
    run_id = run.info.run_id if run else restore_run(store, receipt)
    log_figures(store, run_id, name_scores(metrics))
    set_tags(store, run_id, describe_params(params or {}))
    log_folder(store, run_id, reports, EVALUATE_FILES)


def _start_monitor(uri: str, run_id: str) -> Any:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor
