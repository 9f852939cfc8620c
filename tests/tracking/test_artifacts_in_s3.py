"""A team's server that keeps artifacts in a store that speaks S3: models go there and come back."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from landmarks.recognizer.format import check_recognizer
from landmarks.stages.register import register
from landmarks.tracking.registry import download_recognizer, resolve_alias
from landmarks.tracking.sync import sync
from local_servers import answers, find_free_port, run, wait_for
from tiny_workspaces import EXPORT, make_empty_database, make_params, write_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store on this machine with an empty bucket."""
    port = find_free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    address = f"http://127.0.0.1:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="landmarks")
    yield address
    server.stop()


def list_keys(endpoint: str) -> list[str]:
    found = boto3.client("s3", endpoint_url=endpoint).list_objects_v2(Bucket="landmarks")
    return [item["Key"] for item in found.get("Contents", [])]


def test_models_go_to_the_bucket_and_come_back(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = find_free_port()
    address, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    database = shutil.copy(make_empty_database(), tmp_path / "mlflow.db")
    settings = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{database}",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://landmarks/models",
        "MLFLOW_S3_ENDPOINT_URL": endpoint,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_TRACKING_URI": "",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--serve-artifacts", "--workers", "1"]
    with run(command, log, **settings) as server:
        wait_for(lambda: answers(f"{address}/health"), server, log)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        for name in CREDENTIALS:  # people need the address of the server, and no key of the bucket
            monkeypatch.delenv(name)
        workspace = write_workspace(tmp_path / "mine")
        register(workspace.models, workspace.reports, workspace.shards, make_params(), EXPORT, workspace.root)
        champion = resolve_alias("tiny", "champion")
        fetched = download_recognizer(champion, tmp_path / "fetched")
        assert check_recognizer(fetched) == champion.tags["fingerprint"]
        assert "agrees with the receipts" in sync(workspace.models, workspace.reports).describe()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    keys = list_keys(endpoint)
    assert any(key.startswith("models/") and key.endswith("recognizer/bundle/bundle.json") for key in keys)
    assert "s3cret" not in log.read_text()
