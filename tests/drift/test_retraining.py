"""`deploy/retrain_on_drift.sh`, which a timer calls, with real DVC: it trains again where the traffic has drifted."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landmarks.evaluation.receipt import EvaluationReceipt, write_evaluation_receipt
from landmarks.files.seals import write_sealed
from tiny_workspaces import make_empty_database

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PIPELINE = "stages: {train: {cmd: echo trained > model.txt, outs: [model.txt]}}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an evaluated champion, a stage, and nothing trained yet."""
    folder = tmp_path / "project"
    evaluation = folder / "reports/evaluate/augmented"
    evaluation.mkdir(parents=True)
    shutil.copy(ROOT / "experiments/default.yaml", folder / "params.yaml")
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/retrain_on_drift.sh", folder / "deploy")
    scores = np.linspace(0.5, 1, 200)
    rows = [f"x{row},{score:.3f},{score:.3f}" for row, score in enumerate(scores)]
    (evaluation / "predictions.csv").write_text("\n".join(["image_id,score,landmark_score", *rows]) + "\n")
    np.save(evaluation / "test_embeddings.npy", np.tile(np.eye(2, dtype=np.float16), (100, 1)))
    write_evaluation_receipt(evaluation, EvaluationReceipt("recognizer", "shards", {}))
    versions = {"augmented": {"version": "3", "fingerprint": "0" * 64, "scores": {}}}
    registration = {"model_name": "tiny", "champion": "augmented", "versions": versions, "tags": {}}
    write_sealed(folder / "reports/registration.json", registration)
    (folder / "dvc.yaml").write_text(PIPELINE)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(make_empty_database(), tmp_path / 'mlflow.db')}")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=folder, check=True)
    return folder


def retrain(
    project: Path, low: float, photos: int = 200, settings: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Serve photos with scores from `low` to 1, and call the script."""
    log = project / "requests.jsonl"
    lines = [
        {"time": "2026-01-02T03:04:05+00:00", "model_version": "3", "score": score, "landmark_score": score}
        | {"embedding": [float(row % 2), float(1 - row % 2)]}
        for row, score in enumerate(np.linspace(low, low + 0.5, photos))
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    environment = os.environ | settings | {"LANDMARKS_REQUEST_LOG": str(log)}
    command = [project / "deploy/retrain_on_drift.sh"]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)


def test_it_trains_again_where_the_traffic_drifted_and_only_there(project: Path) -> None:
    same = retrain(project, low=0.5)
    assert (same.returncode, (project / "model.txt").exists()) == (0, False), same.stderr
    assert "looks like the test photos" in same.stdout
    other = retrain(project, low=0.0)
    assert (other.returncode, (project / "model.txt").read_text()) == (0, "trained\n"), other.stderr
    assert "no longer looks like the test photos" in other.stdout


def test_it_takes_in_photos_that_people_added(project: Path, tmp_path: Path) -> None:
    for name in ("default", "photos"):
        (project / "experiments").mkdir(exist_ok=True)
        shutil.copy(ROOT / f"experiments/{name}.yaml", project / "experiments")
    shutil.copy(ROOT / "experiments/none.csv", project / "experiments")
    photos = tmp_path / "castles"
    for number in range(8):
        (photos / f"Castle {number % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (number * 30, 0, 0)).save(photos / f"Castle {number % 2}/{number}.jpg")
    subprocess.run(["landmarks", "init", photos, "--name", "ours", "--yes"], cwd=project, check=True)
    stage = "{cmd: wc -l < experiments/ours.csv > model.txt, deps: [experiments/ours.csv], outs: [model.txt]}"
    (project / "dvc.yaml").write_text(f"stages: {{train: {stage}}}")
    params = (project / "params.yaml").read_text()
    settings = {"LANDMARKS_PHOTOS": str(photos), "LANDMARKS_NAME": "ours"}
    first = retrain(project, low=0.0, settings=settings)
    assert (first.returncode, (project / "model.txt").read_text()) == (0, "9\n"), first.stderr
    Image.new("RGB", (40, 40), "white").save(photos / "Castle 1/new.jpg")
    second = retrain(project, low=0.0, settings=settings)
    assert (second.returncode, (project / "model.txt").read_text()) == (0, "10\n"), second.stderr
    assert (project / "params.yaml").read_text() == params


def test_a_failed_training_exits_with_1(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages: {train: {cmd: 'false', outs: [model.txt]}}")
    assert retrain(project, low=0.0).returncode == 1


def test_what_cannot_be_told_is_no_drift(project: Path) -> None:
    few = retrain(project, low=0.0, photos=10)
    assert (few.returncode, (project / "model.txt").exists()) == (1, False)
    assert "Only 10 served photos" in few.stderr
