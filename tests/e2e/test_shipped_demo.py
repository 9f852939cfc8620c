"""The shipped demo, from nothing to an answer over HTTP."""

import io
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from workspaces import Workspace

from landmarks.schema.columns import Split
from landmarks.shards.format import iterate_batches

pytestmark = pytest.mark.slow


def read_metrics(workspace: Workspace, variant: str) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((workspace.root / f"reports/evaluate/{variant}/metrics.json").read_text())
    return metrics


def read_report(workspace: Workspace, name: str) -> Any:
    return json.loads((workspace.root / "reports" / name).read_text())


def collect_thumbnails(shards: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = [], []
    for _, batch_labels, pixels in iterate_batches(shards, split, 64):
        rows += [np.asarray(Image.fromarray(photo).resize((32, 32)), np.float32).ravel() for photo in pixels]
        labels += batch_labels.tolist()
    return np.stack(rows), np.array(labels)


def test_the_champion_beats_nearest_pixels_by_far(demo: Workspace) -> None:
    metrics = read_metrics(demo, read_report(demo, "registration.json")["champion"])
    train, train_labels = collect_thumbnails(demo.root / "data/shards", Split.TRAIN)
    test, test_labels = collect_thumbnails(demo.root / "data/shards", Split.TEST)
    distances = (test**2).sum(1)[:, None] - 2 * test @ train.T + (train**2).sum(1)
    nearest = float((train_labels[distances.argmin(1)] == test_labels).mean())
    assert nearest < 0.5
    assert metrics["top1"] >= 0.6
    assert metrics["top1"] >= nearest + 0.2
    # the aim is 0.85 (docs/results.md says what is reached); other processors round otherwise
    assert metrics["auroc"] >= 0.82
    assert metrics["auroc"] > metrics["shortcut_baseline_auroc"]


def test_a_second_run_does_nothing_and_at_once(demo: Workspace) -> None:
    printed = demo.run("dvc", "repro")
    assert demo.time("dvc", "repro") < 10
    assert "Running stage" not in printed
    assert "up to date" in printed


def test_the_registered_model_loads_where_landmarks_is_unknown(demo: Workspace) -> None:
    code = (
        "import sys; sys.modules['landmarks'] = None\n"
        "import mlflow, numpy as np\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "model = mlflow.keras.load_model('models:/landmarks@champion')\n"
        "out = model(np.zeros((2, *model.input.shape[1:]), np.uint8))\n"
        "print('sum', float(out['probabilities'].numpy().sum()), 'optimizer', getattr(model, 'optimizer', None))"
    )
    printed = demo.run(sys.executable, "-c", code)
    # two black photos: the probabilities of a photo sum to 1 without that of no landmark
    assert 0 < float(re.findall(r"sum ([\d.e-]+)", printed)[0]) < 1
    assert "optimizer None" in printed


def test_both_runs_are_in_the_store_with_their_figures(demo: Workspace) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{demo.root}/mlflow.db")
    experiment = client.get_experiment_by_name("landmarks")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"plain", "augmented"}
    for variant, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/top1"] == pytest.approx(read_metrics(demo, variant)["top1"])
        assert run.info.run_id == read_report(demo, f"train/{variant}/run.json")["run_id"]
        assert run.inputs.dataset_inputs
    different = {
        key
        for key in runs["plain"].data.params.keys() | runs["augmented"].data.params.keys()
        if runs["plain"].data.params.get(key) != runs["augmented"].data.params.get(key)
    }
    assert different
    assert all(key.startswith("augmentation.") for key in different)


def test_the_command_line_names_the_samples(demo: Workspace) -> None:
    (demo.root / "snaps").mkdir(exist_ok=True)
    (demo.root / "snaps" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    samples = sorted((demo.root / "data/raw/samples").glob("*.jpg"))
    done = subprocess.run(
        ["landmarks", "classify", "--json", "snaps", *map(str, samples)],
        cwd=demo.root, env=demo.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["broken.jpg", *(path.name for path in samples)]
    assert "error" in lines[0]
    for line in lines[1:]:
        scores = [prediction["score"] for prediction in line["predictions"]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)


def test_every_name_of_the_champion_gives_its_answers(demo: Workspace) -> None:
    [sample, *_] = sorted((demo.root / "data/raw/samples").glob("*.jpg"))
    registration = read_report(demo, "registration.json")
    champion = registration["champion"]
    version = registration["versions"][champion]["version"]
    names = (f"models/{champion}", "models:/landmarks@champion", f"models:/landmarks/{version}")
    own = demo.run("landmarks", "classify", "--json", str(sample)).splitlines()[-1]
    for name in (*names, read_report(demo, "package.json")["tag"]):
        assert demo.run("landmarks", "classify", "--json", str(sample), "--model", name).splitlines()[-1] == own
    assert demo.run("git", "status", "--short", "--untracked-files=all", "--", "*model*") == ""


def test_help_answers_at_once(demo: Workspace) -> None:
    assert "package" in demo.run("landmarks", "--help")
    assert demo.time("landmarks", "--help", times=5) < 0.5


def test_the_summary_names_what_came_out(demo: Workspace) -> None:
    printed = demo.run("landmarks", "summary")
    registration = read_report(demo, "registration.json")
    assert f"Registered: landmarks version {registration['versions'][registration['champion']]['version']}" in printed
    assert read_report(demo, "package.json")["tag"] in printed
    assert f"{read_metrics(demo, 'plain')['top1']:.3f}" in printed
    command = re.search(r"landmarks classify (\S+)", printed)
    assert command is not None
    assert (demo.root / command[1]).is_file()


@pytest.fixture(scope="module")
def service(demo: Workspace) -> Iterator[str]:
    port = "34571"
    process = demo.start("bentoml", "serve", "--host", "127.0.0.1", "--port", port, stderr=-1, stdout=-1)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=30)


def wait_until_ready(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"bentoml serve ended: {process.communicate()}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("bentoml serve was not ready after 60 seconds")


def test_the_service_answers_as_the_command_line(demo: Workspace, service: str) -> None:
    for path in sorted((demo.root / "data/raw/samples").glob("*.jpg")):
        over_http = httpx.post(f"{service}/classify", files={"image": path.read_bytes()}, data={"k": "3"}).json()
        line = json.loads(demo.run("landmarks", "classify", "--json", "-k", "3", str(path)).splitlines()[-1])
        assert line.pop("path") == str(path)
        assert over_http == line


def test_similar_photos_are_those_of_the_gallery(demo: Workspace, service: str) -> None:
    path = sorted((demo.root / "data/raw/samples").glob("*.jpg"))[0]
    over_http = httpx.post(f"{service}/search", files={"image": path.read_bytes()}, data={"k": "4"}).json()
    printed = demo.run("landmarks", "search", "--json", "-k", "4", str(path)).splitlines()
    found = over_http["neighbours"]
    thumbnails = [item.pop("thumbnail") for item in found]
    assert found == [json.loads(line) for line in printed[-4:]]
    for thumbnail in thumbnails:
        with Image.open(io.BytesIO(httpx.get(f"{service}/{thumbnail}").content)) as picture:
            assert (picture.format, picture.size) == ("JPEG", (48, 48))
