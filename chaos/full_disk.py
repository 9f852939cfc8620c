"""Full and read-only disks: a small disk of its own, on which every command that writes meets both.

The disk is a tmpfs, mounted where only this campaign sees it (Linux, as root or with user namespaces). Project, home,
Bento store and temporary folder lie on it.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from chaos.campaign import Tally
from landmarks.evaluation.receipt import read_evaluation_receipt, write_evaluation_receipt
from tiny_params import TINY

PROMISE = (
    "Where a disk is full or read-only, every command that writes ends with one sentence, leaves nothing half-written, "
    "and succeeds when it is run again with room."
)
TRIES = 42
_ROOT = Path(__file__).parents[1]
_PROJECT = ("bentofile.yaml", "pyproject.toml", "README.md", "LICENSE", "src", "experiments")
_SIZE = 4 << 30
_SECONDS = 900
_FAULTS = ("full", "read-only", "filling")
_SAID = {
    "full": "no space left",
    "filling": "no space left",
    "read-only": "Read-only file system|unable to open database file",
}


_VALIDATION = ("validation.json", "validation.html", "data_docs")


@dataclass(frozen=True)
class _Step:
    """A command that writes; `writes` is roughly how many bytes, `outs` are its results."""

    command: tuple[str, ...]
    writes: int
    outs: tuple[str, ...]
    lost: tuple[str, ...] = ()  # what is deleted before it, so that it has something to do


_STEPS = (
    _Step(("params", "tiny"), 4_000, ("params.yaml",)),
    _Step(("acquire",), 400_000, ("data/raw",)),
    _Step(
        ("validate",),
        600_000,
        ("data/validated", "reports/validation.json", "reports/validation.html", "reports/data_docs"),
    ),
    _Step(("select",), 150_000, ("data/selected", "reports/selection")),
    _Step(("prepare", "--workers", "1"), 500_000, ("data/shards", "reports/preparation")),
    _Step(("train", "plain"), 300_000_000, ("models/plain/network", "reports/train/plain")),
    _Step(("index", "plain"), 90_000_000, ("models/plain/bundle", "models/plain/index")),
    _Step(("evaluate", "plain"), 1_500_000, ("reports/evaluate/plain",)),
    _Step(("register",), 90_000_000, ("reports/registration.json", "reports/model_card.md")),
    _Step(("package",), 30_000_000, ("reports/package.json",)),
    _Step(("sync",), 90_000_000, ("mlflow.db",), ("mlflow.db", "mlartifacts")),
    _Step(
        ("submit", "data/raw/samples", "out/submission.csv", "--model", "models/plain"), 300, ("out/submission.csv",)
    ),
    _Step(("drift", "served.jsonl", "--reference", "served"), 100_000, ("reports/drift",)),
    _Step(("params", "default"), 4_000, ()),
)


def can_mount() -> bool:
    """Whether a disk can be mounted here."""
    return _find_unshare() is not None


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Let the commands meet a full and a read-only disk, in the order of the pipeline, from the cheapest on."""
    unshare = _find_unshare()
    if unshare is None:
        raise SystemExit("No disk can be mounted here: this needs Linux, and root or user namespaces.")
    command = [*unshare, sys.executable, "-m", "chaos.full_disk", str(scratch), str(tries), str(seed)]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    tally = Tally(failures=found["failures"])
    tally.outcomes.update(found["outcomes"])
    return tally


def _find_unshare() -> list[str] | None:
    for options in ("-m", "-Urm"):
        command = [shutil.which("unshare") or "unshare", options]
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            return None
    return None


class _Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        _mount("tmpfs", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder))

    def break_(self, fault: str, free: int) -> None:
        """Leave `free` bytes, or make it read-only."""
        status = os.statvfs(self.folder)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        _mount("remount", "-o", "remount,ro" if fault == "read-only" else f"remount,size={used + free}", self.folder)

    def repair(self) -> None:
        _mount("remount", "-o", f"remount,rw,size={_SIZE}", self.folder)


def _mount(what: str, *arguments: object) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mount ({what}): {done.stderr}")


class _Project:
    def __init__(self, disk: Path) -> None:
        self.disk, self.folder = disk, disk / "project"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TRACKING", "DVC_EXP"))
        } | {
            "HOME": str(disk / "home"),
            "TMPDIR": str(disk / "tmp"),
            "BENTOML_HOME": str(disk / "bentoml"),
            "PYTHONPATH": str(_ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in ("home", "tmp", "project"):
            (disk / name).mkdir()
        for name in _PROJECT:
            if (_ROOT / name).is_dir():
                shutil.copytree(_ROOT / name, self.folder / name)
            else:
                shutil.copy2(_ROOT / name, self.folder / name)
        YAML().dump(TINY, self.folder / "experiments" / "tiny.yaml")

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "landmarks.cli", *command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )

    def list_outs(self, step: _Step) -> dict[str, dict[str, int]]:
        """The files of each result there is, with their sizes."""
        found: dict[str, dict[str, int]] = {}
        for name in step.outs:
            out = self.folder / name
            if out.exists():
                files = [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file())
                found[name] = {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files}
        return found

    def find_leftovers(self) -> list[str]:
        found = [*self.disk.rglob("*.tmp"), *(self.disk / "tmp").glob("landmarks-*")]
        return [path.relative_to(self.disk).as_posix() for path in found]


def _plan(tries: int) -> Iterator[tuple[_Step, list[str]]]:
    """Divide the tries among the steps: each fault once for every step, and further tries on disks that fill up."""
    for number, step in enumerate(_STEPS):
        left = tries - number * len(_FAULTS)
        if left <= 0:
            return
        more = max(0, tries - len(_STEPS) * len(_FAULTS)) // len(_STEPS)
        yield step, [*_FAULTS[:left], *["filling"] * more]


def _attack_here(scratch: Path, tries: int, seed: int) -> Tally:
    generator, tally = random.Random(seed), Tally()
    disk = _Disk(scratch / "disk")
    project = _Project(disk.folder)
    for step, faults in _plan(tries):
        if step.command[0] == "drift":
            _write_request_log(project.folder)
        for name in step.lost:
            path = project.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        before = project.list_outs(step)
        seen: list[tuple[str, dict[str, dict[str, int]]]] = []
        for fault in faults:
            free = int(step.writes * generator.random()) if fault == "filling" else 0
            named = f"{' '.join(step.command)} ({fault}{f', {free:,} bytes free' if free else ''}, seed {seed})"
            disk.break_(fault, free)
            try:
                done = project.run(step.command)
            finally:
                disk.repair()
            if done.returncode == 0 and fault == "filling":
                tally.count("had room")
                continue
            problems = [*_judge(done, fault), *(f"left {path}" for path in project.find_leftovers())]
            seen.append((named, project.list_outs(step)))
            _record(tally, f"{step.command[0]} said it", named, problems, done.stdout)
        done = project.run(step.command)
        after = project.list_outs(step)
        if done.returncode or set(after) != set(step.outs):
            tally.fail(
                f"{' '.join(step.command)}, run again with room, exits with {done.returncode}: {done.stdout[-800:]}"
            )
            return tally
        tally.count("succeeded with room")
        for named, outs in seen:
            for name, files in outs.items():
                if files != before.get(name) and set(files) != set(after[name]):
                    tally.fail(f"{named} left {name} half-written: {sorted(set(after[name]) - set(files))[:3]} missing")
    return tally


def _judge(done: "subprocess.CompletedProcess[str]", fault: str) -> list[str]:
    sentences = [line for line in done.stdout.splitlines() if line.startswith("Error: ")]
    problems = []
    if done.returncode != 1:
        problems.append(f"exit code {done.returncode}")
    if "Traceback" in done.stdout:
        problems.append("a traceback")
    if len(sentences) != 1 or not re.search(_SAID[fault], sentences[0]):
        problems.append(f"{len(sentences)} sentences: {' / '.join(sentences)[:300]}")
    return problems


def _record(tally: Tally, outcome: str, named: str, problems: list[str], printed: str) -> None:
    if problems:
        tally.fail(f"{named}: {'; '.join(problems)}. It printed: …{printed[-600:]!r}")
    else:
        tally.count(outcome)


def _write_request_log(folder: Path) -> None:
    import numpy as np
    import pandas as pd

    evaluation = folder / "reports" / "evaluate" / "plain"
    rows = pd.read_csv(evaluation / "predictions.csv")
    embeddings = np.load(evaluation / "test_embeddings.npy").astype(float)
    served = folder / "served"  # the tiny demo has fewer test photos than a comparison needs
    served.mkdir()
    pd.concat([rows] * 50).to_csv(served / "predictions.csv", index=False)
    np.save(served / "test_embeddings.npy", np.concatenate([embeddings] * 50))
    write_evaluation_receipt(served, read_evaluation_receipt(evaluation))
    lines = [
        json.dumps(
            {
                "time": "2026-01-01T00:00:00Z",
                "model_version": "1",
                "score": float(rows["score"][number % len(rows)]),
                "landmark_score": float(rows["landmark_score"][number % len(rows)]),
                "embedding": embeddings[number % len(embeddings)].tolist(),
            }
        )
        for number in range(200)
    ]
    (folder / "served.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    result = _attack_here(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"outcomes": result.outcomes, "failures": result.failures}))
