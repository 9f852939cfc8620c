"""The pipeline runs what changed and nothing else, survives kill -9, and its store is refilled from the receipts."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from workspaces import Workspace, copy_project, make_tiny

from landmarks.files.digests import compute_sha256

pytestmark = pytest.mark.slow

VARIANTS = ("plain", "augmented")


def read_metrics(workspace: Workspace, variant: str) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((workspace.root / f"reports/evaluate/{variant}/metrics.json").read_text())
    return {name: value for name, value in metrics.items() if name != "images_per_second"}


def read_history(workspace: Workspace, variant: str) -> pd.DataFrame:
    history = pd.read_csv(workspace.root / f"reports/train/{variant}/history.csv")
    return history.drop(columns="images_per_second")


def list_digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): compute_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def list_stages_run(printed: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", printed)


CHECKPOINTS = ".work/train/*/epoch-*/progress.json"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tiny demo again, its first training killed after an epoch, and `dvc repro` started anew."""
    workspace = make_tiny(tmp_path_factory.mktemp("killed") / "landmarks")
    process = workspace.start("dvc", "repro", stdout=-3, stderr=-3, start_new_session=True)
    wait_for_checkpoint(workspace, process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workspace.root / "models/plain/network").exists()
    finished = read_finished_epochs(workspace)
    assert finished >= 1
    workspace.run("dvc", "repro")
    return workspace


def read_finished_epochs(workspace: Workspace) -> int:
    note = max(workspace.root.glob(CHECKPOINTS))
    epochs: int = json.loads(note.read_text())["epoch"]
    return epochs


def wait_for_checkpoint(workspace: Workspace, pid: int) -> None:
    deadline = time.monotonic() + 400
    while not list(workspace.root.glob(CHECKPOINTS)):
        assert time.monotonic() < deadline, "no checkpoint was written"
        assert psutil.pid_exists(pid)
        time.sleep(0.05)


def test_the_same_seed_gives_the_same_bytes(tiny: Workspace, killed: Workspace) -> None:
    for folder in ("data/raw", "data/validated", "data/selected", "data/shards"):
        first = list_digests(tiny.root / folder)
        assert len(first) > 3
        assert first == list_digests(killed.root / folder)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_training_ends_as_an_undisturbed_one(tiny: Workspace, killed: Workspace, variant: str) -> None:
    pd.testing.assert_frame_equal(read_history(tiny, variant), read_history(killed, variant), check_exact=True)
    assert read_metrics(tiny, variant) == read_metrics(killed, variant)


def test_a_killed_training_is_one_run(killed: Workspace) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{killed.root}/mlflow.db")
    experiment = client.get_experiment_by_name("landmarks")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(str(run.info.run_name) for run in runs) == ["augmented", "plain"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_parameter_reruns_its_stage_and_what_follows(tiny: Workspace) -> None:
    tiny.change_params({"evaluate": {"bootstrap_samples": 120}})
    stages = list_stages_run(tiny.run("dvc", "repro"))
    assert sorted(stages[:2]) == ["evaluate@augmented", "evaluate@plain"]
    assert set(stages[2:]) <= {"register", "package"}
    assert list_stages_run(tiny.run("dvc", "repro")) == []


def test_going_back_restores_results_and_sync_their_figures(tiny: Workspace) -> None:
    """DVC restores the old outputs and runs nothing; the store then holds the newer figures until `sync`."""
    before = read_metrics(tiny, "plain")["top1_low"]
    tiny.change_params({"evaluate": {"bootstrap_samples": 400}})
    tiny.run("dvc", "repro")
    tiny.change_params({"evaluate": {"bootstrap_samples": 120}})
    assert "evaluate" not in " ".join(list_stages_run(tiny.run("dvc", "repro")))
    tiny.run("landmarks", "sync")
    assert read_metrics(tiny, "plain")["top1_low"] == before
    assert read_store(tiny)["plain"]["test_intervals/top1_low"] == before


def read_store(workspace: Workspace) -> dict[str, dict[str, float]]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{workspace.root}/mlflow.db")
    experiment = client.get_experiment_by_name("landmarks")
    assert experiment is not None
    return {str(run.info.run_name): run.data.metrics for run in client.search_runs([experiment.experiment_id])}


def test_sync_refills_a_deleted_store_and_then_has_nothing_to_do(tiny: Workspace) -> None:
    (tiny.root / "mlflow.db").unlink()
    shutil.rmtree(tiny.root / "mlartifacts")
    assert list_stages_run(tiny.run("dvc", "repro")) == []
    tiny.run("landmarks", "sync")
    stored = read_store(tiny)
    for variant in VARIANTS:
        for name, value in read_metrics(tiny, variant).items():
            section = "test_intervals" if name.endswith(("_low", "_high")) else "test"
            assert stored[variant][f"{section}/{name}"] == pytest.approx(value), name
    assert "champion" in tiny.run("landmarks", "models")
    digest = compute_sha256(tiny.root / "mlflow.db")
    # two seconds on a fast machine; most of it is the import of MLflow
    assert tiny.time("landmarks", "sync") < 4 * tiny.time("python", "-c", "import mlflow")
    assert compute_sha256(tiny.root / "mlflow.db") == digest


def test_a_second_clone_pulls_runs_nothing_and_fills_its_store(tiny: Workspace, tmp_path: Path) -> None:
    tiny.run("dvc", "remote", "add", "--force", "-d", "shared", str(tmp_path / "remote"))
    tiny.commit("Share")
    tiny.run("dvc", "push", "-q")
    clone = Workspace(tmp_path / "clone", tmp_path / "bentos")
    tiny.run("git", "clone", "-q", str(tiny.root), str(clone.root))
    clone.run("dvc", "pull", "-q")
    assert list_stages_run(clone.run("dvc", "repro")) == []
    clone.run("landmarks", "sync")
    stored: dict[str, Any] = read_store(clone)
    assert {variant: stored[variant]["test/top1"] for variant in VARIANTS} == {
        variant: read_metrics(tiny, variant)["top1"] for variant in VARIANTS
    }
    assert "champion" in clone.run("landmarks", "models")


def test_dvc_shows_metrics_and_plots(tiny: Workspace) -> None:
    shown = json.loads(tiny.run("dvc", "metrics", "show", "--json"))
    files = next(iter(shown.values()))["data"] if "" in shown else shown
    assert "top1" in json.dumps(files)
    tiny.run("dvc", "plots", "show", "-o", "plots", "-q")
    page = (tiny.root / "plots/index.html").read_text()
    assert "Validation accuracy" in page
    tiny.commit("Figures to compare with")
    path = tiny.root / "reports/evaluate/plain/metrics.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"top1": 0.125}))
    try:
        differences = json.loads(tiny.run("dvc", "metrics", "diff", "--json"))
        assert differences["reports/evaluate/plain/metrics.json"]["top1"]["new"] == 0.125
        tiny.run("dvc", "plots", "diff", "HEAD", "-o", "plots", "-q")
        assert "Validation accuracy" in (tiny.root / "plots/index.html").read_text()
        shown = json.loads(tiny.run("dvc", "exp", "show", "--json"))
        assert "train.epochs" in json.dumps(shown) or "epochs" in json.dumps(shown)
    finally:
        path.write_text(kept)


def test_two_trainings_at_once_are_refused(tiny: Workspace) -> None:
    started = [
        tiny.start("landmarks", "train", "plain", "data/shards", f"other{i}", stdout=-1, stderr=-1) for i in range(2)
    ]
    ends = [(*process.communicate(), process.returncode) for process in started]
    assert sorted(code for *_, code in ends) == [0, 1]
    [refused] = [err for _, err, code in ends if code]
    assert "Another landmarks process is running `landmarks train plain`" in refused
    assert "Traceback" not in refused


def test_a_fresh_copy_is_complete(tmp_path: Path) -> None:
    """Every file the pipeline names is one that git tracks."""
    workspace = copy_project(tmp_path / "landmarks")
    workspace.commit("Begin")
    assert workspace.run("git", "status", "--porcelain") == ""
    assert "acquire" in workspace.run("dvc", "stage", "list", "--name-only")
