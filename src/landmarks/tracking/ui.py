"""MLflow's pages of the tracking store: a server of our own for a database, the address of a team's server."""

import json
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from landmarks.errors import LandmarksError
from landmarks.tracking.address import REGISTRY_VARIABLE, TRACKING_VARIABLE, StoreAddress, find_registry, find_store
from landmarks.tracking.receipts import RECEIPT_FILE, read_receipt
from landmarks.tracking.store import open_store

FIRST_PAGE = "LANDMARKS_FIRST_PAGE"  # variable with the address of the comparison
_APP = "landmarks"  # the entry point in pyproject.toml
_PORT = 5000
_HOST = "127.0.0.1"
UI_ADDRESS = f"http://{_HOST}:{_PORT}"
_COMPARISON = "/#/experiments/{}/runs?compareRunsMode=CHART&workflowType=machine_learning"


def find_comparison(reports: Path, port: int = _PORT) -> str | None:
    """Return the address where MLflow shows the runs of this workspace side by side; None if nothing was trained.

    Args:
        reports: with the receipts of the runs.
        port: where `serve_pages` shows the store, unless it is on a server.

    Raises:
        ArtifactError: a receipt is damaged.
        LandmarksError: the store cannot be used.
    """
    receipts = sorted((reports / "train").glob(f"*/{RECEIPT_FILE}"))
    if not receipts:
        return None
    store = open_store(create=False)
    experiment = store.client.get_experiment_by_name(read_receipt(receipts[0]).experiment)
    return build_comparison(store.address, experiment.experiment_id, port) if experiment else None


def build_comparison(store: StoreAddress, experiment_id: str, port: int = _PORT) -> str:
    """Return the address where MLflow shows the runs of an experiment side by side."""
    pages = str(store).rstrip("/") if store.is_server else f"http://{_HOST}:{port}"
    return pages + _COMPARISON.format(experiment_id)


def lead_to(address: str, page: str) -> str:
    """Let an HTML page of MLflow open the view that an address names after its `#`, unless a visitor asks for another.

    >>> lead_to("http://127.0.0.1:5000/#/experiments/1", "<html><head></head></html>")
    '<html><head><script>if(location.hash.length<3)location.hash="/experiments/1"</script></head></html>'
    """
    script = f"if(location.hash.length<3)location.hash={json.dumps(urlsplit(address).fragment)}"
    return page.replace("<head>", f"<head><script>{script}</script>", 1)


def find_pages() -> str | None:
    """Return the address where a team's server shows its own pages; None if `serve_pages` has to show them.

    Raises:
        LandmarksError: MLFLOW_TRACKING_URI is not the address of a store.
    """
    store = find_store()
    return str(store) if store.is_server else None


def serve_pages(reports: Path, port: int) -> None:
    """Become MLflow's server for the database that is the tracking store, on 127.0.0.1; it does not return.

    Where the store has the runs whose receipts are in `reports`, the first page shows them side by side.

    Raises:
        ArtifactError: a receipt is damaged.
        LandmarksError: the store cannot be used, or the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does, which may just have ended
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise LandmarksError(
                f"Port {port} cannot be used: {error.strerror}. Another server may run there; choose another: --port "
                f"{port + 1}, or make ui PORT={port + 1}."
            ) from error
    open_store()  # makes a database that does not exist
    comparison = find_comparison(reports, port)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", _HOST, "--port", str(port), "--workers", "1"]
    own = ["--app-name", _APP, "--uvicorn-opts", "--log-level warning"] if comparison else []
    settings = _describe_server(find_store(), find_registry()) | {FIRST_PAGE: comparison or ""}
    os.execve(sys.executable, [*command, *own], settings)  # noqa: S606


def _describe_server(store: StoreAddress, registry: StoreAddress) -> dict[str, str]:
    # in variables, because every user of the machine sees the arguments of a process, and a database has a password
    ours = {
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_REGISTRY_STORE_URI": registry.uri,
        "PYTHONWARNINGS": "ignore",  # MLflow imports what its libraries have deprecated
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of scorers for language models, which start processes
    }
    others = {name: value for name, value in os.environ.items() if name not in (TRACKING_VARIABLE, REGISTRY_VARIABLE)}
    return others | ours
