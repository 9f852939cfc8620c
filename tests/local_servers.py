"""Real servers on this machine for the time of a test."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def run(
    command: list[str], log: Path, user: str | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server with all that it starts, ended with the block."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            user=user,
            cwd=log.parent,
            env=os.environ | environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            # SIGINT is what PostgreSQL calls a fast shutdown
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


def wait_for(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if is_ready():
            return
        time.sleep(0.1)
    pytest.fail(f"{process.args!r} did not get ready:\n{log.read_text(errors='replace')}")


def answers(address: str) -> bool:
    """Whether an address answers with success."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(address).is_success
    return False
