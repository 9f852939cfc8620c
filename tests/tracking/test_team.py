"""A team's tracking: a real PostgreSQL, MLflow's server on it that keeps the artifacts, and the pipeline's own code."""

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest
from ruamel.yaml import YAML

from landmarks.evaluation.gate import measure_accuracy
from landmarks.recognizer.recognizer import Recognizer
from landmarks.stages.register import register
from landmarks.tracking.receipts import read_receipt
from landmarks.tracking.registry import download_recognizer, resolve_alias
from landmarks.tracking.store import open_store
from landmarks.tracking.sync import sync
from local_servers import answers, find_free_port, run, wait_for
from tiny_workspaces import EXPORT, Workspace, make_params, write_workspace

psycopg = pytest.importorskip("psycopg", reason="psycopg (the extra `postgres`) is not installed")


def find_binaries() -> Path | None:
    """The folder of initdb; the newest of several."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


PROJECT = Path(__file__).parents[2]
BINARIES = find_binaries()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARIES is None, reason="PostgreSQL is not installed: apt-get install postgresql"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


@dataclass(frozen=True)
class Team:
    """Where the server answers, where it keeps artifacts, and how its database is reached, with the password."""

    address: str
    artifacts: Path
    database: str
    password: str


def find_user() -> str | None:
    """Whom the database runs as: it refuses root."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of its own, with a password; gives the address of an empty database in it."""
    assert BINARIES is not None
    user, port, password = find_user(), find_free_port(), secrets.token_hex(8)
    # pytest's folders are closed to other users
    folder = Path(mkdtemp(prefix="landmarks-postgres-"))
    (folder / "password").write_text(password)
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    options = [
        "-U",
        "mlflow",
        "-A",
        "scram-sha-256",
        f"--pwfile={folder / 'password'}",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    initdb = [str(BINARIES / "initdb"), "-D", str(folder / "data"), *options]
    subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)
    command = [
        str(BINARIES / "postgres"),
        "-D",
        str(folder / "data"),
        "-p",
        str(port),
        "-k",
        str(folder),
        "-c",
        "fsync=off",
    ]
    log = tmp_path_factory.mktemp("postgres") / "log"
    address = f"mlflow:{password}@127.0.0.1:{port}"

    def is_ready() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"postgresql://{address}/postgres", connect_timeout=2).close()
            return True
        return False

    try:
        with run([*command, "-c", "listen_addresses=127.0.0.1"], log, user) as process:
            wait_for(is_ready, process, log)
            with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE mlflow")
            yield f"{address}/mlflow"
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def team(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The server as deploy/mlflow.Dockerfile and deploy/compose.yaml start it."""
    folder, port = tmp_path_factory.mktemp("mlflow"), find_free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--serve-artifacts",
    ]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://{database}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_TRACKING_URI": "",
        "PYTHONWARNINGS": "ignore",
    }
    address = f"http://127.0.0.1:{port}"

    with run([*command, "--workers", "1"], folder / "log", **settings) as process:
        wait_for(lambda: answers(f"{address}/health"), process, folder / "log")
        password = database.partition("@")[0].partition(":")[2]
        yield Team(address, folder / "artifacts", f"postgresql://{database}", password)


@pytest.fixture(scope="module")
def registered(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Two variants, trained, evaluated and registered in the team's store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", team.address)
        workspace = write_workspace(tmp_path_factory.mktemp("workspace") / "mine")
        register(workspace.models, workspace.reports, workspace.shards, make_params(), EXPORT, workspace.root)
        yield workspace


def ask(team: Team, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(team.database) as connection:
        rows: list[tuple[object, ...]] = connection.execute(query).fetchall()
    return rows


def test_runs_and_versions_stand_in_postgresql(team: Team, registered: Workspace) -> None:
    runs = {read_receipt(registered.reports / "train" / name / "run.json").run_id for name in ("plain", "augmented")}
    assert {run_id for (run_id,) in ask(team, "SELECT run_uuid FROM runs WHERE status = 'FINISHED'")} == runs
    champion = resolve_alias("tiny", "champion")
    aliases = ask(team, "SELECT alias, version FROM registered_model_aliases WHERE name = 'tiny'")
    assert ("champion", int(champion.version)) in aliases


def test_a_colleague_fetches_the_champion_through_the_server(team: Team, registered: Workspace, tmp_path: Path) -> None:
    assert open_store().address.uri == team.address
    folder = download_recognizer(resolve_alias("tiny", "champion"), tmp_path / "fetched")
    assert measure_accuracy(Recognizer.load(folder), registered.shards)["top1"] == 1.0
    kept = [path.name for path in team.artifacts.rglob("*") if path.is_file()]
    assert kept.count("serving.tflite") == 2


def test_there_is_nothing_left_to_sync(team: Team, registered: Workspace) -> None:
    before = ask(team, "SELECT count(*) FROM metrics")
    sync(registered.models, registered.reports)
    assert ask(team, "SELECT count(*) FROM metrics") == before


def test_the_same_results_fill_a_store_of_ones_own(
    team: Team, registered: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mine.db'}")
    sync(registered.models, registered.reports)
    assert resolve_alias("tiny", "champion").tags["variant"] == "augmented"
    assert open_store().address.uri != team.address


@pytest.mark.usefixtures("registered")
def test_no_password_is_printed_or_written(team: Team, registered: Workspace, tmp_path: Path) -> None:
    """Commands as on a machine whose logs are kept, with the server behind a login and with the database itself."""
    server = team.address.replace("://", f"://mlflow:{team.password}@")
    with psycopg.connect(team.database, autocommit=True) as connection:
        connection.execute("CREATE DATABASE direct")  # a database without a server before it
    database = f"postgresql+psycopg{team.database.removeprefix('postgresql').removesuffix('mlflow')}direct"
    wrong = "postgresql+nodriver" + database.removeprefix("postgresql+psycopg")
    shutil.copytree(registered.root, tmp_path / "project")
    for name in ("bentofile.yaml", "src"):
        (tmp_path / "project" / name).symlink_to(PROJECT / name)
    write_params(tmp_path / "project" / "params.yaml")
    printed = ""
    for address, commands in {
        server: ("register", "package", "models"),
        f"{server}0": ("models",),
        database: ("sync",),
        wrong: ("sync",),
    }.items():
        for command in commands:
            done = subprocess.run(
                [sys.executable, "-m", "landmarks.cli", command],
                cwd=tmp_path / "project",
                env=os.environ | {"MLFLOW_TRACKING_URI": address, "BENTOML_HOME": str(tmp_path / "bentoml")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            printed += done.stdout
            assert bool(done.returncode) == (address not in (server, database)), done.stdout
    assert printed.count("The tracking store") == 3
    assert team.password not in printed
    written = [path for path in tmp_path.rglob("*") if path.is_file() and PROJECT not in path.resolve().parents]
    assert {"registration.json", "package.json", "bento.yaml", "model.yaml"} <= {path.name for path in written}
    assert [path for path in written if team.password.encode() in path.read_bytes()] == []


def write_params(path: Path) -> None:
    yaml = YAML()
    params = yaml.load((PROJECT / "experiments" / "default.yaml").read_text(encoding="utf-8"))
    params["register"] |= {"model_name": "tiny", "min_score": 0.3}
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)


def test_names_that_are_not_allowed_are_refused(team: Team) -> None:
    url = f"{team.address}/api/2.0/mlflow/experiments/search"
    assert httpx.post(url, json={"max_results": 1}).status_code == 200
    assert httpx.post(url, json={"max_results": 1}, headers={"host": "elsewhere.example"}).status_code == 403
