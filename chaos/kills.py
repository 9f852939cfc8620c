"""Kill -9 of `dvc repro` and all it started, again and again, and a comparison with an undisturbed run."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from chaos.campaign import Tally
from landmarks.files.digests import compute_fingerprint, compute_sha256

PROMISE = (
    "Wherever `dvc repro` is killed, it goes on when it is started again, and ends with the same bytes as an "
    "undisturbed run; nothing half-done stays behind, in the project, its tracking store or its Bento store."
)
TRIES = 30
_TESTS = Path(__file__).parents[1] / "tests" / "e2e"
_CHEAP = "prepare"  # with few tries, only the stages up to it, which take seconds
_STAGES = 12
_STARTED = re.compile(r"^Running stage '([^']+)'")
_RESULTS = ("data", "models", "reports")
# in reports: what names a run, a commit or a moment, and so differs between any two runs, and digests of it
_OWN = frozenset({
    "run_id", "started_ms", "ended_ms", "git_commit", "dvc_lock", "images_per_second", "registered", "tag", "model_tag",
    "files", "fingerprint",
})  # fmt: skip
_TEXTS = re.compile(r"reports/(data_docs/.*|model_card\.md)")  # with times and ids between their words
_TIMES = re.compile(r"\d{8}T\d{6}\.\d+Z")  # in names


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Kill a run of the tests' tiny demo, each stage at random moments, and compare its results."""
    sys.path.append(str(_TESTS))
    from workspaces import make_tiny

    generator, tally = random.Random(seed), Tally()
    target = (_CHEAP,) if tries < _STAGES else ()
    undisturbed = make_tiny(scratch / "undisturbed" / "landmarks")
    stages = list(_run(undisturbed, target))
    killed = make_tiny(scratch / "killed" / "landmarks")
    points = sorted(
        (place % len(stages), round(generator.random(), 3)) for place in _spread(tries, len(stages), generator)
    )
    for place, moment in points:
        stage = _kill(killed, target, stages[place:], moment)
        tally.count(f"killed {stage.split('@')[0]}")
    list(_run(killed, target))
    for difference in _compare(undisturbed.root, killed.root):
        tally.fail(f"{difference} after kills at {points} (seed {seed})")
    for left in _find_leftovers(killed):
        tally.fail(f"{left} after kills at {points} (seed {seed})")
    return tally


def _spread(tries: int, stages: int, generator: random.Random) -> Iterator[int]:
    """Every stage as often as any other; where there are fewer tries than stages, random ones."""
    for _ in range(tries // stages):
        yield from range(stages)
    yield from generator.sample(range(stages), tries % stages)


def _start(workspace: Any, target: Sequence[str]) -> "subprocess.Popen[str]":
    process: subprocess.Popen[str] = workspace.start(
        "dvc",
        "repro",
        *target,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
        start_new_session=True,
    )
    return process


def _run(workspace: Any, target: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Run all stages that are not finished, and yield the name and the seconds of each."""
    printed: str = ""
    found: list[tuple[str, float]] = []
    with _start(workspace, target) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed += line
            if started := _STARTED.match(line):
                found.append((started[1], time.monotonic()))
    if process.returncode:
        raise SystemExit(f"dvc repro, not killed, exits with {process.returncode}:\n{printed[-3000:]}")
    ends = [*(start for _, start in found[1:]), time.monotonic()][: len(found)]
    yield from ((stage, end - start) for (stage, start), end in zip(found, ends, strict=True))


def _kill(workspace: Any, target: Sequence[str], stages: Sequence[tuple[str, float]], moment: float) -> str:
    """Kill everything at a moment, 0 to 1, of the first of the stages that is not finished; return its name."""
    process, seconds = _start(workspace, target), dict(stages)
    assert process.stdout is not None
    names = (started[1] for line in process.stdout if (started := _STARTED.match(line)))
    stage = next((name for name in names if name in seconds), "nothing")
    try:
        process.wait(seconds.get(stage, 0) * moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return stage


def _compare(first: Path, second: Path) -> Iterator[str]:
    expected, found = _digest_results(first), _digest_results(second)
    for path in sorted({*expected, *found}):
        if path not in found:
            yield f"{path} is missing"
        elif path not in expected:
            yield f"{path} is too much"
        elif expected[path] != found[path]:
            yield f"{path} differs"


def _digest_results(root: Path) -> dict[str, str]:
    files = (path for part in _RESULTS for path in (root / part).rglob("*") if path.is_file())
    named = ((path.relative_to(root).as_posix(), path) for path in files)
    return {_TIMES.sub("", name): _digest(path, name) for name, path in named}


def _digest(path: Path, name: str) -> str:
    if _TEXTS.fullmatch(name):
        return ""
    if name.startswith("reports/") and path.suffix == ".json":
        return compute_fingerprint(_mask(json.loads(path.read_text())))
    if path.name == "history.csv":
        return pd.read_csv(path).drop(columns=[*_OWN], errors="ignore").to_csv()
    return compute_sha256(path)


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask(item) for key, item in value.items() if key not in _OWN}
    return [_mask(item) for item in value] if isinstance(value, list) else value


def _find_leftovers(workspace: Any) -> Iterator[str]:
    root: Path = workspace.root
    for path in root.rglob("*.tmp"):
        yield f"{path.relative_to(root)} was left"
    for folder in (root / ".work").glob("*/*/"):
        yield f"{folder.relative_to(root)} was left"
    for line in workspace.run("git", "status", "--porcelain", "--untracked-files=all").splitlines():
        if not line.endswith(("dvc.lock", ".gitignore")):
            yield f"git shows {line}"
    if (root / "mlflow.db").exists() and (root / "reports" / "registration.json").exists():
        yield from _find_unfinished(root)
    for item in [*workspace.bentos.glob("models/*/*/"), *workspace.bentos.glob("bentos/*/*/")]:
        if not (item / ".whole").is_file():
            yield f"{item.relative_to(workspace.bentos)} in the Bento store is half"


def _find_unfinished(root: Path) -> Iterator[str]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    if sorted((run.info.run_name, run.info.status) for run in runs) != [
        ("augmented", "FINISHED"),
        ("plain", "FINISHED"),
    ]:
        yield f"the runs in the store are {[(run.info.run_name, run.info.status) for run in runs]}"
    models = client.search_logged_models(experiments)
    if sorted((model.name, str(model.status)) for model in models) != [("augmented", "READY"), ("plain", "READY")]:
        yield f"the models in the store are {[(model.name, str(model.status)) for model in models]}"
