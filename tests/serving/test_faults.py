"""Faults of clients, of the network and of operation, against `bentoml serve`."""

import asyncio
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from colours import BENTOML, find_server, make_photo, pack, serve, write_workspace

from landmarks.params import ServiceParams
from landmarks.serving.access import KEY_VARIABLE
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.request_log import PATH_VARIABLE

pytestmark = pytest.mark.slow

RED = make_photo((255, 0, 0))
HEAD = "POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {length}\r\n\r\n"


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def start_upload(address: str, photo: bytes, part: int) -> socket.socket:
    connection = connect(address)
    connection.sendall(HEAD.format(length=len(photo)).encode() + photo[:part])
    return connection


def read_answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def ask(address: str, **options: object) -> httpx.Response:
    return httpx.post(f"{address}/classify", files={"image": RED}, timeout=20, **options)  # type: ignore[arg-type]


def test_an_upload_that_takes_too_long(address: str, limits: ServiceParams) -> None:
    start = time.monotonic()
    with start_upload(address, RED, 10) as connection:
        status, answer = read_answer(connection)
    assert status == 408
    assert answer["error"] == "The body did not arrive within 2 seconds."
    assert time.monotonic() - start < limits.receive_seconds + 2
    assert ask(address).status_code == 200


def test_an_upload_byte_by_byte(address: str) -> None:
    with start_upload(address, RED, 0) as connection:
        connection.settimeout(0.1)
        for byte in RED:
            connection.sendall(bytes([byte]))
            try:
                status = connection.recv(100, socket.MSG_PEEK)
            except TimeoutError:
                continue
            break
        assert status.startswith(b"HTTP/1.1 408")


def test_slow_uploads_keep_nobody_out(address: str, limits: ServiceParams) -> None:
    with ExitStack() as stack:
        for _ in range(2 * limits.max_waiting):
            stack.enter_context(start_upload(address, RED, 10))
            stack.enter_context(connect(address)).sendall(b"POST /classify HT")
        start = time.monotonic()
        assert [ask(address).status_code for _ in range(5)] == [200] * 5
        assert time.monotonic() - start < limits.receive_seconds


def test_bodies_that_would_fill_the_memory_are_refused(address: str, limits: ServiceParams) -> None:
    photo = bytes(limits.max_body_bytes)
    with ExitStack() as stack:
        count = limits.max_waiting_bytes // limits.max_body_bytes
        for _ in range(count):
            stack.enter_context(start_upload(address, photo, len(photo) - 1))
        answers = [httpx.post(f"{address}/classify", content=photo, headers={"content-type": "image/png"})]
        time.sleep(limits.receive_seconds)
    answers.append(ask(address))
    assert [answer.status_code for answer in answers] == [503, 200]
    assert answers[0].headers["retry-after"] == "1"


def test_clients_that_leave_at_any_point(address: str, workspace: Path) -> None:
    for part in (0, 10, len(RED) // 2, len(RED)):
        start_upload(address, RED, part).close()
    assert ask(address).status_code == 200
    assert "Traceback" not in (workspace / "serve.log").read_text(encoding="utf-8")


def test_far_more_requests_than_it_can_answer(address: str, limits: ServiceParams) -> None:
    """Those above the limit are told so at once, the others are answered, and then all is as before."""
    photo = make_photo((255, 0, 0), side=1990)

    async def send(client: httpx.AsyncClient) -> tuple[int, float]:
        start = time.monotonic()
        answer = await client.post(f"{address}/classify", content=photo, headers={"content-type": "image/png"})
        assert ("retry-after" in answer.headers) == (answer.status_code == 503)
        return answer.status_code, time.monotonic() - start

    async def send_all() -> list[tuple[int, float]]:
        unlimited = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=unlimited, timeout=60) as client:
            return list(await asyncio.gather(*(send(client) for _ in range(500))))

    answers = asyncio.run(send_all())
    statuses = [status for status, _ in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= limits.max_waiting
    refused = sorted(seconds for status, seconds in answers if status == 503)
    answered = sorted(seconds for status, seconds in answers if status == 200)
    assert refused[len(refused) // 2] < answered[-1]
    assert httpx.get(f"{address}/readyz", timeout=5).status_code == 200
    assert [ask(address).status_code for _ in range(5)] == [200] * 5


def test_who_is_being_answered_when_it_is_stopped_gets_the_answer(workspace: Path) -> None:
    with serve([], workspace) as address:
        server = find_server(address)
        with start_upload(address, RED, len(RED) // 2) as connection:
            time.sleep(0.2)  # it has begun to read
            server.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(RED[len(RED) // 2 :])
            status, answer = read_answer(connection)
        assert status == 200
        assert "predictions" in answer
        server.wait(20)
        with pytest.raises(httpx.TransportError):
            ask(address)


def count_answers(address: str) -> int:
    pattern = r'request_total\{endpoint="/classify",http_response_code="200".*\} (\d+)'
    return sum(map(int, re.findall(pattern, httpx.get(f"{address}/metrics").text)))


def test_two_versions_side_by_side(
    receipt: PackageReceipt, limits: ServiceParams, workspace: Path, tmp_path: Path
) -> None:
    other = pack(receipt.model_tag, limits, version="4")
    (tmp_path / "workspace").mkdir()
    folder = write_workspace(tmp_path / "workspace", other)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with ExitStack() as stack:
        # one model store, in which BentoML has one folder for the metrics of all services
        old = stack.enter_context(serve([], workspace, settings={"TMPDIR": str(temporary)}))
        assert ask(old).status_code == 200
        new = stack.enter_context(serve([], folder, settings={"TMPDIR": str(temporary)}))
        assert ask(old).status_code == 200
        assert [count_answers(address) for address in (old, new)] == [2, 0]
        told = [httpx.get(f"{address}/model").json() for address in (old, new, old)]
        assert [ask(address).status_code for address in (old, new)] == [200, 200]
    assert [(answer["version"], answer["bento"]) for answer in told] == [
        ("3", receipt.tag),
        ("4", other.tag),
        ("3", receipt.tag),
    ]
    assert list(temporary.glob("landmarks-metrics-*")) == []


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "served.jsonl"


@pytest.fixture(scope="module")
def private(receipt: PackageReceipt, log: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a key, and a request log."""
    folder = write_workspace(tmp_path_factory.mktemp("private"), receipt)
    with serve([], folder, settings={KEY_VARIABLE: "secret", PATH_VARIABLE: str(log)}) as address:
        yield address


def test_documents_and_probes_need_no_key(private: str) -> None:
    for path in ("/", "/docs.json", "/livez", "/readyz", "/metrics", "/static_content/swagger-ui.css"):
        assert httpx.get(f"{private}{path}").status_code == 200
    assert ask(private).status_code == 401
    assert httpx.get(f"{private}/model").status_code == 401
    assert httpx.get(f"{private}/model", headers={"x-api-key": "secret"}).status_code == 200


def test_every_photo_answered_is_one_line_in_the_log(private: str, log: Path) -> None:
    assert log.read_text(encoding="utf-8") == ""
    key = {"x-api-key": "secret"}
    with httpx.Client(headers=key) as client:
        named = client.post(f"{private}/classify", files={"image": RED}).json()
        client.post(f"{private}/search", files={"image": make_photo((0, 0, 255))})
        client.post(f"{private}/embed", files={"image": make_photo((0, 255, 0))})
        client.post(f"{private}/classify_batch", files=[("images", RED), ("images", b"no photo"), ("images", RED)])
        client.post(f"{private}/classify", files={"image": b"no photo"})
    lines = wait_for_lines(log, 5)
    assert sorted(line["endpoint"] for line in lines) == [
        "/classify",
        "/classify_batch",
        "/classify_batch",
        "/embed",
        "/search",
    ]
    by_endpoint = {line["endpoint"]: line for line in lines}
    assert [by_endpoint[path]["landmark_id"] for path in ("/classify", "/search", "/embed")] == [7, 40, 11]
    assert by_endpoint["/classify"]["score"] == named["predictions"][0]["score"]
    assert by_endpoint["/embed"]["embedding"] == [0.0, 1.0, 0.0]
    assert "127.0.0.1" not in log.read_text(encoding="utf-8")


def wait_for_lines(path: Path, count: int) -> list[dict[str, Any]]:
    end = time.monotonic() + 30
    while len(lines := path.read_text(encoding="utf-8").splitlines()) < count:
        assert time.monotonic() < end
        time.sleep(0.02)
    return [json.loads(line) for line in lines]


def test_a_log_that_cannot_be_written(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(workspace, tmp_path / "copy"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "file" / "log"))
    done = subprocess.run([str(BENTOML), "serve"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "The request log" in done.stderr
    assert "Traceback" not in done.stderr
