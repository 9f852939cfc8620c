"""Hostile requests of every kind against a running service, while others ask it honestly."""

import contextlib
import http.client
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from hostile_requests import FORGED, MAKERS, PHOTO

from chaos.campaign import Tally
from chaos.small_service import RECEIVE_SECONDS, Served, serve_small

PROMISE = (
    "No request makes the service answer 5xx, stall, forge a line of its log, grow for ever, "
    "or keep others from their answers."
)
TRIES = 1000
CLIENTS = 4
ANSWER_SECONDS = 30.0  # without an answer for so long, a client counts as left hanging
LIVE_SECONDS = 0.5
MOST_MEGABYTES = 700.0
MOST_METRICS = 300_000  # bytes
_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4} \[[A-Z]+\] |  |Starting|[A-Z][\w ]*: ")


_SILENT = ("says nothing", "never reads its answers")

_POLL = """
import http.client, sys, time
worst = 0.0
while True:
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
    connection.request("GET", "/livez")
    if connection.getresponse().status != 200:
        print("not alive", flush=True)
    connection.close()
    took = time.monotonic() - begun
    if took > worst:
        worst = took
        print(f"{worst:.3f}", flush=True)
    time.sleep(0.05)
"""


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Send that many hostile requests, some of them at once, and ask honestly in between."""
    tally = Tally()
    with serve_small(scratch) as served:
        for _ in range(20):
            _ask_honestly(served, tally)
        descriptors = served.worker.num_fds()
        with _poll(served, scratch) as worst, _hold_slow_connections(served, tally):
            _send_all(served, tries, seed, tally)
        _check_service(served, tally, descriptors, worst)
    return tally


def _send_all(served: Served, tries: int, seed: int, tally: Tally) -> None:
    kinds = list(MAKERS)

    def send(number: int) -> None:
        kind = kinds[number % len(kinds)]
        request = MAKERS[kind](random.Random(f"{seed}-{number}"))
        outcome = send_hostile(served.port, request)
        if is_sound(outcome):
            tally.count(outcome)
        else:
            tally.fail(f"{kind} (number {number}): {outcome}; it began with {request[:120]!r}")
        if number % 25 == 0:
            _ask_honestly(served, tally)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(send, range(tries)))


def send_hostile(port: int, request: bytes) -> str:
    """Send the bytes of a request; return the status of the last answer, `closed`, or what is wrong with it."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        with contextlib.suppress(OSError):  # the answer may come, and the connection close, before all is sent
            connection.sendall(request)
        status = "closed"
        try:
            answer = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode("latin-1"))
            answer.begin()
            status = str(answer.status)
            body = answer.read()
        except TimeoutError:
            return "no answer"
        except http.client.IncompleteRead:
            return f"{status} without all of its body"
        except (OSError, http.client.HTTPException):
            return status
    if answer.headers["location"]:
        return f"{status} to {answer.headers['location']}"
    if b"Traceback" in body or b"site-packages" in body:
        return f"{status} with a traceback"
    return status


def is_sound(outcome: str) -> bool:
    """Whether a service may end a hostile request like this."""
    return outcome == "closed" or (outcome.isdigit() and int(outcome) < 500)


def _ask_honestly(served: Served, tally: Tally) -> None:
    answer = httpx.post(f"{served.address}/classify", files={"image": PHOTO}, timeout=ANSWER_SECONDS)
    if answer.status_code != 200 or answer.json()["predictions"][0]["name"] != "Red Tower":
        tally.fail(f"an honest request was answered {answer.status_code}: {answer.text[:200]}")


@contextlib.contextmanager
def _poll(served: Served, scratch: Path) -> Iterator[list[float]]:
    """Ask /livez all the time, from another process; afterwards the list holds the longest wait in seconds."""
    worst: list[float] = []
    output = scratch / "livez"
    with output.open("w") as stream:
        process = subprocess.Popen([sys.executable, "-c", _POLL, str(served.port)], stdout=stream)
    try:
        yield worst
    finally:
        process.terminate()
        process.wait()
    worst.append(max((float(line) if line[0].isdigit() else 60.0 for line in output.read_text().split()), default=60.0))


@contextlib.contextmanager
def _hold_slow_connections(served: Served, tally: Tally) -> Iterator[None]:
    """Open connections that never end their request or never read; at the end all must have been closed."""
    begun = time.monotonic()
    head = b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 100000\r\n"
    many = b"GET /docs.json HTTP/1.1\r\nhost: x\r\n\r\n" * 300
    starts = {
        "says nothing": b"",
        "begins a request line": b"GET /liv",
        "never ends its head": head,
        "never ends its body": head + b"\r\nabc",
        "never ends a body that nobody reads": head.replace(b"/classify", b"/nothing") + b"\r\nabc",
        "never reads its answers": many,
        "never ends a chunk": head.replace(b"content-length: 100000", b"transfer-encoding: chunked") + b"\r\nfff\r\na",
    }
    with contextlib.ExitStack() as stack:
        held = []
        for what, start in starts.items():
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", served.port))
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.send(start)
            held.append((what, connection))
        yield
        for what, connection in held:
            while time.monotonic() - begun < RECEIVE_SECONDS + 30 and not _is_closed(served, connection, what):
                time.sleep(0.5)
            if _is_closed(served, connection, what):
                tally.count("slow connection closed")
            else:
                tally.fail(f"a client that {what} is still connected after {time.monotonic() - begun:.0f} s")


def _is_closed(served: Served, connection: socket.socket, what: str) -> bool:
    """Send another byte, and see whether the service still has its end of the connection."""
    port = connection.getsockname()[1]
    with contextlib.suppress(OSError):
        connection.send(b"" if what in _SILENT else b"a")
    return not any(end.raddr and end.raddr.port == port for end in served.worker.net_connections("tcp"))


def _check_service(served: Served, tally: Tally, descriptors: int, worst: Sequence[float]) -> None:
    end = time.monotonic() + 20
    while served.worker.num_fds() > descriptors + 2 and time.monotonic() < end:
        time.sleep(0.2)
    _ask_honestly(served, tally)
    metrics = httpx.get(f"{served.address}/metrics", timeout=ANSWER_SECONDS).content
    lines = served.log.read_text(encoding="utf-8", errors="replace").split("\n")
    figures = {
        "s at most for /livez": (worst[0], LIVE_SECONDS),
        "MB resident at most": (round(served.read_peak()), MOST_MEGABYTES),
        "descriptors more than before": (served.worker.num_fds() - descriptors, 2),
        "kB of /metrics": (round(len(metrics) / 1000), MOST_METRICS / 1000),
        "forged lines in the log": (sum(line.startswith(FORGED) or not line.isprintable() for line in lines), 0),
        "broken lines in the log": (sum(bool(line) and not _LINE.match(line) for line in lines), 0),
        "tracebacks in the log": (sum("Traceback" in line for line in lines), 0),
    }
    for what, (found, most) in figures.items():
        tally.figures[what] = found
        if found > most:
            tally.fail(f"{found:g} {what}; {most:g} are allowed")
