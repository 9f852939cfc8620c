"""Workspaces for the end-to-end tests: copies of this project in which the real pipeline runs.

The demo as it is shipped runs once and its result is shared; a tiny one, of four landmarks, serves the tests that run
stages again.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tiny_params import write_tiny_params

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Workspace:
    """A copy of the project with its own git history, tracking store and Bento store."""

    root: Path
    bentos: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TRACKING", "DVC_EXP"))
        }
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return kept | {"PATH": path, "BENTOML_HOME": str(self.bentos)}

    def start(self, *command: str, **options: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(command, cwd=self.root, env=self.environment, text=True, **options)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command and return all it printed; its failure shows the end of that."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, text=True, stdout=-1, stderr=subprocess.STDOUT, check=False
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-6000:]}")
        return done.stdout

    def time(self, *command: str, times: int = 3) -> float:
        """Seconds of processor time of the fastest of a few runs: other tests run beside this one."""
        seconds = []
        for _ in range(times):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            self.run(*command)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        return min(seconds)

    def change_params(self, changes: dict[str, dict[str, Any]]) -> None:
        yaml = YAML()
        path = self.root / "params.yaml"
        content = yaml.load(path.read_text())
        for section, values in changes.items():
            content[section].update(values)
        with path.open("w") as stream:
            yaml.dump(content, stream)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", message)


def copy_project(folder: Path, names: Sequence[str] | None = None) -> Workspace:
    """The files git tracks or would track, as they are now, in a repository of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in names or [name for name in listed.split("\0") if name]:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    workspace = Workspace(folder, folder.with_name(f"{folder.name}-bentos"))
    workspace.run("git", "init", "-q")
    return workspace


def make_tiny(folder: Path) -> Workspace:
    workspace = copy_project(folder)
    write_tiny_params(workspace.root / "params.yaml", {"train": {"epochs": 3, "learning_rate": 1e-3}})
    (workspace.root / "dvc.lock").unlink(missing_ok=True)
    workspace.commit("Begin")
    return workspace
