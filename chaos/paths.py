"""Odd paths: projects in folders whose names mean something to a URI, a shell or a format.

The helpers of the tests are found through the search path, as `python -m chaos` and pytest set it.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx

from chaos.campaign import Tally

PROMISE = "The stages, the service, the UI and the page work in a folder of any name, and write nothing beside it."
TRIES = 4
# the first is what the tests try, and so a little of everything
NAMES = (
    'a%20b #1? it\'s "größe" 🗿',
    "feature%2Fone",
    "my project",
    "what?..",
    "c#",
    "100%",
    "x" * 200,
    "$HOME & [x]*;",
)
_PIECES = (
    "a",
    "B7",
    " ",
    "%20",
    "%2F",
    "%",
    "#",
    "?",
    "'",
    '"',
    "ü",
    "🗿",
    "+",
    "&",
    ";",
    "$x",
    "`",
    "\\",
    "[x]",
    "*",
    "@",
)
_ROOT = Path(__file__).parents[1]
_PROJECT = ("bentofile.yaml", "pyproject.toml", "README.md", "LICENSE", "Makefile", "src", "app")
_TRAINED_EVERY = 4  # tries; the first is not one of them, because training takes longer than all the rest
_SECONDS = 900
_PHOTO = "photos/it's a b#%20?ü.jpg"
_DEMO = ("data/raw", "data/validated", "data/selected", "data/prepared")
_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("acquire", _DEMO[0]),
    ("validate", *_DEMO[:2]),
    ("select", *_DEMO[1:3]),
    ("prepare", *_DEMO[2:], "--workers", "1"),
    ("register",),
    ("package",),
    ("sync",),
    ("models",),
    ("classify", _PHOTO),
    ("search", _PHOTO, "--model", "models/plain"),
    ("submit", "photos", "what? #%20.csv"),
)
_TRAINING: tuple[tuple[str, ...], ...] = (
    ("train", "plain", _DEMO[3], "trained models"),
    ("index", "plain", _DEMO[3], "trained models"),
    ("evaluate", "plain", _DEMO[3], "trained models"),
)


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Use a project in folders with odd names, and compare what lies beside it before and after."""
    tally, draw = Tally(), random.Random(seed)
    base = scratch / "base"
    _run(base, ["-c", "from chaos.paths import make_project; make_project()"])
    names = [*NAMES, *("".join(draw.choices(_PIECES, k=draw.randint(3, 9))) for _ in range(tries))][:tries]
    for number, name in enumerate(names):
        above = scratch / str(number)
        folder = above / name
        shutil.copytree(base, folder)
        for other in {unquote(name), quote(name)} - {name}:  # where it would be written to by mistake
            if "/" not in other and len(os.fsencode(other)) <= 255:
                (above / other).mkdir()
        before = _list_beside(folder)
        try:
            _use(folder, trains=number % _TRAINED_EVERY == _TRAINED_EVERY - 1)
        except (OSError, subprocess.SubprocessError, httpx.HTTPError, RuntimeError) as error:
            tally.fail(f"{name!r}: {error}")
        else:
            if others := _list_beside(folder) ^ before:
                tally.fail(f"{name!r}: written beside the project: {sorted(others)}")
            else:
                tally.count("worked")
        shutil.rmtree(above)
    return tally


def make_project() -> None:
    """Make a project in the working directory as it is before `register`, with two tiny recognizers."""
    from tiny_params import write_tiny_params
    from tiny_workspaces import write_workspace

    here = Path()
    for name in _PROJECT:
        copy = shutil.copytree if (_ROOT / name).is_dir() else shutil.copy2
        copy(_ROOT / name, here / name)
    write_tiny_params(here / "params.yaml", {"register": {"model_name": "tiny"}})
    write_workspace(here)
    # the receipts are enough to fill the store of each copy
    shutil.rmtree("mlartifacts")
    Path("mlflow.db").unlink()


def use_commands(commands: Sequence[Sequence[str]]) -> None:
    """Run commands of the project in the working directory, in one process, since each would load TensorFlow."""
    from landmarks.cli import main

    for command in commands:
        print("+", *command, flush=True)
        if command[0] == "classify":
            Path(_PHOTO).parent.mkdir()
            shutil.copy(next(Path(_DEMO[0]).glob("samples/*.jpg")), _PHOTO)
        main.main(list(command), standalone_mode=False)


def _use(folder: Path, *, trains: bool) -> None:
    commands = [*_COMMANDS, *(_TRAINING if trains else ())]  # which replaces the evaluation that is registered
    _run(folder, ["-c", f"from chaos.paths import use_commands; use_commands({commands!r})"])
    with _serve(folder, ["-m", "bentoml", "serve", "--host", "127.0.0.1", "--port"], "/readyz") as port:
        _ask(port, "POST", "/classify", files={"image": (folder / _PHOTO).read_bytes()})
    with _serve(folder, ["-m", "landmarks.cli", "ui", "--port"], "/health") as port:
        runs = _ask(port, "POST", "/api/2.0/mlflow/runs/search", json={"experiment_ids": ["1"]}).json()["runs"]
        file = {"run_uuid": runs[0]["info"]["run_id"], "path": "train/history.csv"}
        _ask(port, "GET", "/get-artifact", params=file)
    page = ["-m", "streamlit", "run", "app/page.py", "--server.headless", "true", "--server.port"]
    with _serve(folder, page, "/_stcore/health"):
        pass


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "LANDMARKS_"))}
    return kept | {
        # BentoML's store has as odd a name, and is inside the project, where it may write
        "BENTOML_HOME": str(folder / ".bentoml"),
        "PYTHONPATH": os.pathsep.join(map(str, [_ROOT, _ROOT / "tests", _ROOT / "src"])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_DO_NOT_TRACK": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _run(folder: Path, arguments: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stdout.decode(errors='replace')[-2000:]}")


@contextlib.contextmanager
def _serve(folder: Path, arguments: Sequence[str], ready: str) -> Iterator[int]:
    """Start a server whose last argument is its port, wait until it is ready, and end it with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, *arguments, str(port)],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            end = time.monotonic() + _SECONDS
            while not _is_ready(port, ready):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{' '.join(arguments)}: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.2)
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _is_ready(port: int, path: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return bool(_ask(port, "GET", path))
    return False


def _ask(port: int, method: str, path: str, **content: Any) -> httpx.Response:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        return client.request(method, path, **content).raise_for_status()


def _list_beside(folder: Path) -> set[str]:
    """List the paths above a folder that are not in it."""
    return {
        str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*") if folder not in (path, *path.parents)
    }
