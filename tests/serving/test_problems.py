"""Every error has one form, whoever answers it, and the id of its request stands in the answer and in the log."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import anyio.from_thread
import httpx
import pytest
from colours import Client, check_problem, make_photo, serve, write_workspace

from landmarks.serving.access import ORIGINS_VARIABLE
from landmarks.serving.app import build_app
from landmarks.serving.backend import Backend
from landmarks.serving.receipt import PackageReceipt

RED = make_photo((255, 0, 0))
ORIGIN = "https://albums.example.org"


@pytest.fixture(scope="module")
def folder(receipt: PackageReceipt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_workspace(tmp_path_factory.mktemp("problems"), receipt)


@pytest.fixture(scope="module")
def public(folder: Path) -> Iterator[str]:
    """A service that pages of two other sites may ask."""
    with serve([], folder, settings={ORIGINS_VARIABLE: f"{ORIGIN}, http://localhost:8080"}) as address:
        yield address


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/nothing/here", 404, "There is nothing at '/nothing/here'"),
        ("POST", "/nothing%20here%0A", 404, r"There is nothing at '/nothing here\n'"),
        ("GET", "/static_content/nothing.css", 404, "There is nothing at"),
        ("GET", "/thumbnails/none", 404, "no thumbnail"),
        ("GET", "/thumbnails/a/b", 404, "no thumbnail"),
        ("GET", "/thumbnail/a", 404, "There is nothing at"),
        ("DELETE", "/classify", 405, "The method DELETE is not allowed here"),
        ("PUT", "/model", 405, "The method PUT is not allowed here"),
        ("POST", "/livez", 405, "The method POST is not allowed here"),
        ("POST", "/schema.json", 405, "The method POST is not allowed here"),
        ("POST", "/classify", 415, "no content type"),
    ],
)
def test_every_error_has_one_form(client: Client, public: str, method: str, path: str, status: int, words: str) -> None:
    check_problem(client.request(method, path), status, words)
    check_problem(httpx.request(method, f"{public}{path}"), status, words)


def test_all_methods_of_a_path_are_named(client: Client) -> None:
    allowed = {path: client.request("DELETE", path).headers["allow"] for path in ("/classify", "/model", "/livez", "/")}
    assert allowed == {"/classify": "POST", "/model": "GET, HEAD, POST", "/livez": "GET, HEAD", "/": "GET, HEAD"}


def test_a_long_path_is_shown_in_part(client: Client) -> None:
    problem = client.get("/" + "é" * 5000).json()
    assert len(problem["detail"]) < 100
    assert len(problem["instance"]) < 2000


def test_what_fastapi_validates_is_a_problem_too(receipt: PackageReceipt) -> None:
    def fail() -> Backend:
        raise AssertionError

    app = build_app(fail, receipt)

    @app.get("/typed")
    def typed(number: int) -> int:
        return number

    with anyio.from_thread.start_blocking_portal() as portal:
        client = Client(app, portal)
        assert client.get("/typed?number=3").json() == 3
        check_problem(client.get("/typed?number=three"), 422, "query.number")


@pytest.mark.parametrize("offered", ["a", "0d0b2c1e-7d2f", "A" * 64])
def test_a_short_and_harmless_id_is_kept(client: Client, offered: str) -> None:
    headers = {"x-request-id": offered}
    answer = client.request("GET", "/model", headers=headers)
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, offered)
    assert check_problem(client.request("GET", "/none", headers=headers), 404)["request_id"] == offered


@pytest.mark.parametrize("offered", ["", "A" * 65, "a b", "a\tb", "ab\x0b", "é", "<script>", "a/b", '"', "a,b"])
def test_any_other_id_is_replaced(client: Client, offered: str) -> None:
    answer = client.request("GET", "/none", headers={"x-request-id": offered.encode()})
    assert re.fullmatch("[0-9a-f]{32}", check_problem(answer, 404)["request_id"])


def test_every_answer_has_an_id_of_its_own(client: Client) -> None:
    paths = ("/model", "/landmarks", "/thumbnails/r0", "/", "/docs.json", "/livez", "/metrics", "/schema.json", "/none")
    answers = [client.get(path) for path in paths] + [client.post("/classify", files={"image": RED})]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    assert [len(answer.headers.get_list("x-request-id")) for answer in answers] == [1] * len(answers)


def test_the_id_stands_in_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "landmarks")
    problem = client.post("/classify?k=0", files={"image": RED}).json()
    (line,) = [line for line in caplog.messages if problem["request_id"] in line]
    assert line == f"POST /classify answered 400 (request {problem['request_id']}): {problem['detail']}"


def test_no_client_writes_lines_into_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "landmarks")
    client.request("POST", "/a%0Ab%1B", headers={"x-request-id": "a"})
    client.post("/classify?k=1%0A2", files={"image": RED})
    client.post("/classify?a%0Ab=1", files={"image": RED})
    assert len(caplog.messages) == 3
    assert not any(set(line) & set("\n\r\x1b") for line in caplog.messages)


def test_the_served_process_writes_the_id_into_its_log(public: str, folder: Path) -> None:
    answers = [
        httpx.get(f"{public}/none"),
        httpx.post(f"{public}/classify", files={"image": b"no photo"}),
        httpx.get(f"{public}/model", headers={"x-request-id": "mine-1"}),
        httpx.get(f"{public}/model/", headers={"x-request-id": "mine-2"}),
    ]
    log = (folder / "serve.log").read_text(encoding="utf-8")
    for answer in answers[:2]:
        assert f"(request {check_problem(answer, answer.status_code)['request_id']})" in log
    assert answers[2].headers["x-request-id"] == "mine-1"
    assert "mine-1" not in log  # that was no error


def test_a_fault_is_found_in_the_log_by_its_id(receipt: PackageReceipt, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Backend:
        raise RuntimeError("out of order")

    with anyio.from_thread.start_blocking_portal() as portal:
        problem = check_problem(Client(build_app(fail, receipt), portal).get("/model"), 500)
    (record,) = [record for record in caplog.records if record.message == f"request {problem['request_id']} failed"]
    assert record.exc_info is not None
    assert "out of order" in caplog.text


def test_pages_of_the_named_origins_may_ask(public: str) -> None:
    ask = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    preflight = httpx.options(f"{public}/classify", headers=ask)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
    for answer in (
        httpx.post(f"{public}/classify", files={"image": RED}, headers={"origin": ORIGIN}),
        httpx.post(f"{public}/classify", files={"image": b""}, headers={"origin": ORIGIN}),
        httpx.get(f"{public}/none", headers={"origin": ORIGIN}),
    ):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
        assert answer.headers["vary"] == "Origin"


def test_other_pages_may_not(public: str, client: Client) -> None:
    other = {"origin": "https://other.example.org", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{public}/classify", headers=other).headers
    answer = httpx.post(f"{public}/classify", files={"image": RED}, headers=other)
    assert "access-control-allow-origin" not in answer.headers
    # and nobody's where the variable is unset
    assert client.request("OPTIONS", "/classify", headers=other).status_code == 405
    unset = client.request("GET", "/model", headers={"origin": ORIGIN})
    assert not [name for name in unset.headers if name.startswith("access-control")]
