"""Experiments that real DVC runs in copies of a project, which it removes: their runs stand in the project's store."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from landmarks.tracking.store import open_store
from tiny_workspaces import make_empty_database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]

# what `landmarks train` does with the store
LOG = """
from pathlib import Path
from landmarks.tracking.store import DatasetInfo, start_run, write_receipt

value = Path("params.yaml").read_text().split()[-1]
run = start_run("exp", "plain", {"value": value}, {}, DatasetInfo("photos", "f" * 64, 1, 1))
run.log_epoch(1, {"val_accuracy": 0.5})
out = Path("reports/train/plain")
out.mkdir(parents=True)
(out / "history.csv").write_text("epoch,val_accuracy\\n1,0.5\\n")
write_receipt(out / "run.json", run.finish({}, out))
evaluated = Path("scores/plain")
evaluated.mkdir(parents=True, exist_ok=True)
(evaluated / "metrics.json").write_text('{"top1": 0.%s}' % value)
"""
PIPELINE = """
stages:
  train:
    cmd: python log.py
    deps: [log.py]
    params: [value]
    outs: [reports/train/plain]
    metrics: [scores/plain/metrics.json]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    shutil.copy(make_empty_database(), "mlflow.db")
    texts = {
        "log.py": LOG,
        "dvc.yaml": PIPELINE,
        "params.yaml": "value: 1\n",
        ".gitignore": "/mlflow.db*\n/mlartifacts/\n",
    }
    for name, text in texts.items():
        Path(name).write_text(text)
    run("git", "init", "-q")
    run("git", "config", "user.name", "test")
    run("git", "config", "user.email", "test@localhost")
    run("dvc", "init", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "Begin")
    yield folder
    run("dvc", "queue", "stop", "--kill")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=-1, stderr=subprocess.STDOUT, text=True).stdout


def list_runs() -> dict[str, str]:
    store = open_store()
    experiment = store.client.get_experiment_by_name("exp")
    return {
        item.data.params["value"]: item.info.run_id for item in store.client.search_runs([experiment.experiment_id])
    }


def test_runs_of_removed_copies_stand_in_the_projects_store(project: Path) -> None:
    run("dvc", "exp", "run", "--temp", "-n", "aside", "-S", "value=2")
    run("dvc", "exp", "run", "--queue", "-S", "value=3")
    run("dvc", "exp", "run", "--run-all")
    assert not list((project / ".dvc/tmp/exps").rglob("log.py"))
    runs = list_runs()
    assert set(runs) == {"2", "3"}
    listed = {item.path for item in open_store().client.list_artifacts(runs["2"], "train")}
    assert "train/history.csv" in listed
    # they stand in the table with their scores and what they changed
    table = run(sys.executable, "-m", "landmarks.cli", "experiments")
    (aside,) = (line.split() for line in table.splitlines() if line.startswith("aside"))
    assert aside[3:] == ["plain", "0.200", "value=2"]
    # and with the files of the experiment in the workspace, there is nothing to log again
    run("dvc", "exp", "apply", "aside")
    assert run(sys.executable, "-m", "landmarks.cli", "sync").count("agrees with the receipts of 1 runs") == 1
    assert list_runs() == runs
