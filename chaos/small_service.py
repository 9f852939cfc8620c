"""A small service for the campaigns that attack it: three colours as landmarks, with the limits that the project ships.

The helpers of the tests are found through the search path, as `python -m chaos` and pytest set it.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from colours import PROJECT, RUN_ID, find_worker, pack, serve, write_recognizer, write_workspace

from landmarks.params import ServiceParams, read_params
from landmarks.serving.packaging import import_recognizer

RECEIVE_SECONDS = 5.0  # less than shipped, so that a campaign need not wait


@dataclass(frozen=True)
class Served:
    """A running service.

    Attributes:
        address: `http://HOST:PORT`.
        worker: the process that answers.
        log: what the service writes.
    """

    address: str
    worker: psutil.Process
    log: Path

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self.address.rsplit(":", 1)[1])

    def read_memory(self) -> float:
        """Resident memory of the worker, in MB."""
        return float(self.worker.memory_info().rss) / 1e6

    def read_peak(self) -> float:
        """The most memory that was ever resident, in MB."""
        lines = Path(f"/proc/{self.worker.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


@contextlib.contextmanager
def serve_small(scratch: Path) -> Iterator[Served]:
    """Pack a small recognizer and serve it, with stores of its own, while the block runs."""
    home = scratch / "bentoml"
    for folder in (home / "models", home / "bentos", home / "tmp", scratch / "recognizer", scratch / "workspace"):
        folder.mkdir(parents=True)
    settings = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    # another process, because BentoML finds its stores only once
    packing = [sys.executable, "-m", "chaos.small_service", str(scratch)]
    search = os.pathsep.join([str(PROJECT), str(PROJECT / "tests/serving")])
    subprocess.run(packing, check=True, cwd=PROJECT, env=os.environ | settings | {"PYTHONPATH": search})
    with serve([], scratch / "workspace", settings=settings) as address:
        yield Served(address, find_worker(address), scratch / "workspace/serve.log")


def _pack_small(scratch: Path) -> None:
    shipped = read_params(PROJECT / "experiments/default.yaml").service
    limits = ServiceParams.model_validate(shipped.model_dump() | {"receive_seconds": RECEIVE_SECONDS})
    tag = import_recognizer(write_recognizer(scratch / "recognizer"), "colours", "3", RUN_ID, {})
    write_workspace(scratch / "workspace", pack(tag, limits))


if __name__ == "__main__":
    _pack_small(Path(sys.argv[1]))
