"""The HTTP server: clients that take too long, and its stop."""

import asyncio
import http.client
import socket
import threading
import time
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from landmarks.serving import server
from landmarks.serving.server import Server
from local_servers import find_free_port

LIMIT = 1.0
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n"


class Running:
    """A server in a thread of its own, whose application answers after a while, and lets nobody read a body."""

    def __init__(self, answer: bytes = b"ok", seconds: float = 0.0) -> None:
        self._answer, self._seconds = answer, seconds
        # on a port that is asked for, as by `bentoml serve`; Linux gives others up when nobody listens
        self._listening = socket.create_server(("127.0.0.1", find_free_port()))
        self.address = self._listening.getsockname()
        # another process has the listening socket as well
        self.other = self._listening.dup()
        self.server = Server(uvicorn.Config(self._app, log_level="critical", lifespan="off", interface="asgi3"))
        self.thread = threading.Thread(target=self.server.run, args=([self._listening],))

    def __enter__(self) -> "Running":
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.other.close()

    def stop(self) -> None:
        self.server.should_exit = True

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=5)

    async def _app(self, scope: Scope, _: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await asyncio.sleep(self._seconds)
        length = str(len(self._answer)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": self._answer})


@pytest.fixture(autouse=True)
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CLIENT_SECONDS", LIMIT)


def trickle(connection: socket.socket) -> float:
    """Send a byte now and then until the server closes the connection; return the seconds that took."""
    begun = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() < begun + 10:
        try:
            connection.sendall(b"a")
            if not connection.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


def is_closed_after(connection: socket.socket) -> float:
    begun = time.monotonic()
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - begun


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"POS",
        HEAD,
        HEAD.replace(b"3", b"100000") + b"\r\na",
        HEAD.replace(b"content-length: 3", b"transfer-encoding: chunked") + b"\r\nfffff\r\n",
        HEAD + b"\r\nabc" + HEAD,
    ],
    ids=["nothing", "method", "head", "body-after-the-answer", "chunk-after-the-answer", "second-head"],
)
def test_a_request_that_trickles_in_is_cut_off(start: bytes) -> None:
    with Running() as running, running.connect() as connection:
        connection.sendall(start)
        assert LIMIT / 2 < trickle(connection) < LIMIT + 8


def test_a_client_that_says_nothing_is_cut_off() -> None:
    with Running() as running, running.connect() as connection:
        assert LIMIT / 2 < is_closed_after(connection) < LIMIT + 8


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with Running(bytes(20_000_000)) as running, running.connect() as connection:
        connection.sendall(HEAD + b"\r\nabc")
        end = time.monotonic() + LIMIT + 8
        while running.server.server_state.connections and time.monotonic() < end:
            time.sleep(0.05)
        assert not running.server.server_state.connections


def test_requests_within_the_limit_share_a_connection() -> None:
    with Running() as running, running.connect() as connection:
        for _ in range(4):
            connection.sendall(HEAD)
            time.sleep(0.4)  # in all more than the limit
            connection.sendall(b"\r\nabc")
            assert read_answer(connection) == b"ok"


def test_an_answer_may_take_longer_than_the_limit() -> None:
    with Running(seconds=2 * LIMIT) as running, running.connect() as connection:
        connection.sendall(HEAD + b"\r\nabc")
        assert read_answer(connection) == b"ok"


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_body_that_is_not_http_ends_the_connection_without_a_fault(
    seconds: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "CLIENT_SECONDS", 60.0)
    with Running(seconds=seconds) as running, running.connect() as connection:
        connection.sendall(HEAD.replace(b"content-length: 3", b"transfer-encoding: chunked") + b"\r\n")
        time.sleep(0.1)
        connection.sendall(b"zz\r\n\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 400 " if seconds else b"HTTP/1.1 200 ")
        assert is_closed_after(connection) < 8
        time.sleep(seconds)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_a_stop_answers_what_has_begun_and_refuses_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAST_SECONDS", 8.0)
    with Running(seconds=1.5) as running, running.connect() as begun, running.connect() as new:
        begun.sendall(HEAD + b"\r\nabc")
        time.sleep(0.3)
        running.stop()
        time.sleep(0.5)
        new.sendall(HEAD + b"\r\nabc")  # its connection was accepted before
        with pytest.raises(ConnectionRefusedError):
            running.connect()
        assert read_answer(begun) == b"ok"
        assert read_answer(new) == b"ok"
        assert new.recv(1) == b""


def test_a_stop_does_not_wait_for_connections_without_a_request() -> None:
    with Running() as running, running.connect() as idle:
        time.sleep(0.1)
        running.stop()
        begun = time.monotonic()
        running.thread.join(10)
        assert time.monotonic() - begun < server.LAST_SECONDS + 8
        assert _read_end(idle) == b""


def test_another_worker_can_listen_again() -> None:
    with Running() as running:
        running.stop()
        running.thread.join(10)
        running.other.listen()
        with running.connect() as connection, running.other.accept()[0] as accepted:
            accepted.sendall(b"hello")
            assert connection.recv(5) == b"hello"


def read_answer(connection: socket.socket) -> bytes:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.read()


def _read_end(connection: socket.socket) -> Any:
    try:
        return connection.recv(1)
    except ConnectionError:
        return b""
