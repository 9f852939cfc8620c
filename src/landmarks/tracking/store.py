"""MLflow tracking: one run per training, with its parameters, metrics, data set and charts.

Metrics have prefixes: `epoch/` for the columns of `history.csv`, `final/` for the whole training, `test/` for the names
in `metrics.json`, and `test_intervals/` for the bounds of their intervals. MLflow's page that compares runs has a
section for each, in this order. Files are under `train/` and `evaluate/`.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from landmarks.errors import LandmarksError
from landmarks.tracking.address import find_registry, find_store, hide_secrets_in, move_login
from landmarks.tracking.provenance import collect_tags
from landmarks.tracking.receipts import DatasetInfo, Receipt, describe_params, read_receipt, write_receipt
from landmarks.tracking.runs import (
    EVALUATE_FILES,
    TRAIN_FILES,
    Store,
    create_run,
    find_run,
    get_run,
    log_folder,
    log_metrics,
    log_run_metrics,
    name_epoch,
    name_final,
    name_scores,
    now_ms,
    read_values,
    restore_run,
    set_tags,
)

__all__ = ["DatasetInfo", "Receipt", "TrackedRun", "log_evaluation", "read_receipt", "start_run", "write_receipt"]

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


def load_mlflow() -> Any:
    """Import MLflow, which takes more than a second, without telemetry and progress messages."""
    # MLflow reads these when it is imported
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    # it logs the traceback of every error of a database, such as one of a full disk, before it raises it
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow


def open_store(create: bool = True) -> Store:
    """Connect to the tracking store and its registry; create a database that does not exist if `create` says so.

    Raises:
        LandmarksError: the server does not answer, the database is not one of MLflow, or it does not exist.
    """
    move_login(os.environ)
    address, registry = find_store(), find_registry()
    if not create and address.database and not address.database.exists():
        raise LandmarksError(
            f"There is no tracking store {address}. Run this in the folder of a project, or set MLFLOW_TRACKING_URI."
        )
    mlflow = load_mlflow()
    try:
        if address.database:
            address.database.parent.mkdir(parents=True, exist_ok=True)
        if address.artifacts:
            _name_default_artifacts(address.uri, address.artifacts)
        client = mlflow.MlflowClient(tracking_uri=address.uri, registry_uri=registry.uri)
        client.search_experiments(max_results=1)  # a client connects at the first request only
    except Exception as error:  # the type depends on the driver of the database
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LandmarksError(
            f"The tracking store {address} cannot be used: {hide_secrets_in(reason, address.uri)} Check "
            "MLFLOW_TRACKING_URI, or move the damaged database away and run `landmarks sync`."
        ) from error
    return Store(address, client, mlflow)


class TrackedRun:
    """A run in progress; end it with `finish` or `fail`."""

    def __init__(self, store: Store, draft: Receipt, monitor: Any) -> None:
        self._store = store
        self._draft = draft
        self._monitor = monitor
        self._known = read_values(store, draft.run_id)

    @property
    def run_id(self) -> str:
        """Id of the run in the store."""
        return self._draft.run_id

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch; after a restart, a repeated epoch logs only values that differ."""
        new = {name: value for name, value in name_epoch(metrics).items() if self._known.get((name, epoch)) != value}
        log_metrics(self._store, self.run_id, new, epoch, now_ms())
        self._known |= {(name, epoch): value for name, value in new.items()}

    def finish(self, metrics: Mapping[str, float], artifacts: Path) -> Receipt:
        """Log the metrics of the whole training and the files of a folder, and end the run.

        Returns:
            The receipt, which the caller writes to that folder as `run.json`.
        """
        self._monitor.finish()
        log_run_metrics(self._store, self.run_id, name_final(metrics))
        log_folder(self._store, self.run_id, artifacts, TRAIN_FILES)
        receipt = replace(self._draft, metrics=dict(metrics), ended_ms=now_ms())
        self._store.client.set_terminated(self.run_id, "FINISHED", receipt.ended_ms)
        return receipt

    def fail(self) -> None:
        """End the run as failed."""
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
    """Start a run, or resume one that was interrupted.

    Args:
        experiment: MLflow experiment; created if it does not exist.
        variant: the name of the run.
        params: by flat names such as `train.epochs`.
        tags: in addition to the git commit and the DVC experiment.
        dataset: the training data.
        run_id: of the run to resume; if the store does not have it, a new run starts.

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
    return TrackedRun(store, draft, _start_monitor(store.address.uri, draft.run_id))


def log_evaluation(
    receipt: Receipt, metrics: Mapping[str, float], reports: Path, params: Mapping[str, Any] | None = None
) -> None:
    """Log the metrics and the files of an evaluation to the run that trained the model.

    This is the run of the receipt, or the one that `sync` restored from it. If the store has neither, it is restored.

    Args:
        receipt: of the training.
        metrics: of the test split, by the names in `metrics.json`.
        reports: folder of tables and charts.
        params: of the evaluation; logged as tags, because MLflow refuses to change the value of a parameter.

    Raises:
        LandmarksError: the store cannot be used.
    """
    store = open_store()
    run = find_run(store, receipt)
    run_id = run.info.run_id if run else restore_run(store, receipt)
    log_run_metrics(store, run_id, name_scores(metrics))
    set_tags(store, run_id, describe_params(params or {}))
    log_folder(store, run_id, reports, EVALUATE_FILES)


def _name_default_artifacts(uri: str, artifacts: str) -> None:
    """Make the tables of a new database with a URI of ours for the artifacts of the experiment `Default`.

    MLflow's own is the path of the working directory, which it writes into its SQL as it is.
    """
    from mlflow.tracking._tracking_service.utils import _get_store

    _get_store(uri, artifacts)


def _start_monitor(uri: str, run_id: str) -> Any:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor
