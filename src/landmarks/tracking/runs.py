"""Find, read and write runs in the tracking store; `Store` brings the MLflow module, so nothing is imported here."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landmarks.files.digests import compute_sha256
from landmarks.files.writing import open_scratch, write_json
from landmarks.tracking.address import StoreAddress
from landmarks.tracking.receipts import RECEIPT_FILE, DatasetInfo, Receipt

RECEIPT_TAG = "landmarks.receipt_run_id"
EPOCH_PREFIX, FINAL_PREFIX, TEST_PREFIX, INTERVALS_PREFIX = "epoch/", "final/", "test/", "test_intervals/"
_INTERVAL_ENDS = ("_low", "_high")
TRAIN_FILES, EVALUATE_FILES = "train", "evaluate"
LISTING_FILE = "files.json"
# makes MLflow's pages show trainings and their charts, not traces of language models
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_BATCH = 100  # limit of MLflow for parameters or tags in one request
_DIGEST_LENGTH = 12  # MLflow limits digests to 36 characters; the source has the whole fingerprint


@dataclass(frozen=True)
class Store:
    """An open tracking store.

    Attributes:
        address: where it is; as text it is safe to print.
        client: its `MlflowClient`.
        mlflow: the module, for the classes of logged entities.
    """

    address: StoreAddress
    client: Any
    mlflow: Any


def now_ms() -> int:
    """Return the current time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def find_run(store: Store, receipt: Receipt) -> Any | None:
    """Find the run of a receipt, by its id or by the tag that `restore_run` sets; None if its parameters differ."""
    by_id = get_run(store, receipt.run_id)
    candidates = [by_id] if by_id else []
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    if experiments and not (by_id and has_params(by_id, receipt)):
        candidates += store.client.search_runs(experiments, f"tags.`{RECEIPT_TAG}` = '{receipt.run_id}'")
    return next((run for run in candidates if has_params(run, receipt)), None)


def get_run(store: Store, run_id: str) -> Any | None:
    """Read a run by its id; None if it does not exist or is deleted."""
    try:
        run = store.client.get_run(run_id)
    except store.mlflow.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def has_params(run: Any, receipt: Receipt) -> bool:
    """Check that no parameter of a run differs from the receipt; parameters may be missing."""
    return all(receipt.params.get(name, value) == value for name, value in run.data.params.items())


def create_run(store: Store, receipt: Receipt, tags: Mapping[str, str] | None = None) -> str:
    """Create a run with the parameters, tags and data set of a receipt, and return its id."""
    source = {"mlflow.source.name": f"landmarks train {receipt.variant}", "mlflow.source.type": "LOCAL"}
    if commit := receipt.tags.get("git_commit"):
        source["mlflow.source.git.commit"] = commit.removesuffix("-dirty")
    run = store.client.create_run(
        open_experiment(store, receipt.experiment),
        start_time=receipt.started_ms,
        tags={**source, **receipt.tags, **(tags or {})},
        run_name=receipt.variant,
    )
    run_id: str = run.info.run_id
    log_params(store, run_id, receipt.params)
    log_dataset(store, run_id, receipt.dataset)
    return run_id


def restore_run(store: Store, receipt: Receipt) -> str:
    """Create a finished run from a receipt, tagged with the run id of the receipt, and return its own id."""
    run_id = create_run(store, receipt, {RECEIPT_TAG: receipt.run_id})
    log_run_metrics(store, run_id, name_final(receipt.metrics))
    store.client.set_terminated(run_id, "FINISHED", receipt.ended_ms)
    return run_id


def open_experiment(store: Store, name: str) -> str:
    """Return the id of an experiment; create it if it does not exist, restore it if it is deleted."""
    found = store.client.get_experiment_by_name(name)
    if found is None:
        location = store.address.artifacts
        return str(store.client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
    if found.lifecycle_stage != "active":
        store.client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def log_params(store: Store, run_id: str, params: Mapping[str, str]) -> None:
    """Log parameters; MLflow refuses to change the value of a parameter."""
    entity = store.mlflow.entities.Param
    for batch in _split(sorted(params.items())):
        store.client.log_batch(run_id, params=[entity(name, value) for name, value in batch])


def set_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run, in batches."""
    entity = store.mlflow.entities.RunTag
    for batch in _split(sorted(tags.items())):
        store.client.log_batch(run_id, tags=[entity(name, value) for name, value in batch])


def log_metrics(store: Store, run_id: str, metrics: Mapping[str, float], step: int, timestamp: int) -> None:
    """Log metrics of one step."""
    entity = store.mlflow.entities.Metric
    for batch in _split(sorted(metrics.items())):
        store.client.log_batch(run_id, metrics=[entity(name, float(value), timestamp, step) for name, value in batch])


def log_run_metrics(store: Store, run_id: str, metrics: Mapping[str, float]) -> list[str]:
    """Log metrics that have one value per run, unless the run has that value already; return the names logged."""
    known = store.client.get_run(run_id).data.metrics
    new = {name: float(value) for name, value in metrics.items() if known.get(name) != value}
    log_metrics(store, run_id, new, 0, now_ms())
    return sorted(new)


def name_epoch(metrics: Mapping[str, float]) -> dict[str, float]:
    """Map the metrics of an epoch to their names in the store."""
    return {EPOCH_PREFIX + name: value for name, value in metrics.items()}


def name_final(metrics: Mapping[str, float]) -> dict[str, float]:
    """Map the metrics of a whole training to their names in the store."""
    return {FINAL_PREFIX + name: value for name, value in metrics.items()}


def name_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """Map the metrics of an evaluation to their names in the store; bounds of intervals have a prefix of their own.

    >>> name_scores({"top1": 0.5, "top1_low": 0.4})
    {'test/top1': 0.5, 'test_intervals/top1_low': 0.4}
    """
    return {
        (INTERVALS_PREFIX if name.endswith(_INTERVAL_ENDS) else TEST_PREFIX) + name: value
        for name, value in metrics.items()
    }


def log_dataset(store: Store, run_id: str, dataset: DatasetInfo) -> None:
    """Log the data set of a run as its input."""
    entities = store.mlflow.entities
    source = {"fingerprint": dataset.fingerprint}
    profile = source | {"photos": dataset.photos, "labels": dataset.labels}
    logged = entities.Dataset(
        dataset.name,
        dataset.fingerprint[:_DIGEST_LENGTH],
        source_type="shards",
        source=json.dumps(source),
        profile=json.dumps(profile),
    )
    context = entities.InputTag("mlflow.data.context", "training")
    store.client.log_inputs(run_id, [entities.DatasetInput(logged, [context])])


def log_folder(store: Store, run_id: str, folder: Path, path: str) -> None:
    """Log the files of a folder without the receipt, and last a listing with their digests, which marks completion."""
    for file, _ in sorted(list_files(folder).items()):
        parent = Path(path, file).parent.as_posix()
        store.client.log_artifact(run_id, str(folder / file), parent)
    with open_scratch("listing") as scratch:
        listing = write_json(scratch / LISTING_FILE, list_files(folder))
        store.client.log_artifact(run_id, str(listing), path)


def list_files(folder: Path) -> dict[str, str]:
    """Compute the digests of the files of a folder that are logged, by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != RECEIPT_FILE)
    return {path.relative_to(folder).as_posix(): compute_sha256(path) for path in files}


def read_values(store: Store, run_id: str) -> dict[tuple[str, int], float]:
    """Read the last value of each metric at each step; system metrics are left out."""
    names = [name for name in store.client.get_run(run_id).data.metrics if not name.startswith("system/")]
    history = [metric for name in names for metric in store.client.get_metric_history(run_id, name)]
    return {(metric.key, metric.step): metric.value for metric in sorted(history, key=lambda m: m.timestamp)}


def _split(items: Sequence[tuple[str, Any]]) -> Iterator[Sequence[tuple[str, Any]]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
