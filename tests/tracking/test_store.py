"""Runs in a real store: an SQLite database of MLflow in a temporary folder."""

import csv
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from landmarks.errors import ArtifactError, LandmarksError
from landmarks.tracking.receipts import Receipt, read_history
from landmarks.tracking.reconcile import reconcile_evaluation, reconcile_run
from landmarks.tracking.runs import RECEIPT_TAG, Store, find_run, get_run, list_files, name_epoch, read_values
from landmarks.tracking.store import (
    DatasetInfo,
    TrackedRun,
    log_evaluation,
    open_store,
    read_receipt,
    start_run,
    write_receipt,
)
from reseal import write_anew

# MLflow asks SQLAlchemy for something that it calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

DATASET = DatasetInfo("landmarks", "f" * 64, photos=1200, labels=24)
PARAMS = {"train.epochs": 3, "train.learning_rate": 5e-4, "train.early_stopping_patience": None, "network.dropout": 0.2}
EPOCHS = [
    {"epoch": 1, "train_loss": 3.1, "val_accuracy": 0.1 + 0.2, "images_per_second": 101.5},
    {"epoch": 2, "train_loss": 2.1, "val_accuracy": 0.5, "images_per_second": 99.0},
    {"epoch": 3, "train_loss": 1.1, "val_accuracy": 0.25, "images_per_second": 100.0},
]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As MLflow makes it; making it takes longer than most tests here."""
    path = tmp_path_factory.mktemp("empty") / "tracking.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        open_store()
    return path


@pytest.fixture
def database(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store" / "tracking.db"
    path.parent.mkdir()
    shutil.copy(empty_database, path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    return path


def test_an_error_does_not_tell_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+nodriver://mlflow:s3cret@127.0.0.1:1/mlflow")
    with pytest.raises(LandmarksError, match=r"postgresql\+nodriver://127\.0\.0\.1:1/mlflow cannot be used") as caught:
        open_store()
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    (folder / "pictures").mkdir(parents=True)
    (folder / "summary.txt").write_text("a network")
    (folder / "pictures" / "curves.png").write_bytes(b"\x89PNG")
    with (folder / "history.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, EPOCHS[0].keys())
        writer.writeheader()
        writer.writerows(EPOCHS)
    return folder


def use_other_store(patch: pytest.MonkeyPatch, empty_database: Path, folder: Path) -> None:
    path = folder / "other" / "tracking.db"
    path.parent.mkdir()
    shutil.copy(empty_database, path)
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")


def begin(run_id: str | None = None) -> TrackedRun:
    return start_run("exp", "plain", PARAMS, {"purpose": "test"}, DATASET, run_id)


def log_epochs(run: TrackedRun, rows: list[dict[str, float]]) -> None:
    for row in rows:
        run.log_epoch(int(row["epoch"]), {name: value for name, value in row.items() if name != "epoch"})


def train(reports: Path) -> Receipt:
    run = begin()
    log_epochs(run, EPOCHS)
    receipt = run.finish({"best_epoch": 2}, reports)
    write_receipt(reports / "run.json", receipt)
    return receipt


def list_values(store: Store, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in store.client.get_metric_history(run_id, name))


def list_all_artifacts(store: Store, run_id: str, path: str | None = None) -> Iterator[str]:
    for item in store.client.list_artifacts(run_id, path):
        if item.is_dir:
            yield from list_all_artifacts(store, run_id, item.path)
        else:
            yield item.path


def dump(store: Store, run_id: str) -> dict[str, Any]:
    run = store.client.get_run(run_id)
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "values": read_values(store, run_id),
        "tags": {key: value for key, value in run.data.tags.items() if key != RECEIPT_TAG},
        "inputs": [(item.dataset.name, item.dataset.source) for item in run.inputs.dataset_inputs],
        "artifacts": sorted(list_all_artifacts(store, run_id)),
    }


def test_a_run_holds_all_it_was_told(database: Path, reports: Path) -> None:
    receipt = train(reports)
    log_evaluation(receipt, {"top1": 0.6, "top1_low": 0.5, "test_photos": 144}, reports, {"evaluate.seed": 0})
    store = open_store()
    run = store.client.get_run(receipt.run_id)
    assert (run.info.run_name, run.info.status) == ("plain", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (receipt.started_ms, receipt.ended_ms)
    assert store.client.get_experiment(run.info.experiment_id).name == "exp"
    assert run.data.params == {
        "train.epochs": "3",
        "train.learning_rate": "0.0005",
        "train.early_stopping_patience": "null",
        "network.dropout": "0.2",
    }
    assert list_values(store, receipt.run_id, "epoch/val_accuracy") == [(1, 0.1 + 0.2), (2, 0.5), (3, 0.25)]
    assert run.data.metrics["final/best_epoch"] == 2
    assert (run.data.metrics["test/top1"], run.data.metrics["test/test_photos"]) == (0.6, 144)
    assert run.data.metrics["test_intervals/top1_low"] == 0.5
    assert (run.data.tags["variant"], run.data.tags["purpose"], run.data.tags["evaluate.seed"]) == (
        "plain",
        "test",
        "0",
    )
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, "f" * 64 in logged.dataset.source) == ("landmarks", True)
    assert set(list_all_artifacts(store, receipt.run_id)) == {
        f"{path}/{name}"
        for path in ("train", "evaluate")
        for name in ("summary.txt", "history.csv", "pictures/curves.png", "files.json")
    }
    assert (database.parent / "mlartifacts").is_dir()


def test_receipt_is_read_as_it_was_written(database: Path, reports: Path) -> None:  # noqa: ARG001
    receipt = train(reports)
    assert read_receipt(reports / "run.json") == receipt


def test_a_run_is_continued_after_a_kill_and_repeated_epochs_count_once(database: Path, reports: Path) -> None:  # noqa: ARG001
    killed = begin()
    log_epochs(killed, EPOCHS[:2])
    run = begin(killed.run_id)
    repeated = EPOCHS[1] | {"images_per_second": 55.0}
    log_epochs(run, [repeated, EPOCHS[2]])
    receipt = run.finish({}, reports)
    store = open_store()
    assert receipt.run_id == killed.run_id
    assert list_values(store, receipt.run_id, "epoch/train_loss") == [(1, 3.1), (2, 2.1), (3, 1.1)]
    assert read_values(store, receipt.run_id)["epoch/images_per_second", 2] == 55.0
    assert get_run(store, receipt.run_id).info.status == "FINISHED"  # type: ignore[union-attr]


def test_a_run_begins_anew_where_the_store_lost_it(database: Path, reports: Path) -> None:  # noqa: ARG001
    run = begin("0" * 32)
    assert run.run_id != "0" * 32
    run.fail()
    assert get_run(open_store(), run.run_id).info.status == "FAILED"  # type: ignore[union-attr]


def test_dvc_experiment_becomes_a_tag(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("DVC_EXP_NAME", "puffy-daks")
    run = begin()
    run.fail()
    assert get_run(open_store(), run.run_id).data.tags["dvc_exp_name"] == "puffy-daks"  # type: ignore[union-attr]


def test_system_metrics_are_recorded(database: Path, monkeypatch: pytest.MonkeyPatch, reports: Path) -> None:  # noqa: ARG001
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    run = begin()
    deadline = time.monotonic() + 20
    store = open_store()
    while time.monotonic() < deadline:
        names = store.client.get_run(run.run_id).data.metrics
        if "system/cpu_utilization_percentage" in names:
            break
        time.sleep(0.2)
    run.finish({}, reports)
    assert "system/cpu_utilization_percentage" in names


def test_agreement_finds_nothing_to_do_in_the_store_that_was_told(database: Path, reports: Path) -> None:  # noqa: ARG001
    receipt = train(reports)
    store = open_store()
    log_evaluation(receipt, {"top1": 0.6}, reports, {"evaluate.seed": 0})
    history = read_history(reports / "history.csv")
    assert reconcile_run(store, receipt, history, reports) == (receipt.run_id, [])
    assert reconcile_evaluation(store, receipt.run_id, {"top1": 0.6}, reports, {"evaluate.seed": "0"}) == []


def test_an_empty_store_gets_the_same_run_once(
    database: Path, reports: Path, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = train(reports)
    told = dump(open_store(), receipt.run_id)
    use_other_store(monkeypatch, empty_database, tmp_path)
    store = open_store()
    history = read_history(reports / "history.csv")
    run_id, changes = reconcile_run(store, receipt, history, reports)
    assert (dump(store, run_id), changes) == (told, ["the run"])
    assert reconcile_run(store, receipt, history, reports) == (run_id, [])
    assert database.is_file()


def test_an_evaluation_finds_the_run_that_was_logged_again(
    database: Path,  # noqa: ARG001
    reports: Path,
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receipt = train(reports)
    use_other_store(monkeypatch, empty_database, tmp_path)
    log_evaluation(receipt, {"top1": 0.5}, reports)
    log_evaluation(receipt, {"top1": 0.75}, reports)
    store = open_store()
    run = find_run(store, receipt)
    assert run is not None
    assert run.data.metrics["test/top1"] == 0.75
    assert len(store.client.search_runs([run.info.experiment_id])) == 1
    run_id, changes = reconcile_run(store, receipt, read_history(reports / "history.csv"), reports)
    assert run_id == run.info.run_id
    assert {"epoch/train_loss", "epoch/val_accuracy", "files of train"} <= set(changes)


def test_what_the_store_holds_differently_is_put_right(database: Path, reports: Path) -> None:  # noqa: ARG001
    receipt = train(reports)
    store = open_store()
    told = dump(store, receipt.run_id)
    store.client.log_metric(receipt.run_id, "epoch/val_accuracy", 0.99, step=2)
    store.client.log_metric(receipt.run_id, "final/best_epoch", 7)
    store.client.set_tag(receipt.run_id, "purpose", "another")
    store.client.set_terminated(receipt.run_id, "FAILED")
    store.client.update_run(receipt.run_id, name="untitled")
    history = read_history(reports / "history.csv")
    run_id, changes = reconcile_run(store, receipt, history, reports)
    assert run_id == receipt.run_id
    assert set(changes) == {"epoch/val_accuracy", "final/best_epoch", "purpose", "status", "name"}
    assert dump(store, run_id) == told
    assert reconcile_run(store, receipt, history, reports) == (run_id, [])


def test_lost_and_changed_files_are_logged_again(database: Path, reports: Path) -> None:
    receipt = train(reports)
    store, history = open_store(), read_history(reports / "history.csv")
    (lost,) = database.parent.rglob("curves.png")
    lost.unlink()
    assert reconcile_run(store, receipt, history, reports)[1] == ["files of train"]
    assert lost.read_bytes() == b"\x89PNG"
    (reports / "summary.txt").write_text("A network")  # as long as before
    assert reconcile_run(store, receipt, history, reports)[1] == ["files of train"]
    (kept,) = database.parent.rglob("summary.txt")
    assert kept.read_text() == "A network"
    assert reconcile_run(store, receipt, history, reports)[1] == []


def test_a_run_with_other_params_is_not_the_run_of_the_receipt(database: Path, reports: Path) -> None:  # noqa: ARG001
    receipt = train(reports)
    other = replace(receipt, params={**receipt.params, "train.epochs": "4"})
    store, history = open_store(), read_history(reports / "history.csv")
    run_id, changes = reconcile_run(store, other, history, reports)
    assert (run_id != receipt.run_id, changes) == (True, ["the run"])
    assert store.client.get_run(run_id).data.params["train.epochs"] == "4"
    assert reconcile_run(store, other, history, reports) == (run_id, [])
    assert reconcile_run(store, receipt, history, reports) == (receipt.run_id, [])


def test_a_deleted_run_and_a_deleted_experiment_come_back(database: Path, reports: Path) -> None:  # noqa: ARG001
    receipt = train(reports)
    store, history = open_store(), read_history(reports / "history.csv")
    store.client.delete_run(receipt.run_id)
    run_id, changes = reconcile_run(store, receipt, history, reports)
    assert (run_id != receipt.run_id, changes) == (True, ["the run"])
    store.client.delete_experiment(store.client.get_run(run_id).info.experiment_id)
    found = reconcile_run(store, receipt, history, reports)[0]
    assert get_run(store, found) is not None


def test_the_receipt_itself_is_no_file_of_the_run(reports: Path) -> None:
    before = list_files(reports)
    (reports / "run.json").write_text("{}")
    assert list_files(reports) == before


def test_a_damaged_store_is_named(database: Path) -> None:
    database.write_bytes(b"this is no database, " * 100)
    with pytest.raises(LandmarksError, match=r"tracking\.db cannot be used.*Check MLFLOW_TRACKING_URI"):
        begin()


@pytest.mark.parametrize("facts", [{}, {"run_id": "a", "dataset": {"name": "b"}}])
def test_a_receipt_of_something_else_is_named(tmp_path: Path, facts: dict[str, object]) -> None:
    path = tmp_path / "run.json"
    write_anew(path, facts)
    with pytest.raises(ArtifactError, match=r"run\.json is not"):
        read_receipt(path)


def test_a_garbled_receipt_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for text in ("{", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(ArtifactError, match=r"run\.json (is not valid JSON|has no fingerprint)"):
            read_receipt(path)


def test_a_history_that_was_altered_is_named(database: Path, reports: Path) -> None:  # noqa: ARG001
    train(reports)
    (reports / "history.csv").write_text("epoch,val_accuracy\n1,1.0\n")
    with pytest.raises(ArtifactError, match=r"history\.csv is damaged"):
        read_receipt(reports / "run.json")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "epoch,loss\nx,1\n", "epoch,loss\n1,high\n"])
def test_a_garbled_history_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"history\.csv is not a table of (metrics per )?epoch"):
        read_history(path)


def test_epochs_that_are_logged_again_are_spread_over_the_run(database: Path, reports: Path) -> None:  # noqa: ARG001
    receipt = replace(train(reports), started_ms=1_000_000, ended_ms=1_100_000)
    store = open_store()
    store.client.delete_run(receipt.run_id)
    history = [{"epoch": epoch, "loss": 1.0 / epoch} for epoch in (1, 2, 3)]
    run_id, _ = reconcile_run(store, receipt, history, reports)
    name = next(iter(name_epoch({"loss": 1.0})))
    times = [metric.timestamp for metric in store.client.get_metric_history(run_id, name)]
    assert times == [1_033_333, 1_066_666, 1_100_000]
    history[1]["loss"] = 7.0
    assert reconcile_run(store, receipt, history, reports) == (run_id, [name])
    corrected = [metric for metric in store.client.get_metric_history(run_id, name) if metric.value == 7.0]
    assert [metric.step for metric in corrected] == [2]
    assert corrected[0].timestamp > 1_100_000
