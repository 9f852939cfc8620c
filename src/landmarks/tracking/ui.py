"""MLflow's pages of the tracking store: a server of our own for a database, the address of a team's server."""

import os
import sys

from landmarks.tracking.address import REGISTRY_VARIABLE, TRACKING_VARIABLE, StoreAddress, find_registry, find_store

_PORT = 5000
_HOST = "127.0.0.1"
UI_ADDRESS = f"http://{_HOST}:{_PORT}"


def find_pages() -> str | None:
    """Return the address where a team's server shows its own pages; None if `serve_pages` has to show them.

    Raises:
        LandmarksError: MLFLOW_TRACKING_URI is not the address of a store.
    """
    store = find_store()
    return str(store) if store.is_server else None


def serve_pages(port: int) -> None:
    """Become MLflow's server for the database that is the tracking store, on 127.0.0.1; it does not return.

    Raises:
        LandmarksError: MLFLOW_TRACKING_URI is not the address of a store.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--host", _HOST, "--port", str(port), "--workers", "1"]
    os.execve(sys.executable, command, _describe_server(find_store(), find_registry()))  # noqa: S606


def _describe_server(store: StoreAddress, registry: StoreAddress) -> dict[str, str]:
    # in variables, because every user of the machine sees the arguments of a process, and a database has a password
    ours = {
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_REGISTRY_STORE_URI": registry.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of scorers for language models, which start processes
    }
    others = {name: value for name, value in os.environ.items() if name not in (TRACKING_VARIABLE, REGISTRY_VARIABLE)}
    return others | ours
