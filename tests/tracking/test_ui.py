"""`landmarks ui`: MLflow's pages with the comparison first, or the address of a team's server."""

import socket
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from landmarks.cli import main
from landmarks.tracking.sync import sync
from landmarks.tracking.ui import find_comparison
from local_servers import answers, find_free_port, run, wait_for
from tiny_workspaces import use_empty_store, write_workspace

MLFLOW_API = "api/2.0/mlflow/experiments/search?max_results=10"


def test_a_teams_server_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://bob:s3cret@mlflow.example.org/team")
    result = CliRunner().invoke(main, ["ui"])
    assert result.exit_code == 0
    assert result.output == "The tracking store is a server with pages of its own: https://mlflow.example.org/team\n"


@pytest.mark.slow
def test_the_first_page_shows_the_runs_of_this_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_empty_store(monkeypatch, tmp_path / "store")
    workspace = write_workspace(tmp_path)
    sync(workspace.models, workspace.reports)
    port = find_free_port()
    address, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    comparison = find_comparison(workspace.reports, port)
    assert comparison is not None
    with run([sys.executable, "-m", "landmarks.cli", "ui", "--port", str(port)], log) as server:
        wait_for(lambda: answers(f"{address}/health"), server, log)
        page, known = httpx.get(address).text, httpx.get(f"{address}/{MLFLOW_API}").json()["experiments"]
        assert log.read_text().splitlines()[-2:] == [f"Side by side: {comparison}", "Press Ctrl+C to end."]
    assert "Traceback" not in log.read_text()  # nor at the Ctrl+C that ended it
    wanted = comparison.partition("#")[2]
    assert page.index(f'location.hash="{wanted}"') < page.index("<script defer")
    assert wanted.split("/")[2] in [experiment["experiment_id"] for experiment in known]


def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_empty_store(monkeypatch, tmp_path / "store")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = CliRunner().invoke(main, ["ui", "--port", str(port)])
    assert done.exit_code == 1
    assert f"Port {port} cannot be used: Address already in use." in done.stderr


def test_a_workspace_without_runs_has_no_comparison(tmp_path: Path) -> None:
    assert find_comparison(tmp_path) is None
