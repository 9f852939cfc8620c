"""The package stage: from an alias in a real registry to a Bento and its receipt."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import bentoml
import httpx
import pytest
from colours import PROJECT, make_photo, serve
from mlflow import MlflowClient

from landmarks.errors import ArtifactError
from landmarks.files.parsing import read_json
from landmarks.params import Params, read_params
from landmarks.recognizer.format import check_recognizer
from landmarks.stages.package import package
from reseal import change_sealed

# a digest may look like a number
TAGS = {
    "variant": "plain",
    "data_fingerprint": "12345",
    "reviewed_by": "nobody",
}
SCORES = {"test/top1": 0.625, "test_intervals/top1_low": 0.5, "test/auroc": float("nan"), "final/seconds": 3.0}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bentoml_home")]


@pytest.fixture(scope="module")
def params() -> Params:
    read = read_params(PROJECT / "experiments/default.yaml")
    return read.model_copy(update={"register_": read.register_.model_copy(update={"model_name": "seen"})})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    client.create_experiment("packing", artifact_location=str(folder / "artifacts"))
    client.create_registered_model("seen")
    return client


def register(client: MlflowClient, recognizer: Path, scratch: Path) -> str:
    """Put a recognizer into the registry as the register stage does, and set the alias; gives the run's id."""
    shutil.copytree(recognizer, scratch / "recognizer", ignore=shutil.ignore_patterns("*.keras"))
    (scratch / "data").mkdir()
    shutil.copy(recognizer / "bundle/model.keras", scratch / "data")
    experiment = client.get_experiment_by_name("packing")
    assert experiment is not None
    run_id: str = client.create_run(experiment.experiment_id).info.run_id
    for name, score in SCORES.items():
        client.log_metric(run_id, name, score)
    model = client.create_logged_model(experiment.experiment_id, name="plain", source_run_id=run_id)
    client.log_model_artifacts(model.model_id, str(scratch))
    client.finalize_logged_model(model.model_id, "READY")
    version = client.create_model_version("seen", f"models:/{model.model_id}", run_id, model_id=model.model_id)
    for name, value in (TAGS | {"fingerprint": check_recognizer(recognizer)}).items():
        client.set_model_version_tag("seen", version.version, name, value)
    client.set_registered_model_alias("seen", "champion", version.version)
    return run_id


@pytest.fixture(autouse=True)
def _registry(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)


def test_without_the_alias(params: Params, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="seen@champion"):
        package(tmp_path, params, PROJECT)
    assert list(tmp_path.iterdir()) == []


def test_the_champion_is_packed_once_and_a_new_one_anew(
    client: MlflowClient, params: Params, recognizer_folder: Path, tmp_path: Path
) -> None:
    run_id, fingerprint = register(client, recognizer_folder, tmp_path / "first"), check_recognizer(recognizer_folder)
    receipt = read_json(package(tmp_path / "reports", params, PROJECT))
    assert receipt == {
        "fingerprint": receipt["fingerprint"],
        "tag": receipt["tag"],
        "model_tag": f"seen:v1-{fingerprint[:12]}",
        "model_name": "seen",
        "model_version": "1",
        "run_id": run_id,
        "alias": "champion",
        "origin": {
            "variant": "plain",
            "registered": receipt["origin"]["registered"],
            "metrics": {"top1": 0.625, "top1_low": 0.5},
            "fingerprint": fingerprint,
            "data_fingerprint": "12345",
            "git_commit": None,
            "dvc_lock": None,
        },
        "service": params.service.model_dump(),
    }
    registered = datetime.fromisoformat(receipt["origin"]["registered"])
    assert abs((datetime.now(UTC) - registered).total_seconds()) < 600
    assert [str(model.tag) for model in bentoml.bentos.get(receipt["tag"]).info.all_models] == [receipt["model_tag"]]

    assert read_json(package(tmp_path / "again", params, PROJECT)) == receipt
    assert len(bentoml.bentos.list("seen")) == len(bentoml.models.list("seen")) == 1

    register(client, recognizer_folder, tmp_path / "second")
    renewed = read_json(package(tmp_path / "reports", params, PROJECT))
    assert renewed["model_version"] == "2"
    assert {str(bento.tag) for bento in bentoml.bentos.list("seen")} == {receipt["tag"], renewed["tag"]}


def test_going_back_is_serving_the_tag_of_before(
    client: MlflowClient, params: Params, recognizer_folder: Path, tmp_path: Path
) -> None:
    tags, bounds = [], (0.25, 0.75)
    for threshold in bounds:
        changed = Path(shutil.copytree(recognizer_folder, tmp_path / f"recognizer {threshold}"))
        index = changed / "index/index.json"
        change_sealed(index, threshold=threshold)
        register(client, changed, tmp_path / f"scratch {threshold}")
        tags.append(read_json(package(tmp_path / "reports", params, PROJECT))["tag"])
    # at the root of a project whose receipt names the newer one
    shutil.copy(PROJECT / "bentofile.yaml", tmp_path)
    for tag, threshold in reversed(list(zip(tags, bounds, strict=True))):
        with serve([tag], tmp_path) as address:
            answer = httpx.post(f"{address}/classify", files={"image": make_photo((255, 0, 0))}).json()
            assert answer["threshold"] == threshold
            assert httpx.get(f"{address}/model").json()["bento"] == tag
            name, version = tag.split(":")
            assert f'service_name="{name}",service_version="{version}"' in httpx.get(f"{address}/metrics").text


def test_what_a_kill_left_in_the_store_is_made_anew(
    client: MlflowClient, params: Params, recognizer_folder: Path, tmp_path: Path
) -> None:
    """BentoML copies file by file to the final place: a killed copy lacks any of them, perhaps its description too."""
    register(client, recognizer_folder, tmp_path / "killed")
    receipt = read_json(package(tmp_path / "reports", params, PROJECT))
    bento = Path(bentoml.bentos.get(receipt["tag"]).path)
    model = Path(bentoml.models.get(receipt["model_tag"]).path)
    whole = {folder: sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in (bento, model)}
    for lost in (bento / ".whole", bento / "src/landmarks/files/writing.py", model / ".whole", model / "model.yaml"):
        lost.unlink()
    assert read_json(package(tmp_path / "reports", params, PROJECT)) == receipt
    assert whole == {folder: sorted(path.relative_to(folder) for path in folder.rglob("*")) for folder in whole}
