"""The second rung: the ASGI application in this process, with all that a client may send it."""

import asyncio
import dataclasses
import gc
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from colours import Client, check_problem, make_photo
from hostile_photos import make_bomb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landmarks.params import ServiceParams
from landmarks.recognizer.recognizer import Recognizer
from landmarks.serving.app import build_app
from landmarks.serving.backend import Backend, QueryResult, Question
from landmarks.serving.receipt import PackageReceipt

RED = make_photo((255, 0, 0))
BLUE = make_photo((0, 0, 255), image_format="JPEG")
PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'


@pytest.fixture(autouse=True)
def _answers_afterwards(client: Client) -> Any:
    """Whatever a test sent, the next request is answered."""
    yield
    answer = client.post("/classify", files={"image": RED})
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["name"] == "Red Tower"


def test_classify_equals_the_recognizer(client: Client, recognizer_folder: Path) -> None:
    photo = make_photo((210, 80, 10), 53, "JPEG")
    (expected,) = Recognizer.load(recognizer_folder).classify([photo], 3)
    answer = client.post("/classify", files={"image": ("p.jpg", photo)}, data={"k": "3"})
    assert answer.json() == {
        "predictions": [
            {"landmark_id": found.landmark_id, "name": found.name, "score": found.score}
            for found in expected.predictions
        ],
        "is_landmark": expected.is_landmark,
        "landmark_score": expected.landmark_score,
        "confidence": expected.confidence,
        "threshold": expected.threshold,
        "nearest": expected.nearest and dataclasses.asdict(expected.nearest),
        "agreement": expected.agreement,
        "distractor_similarity": expected.distractor_similarity,
    }


def test_k_defaults_to_the_limit_of_the_service(client: Client, limits: ServiceParams) -> None:
    answer = client.post("/classify", files={"image": RED}).json()
    assert [found["landmark_id"] for found in answer["predictions"]] == [7, 11][: limits.default_k]


def test_k_above_the_number_of_landmarks_gives_all(client: Client) -> None:
    answer = client.post("/classify", files={"image": RED}, data={"k": "50"}).json()
    assert sorted(found["landmark_id"] for found in answer["predictions"]) == [7, 11, 40]


def test_classify_batch(client: Client) -> None:
    files = [("images", ("a", RED)), ("images", ("b", b"no photo")), ("images", ("c", BLUE))]
    results = client.post("/classify_batch", files=files, data={"k": "1"}).json()["results"]
    assert results[0]["predictions"][0]["name"] == "Red Tower"
    assert list(results[1]) == ["error"]
    assert results[2] == client.post("/classify", files={"image": BLUE}, data={"k": "1"}).json()


def test_search(client: Client, recognizer_folder: Path) -> None:
    (expected,) = Recognizer.load(recognizer_folder).search([BLUE], 4)
    neighbours = client.post("/search", files={"image": BLUE}, data={"k": "4"}).json()["neighbours"]
    assert neighbours == [vars(found) | {"thumbnail": f"thumbnails/{found.image_id}"} for found in expected]
    assert neighbours[0]["image_id"] == "b0"


@pytest.mark.parametrize("path", ["/classify", "/search"])
@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (b"", "photo"),
        (b"Dear Sir or Madam", "photo"),
        (b"http://127.0.0.1:1/photo.jpg", "photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "photo"),
        (BLUE[: len(BLUE) // 2], "photo"),
        (RED[:20], "photo"),
        (make_bomb(10_000), "pixels"),
    ],
    ids=["empty", "text", "address", "svg", "half-jpeg", "half-png", "bomb"],
)
def test_a_file_that_is_no_usable_photo(client: Client, path: str, photo: bytes, words: str) -> None:
    check_problem(client.post(path, files={"image": ("photo.jpg", photo, "image/jpeg")}), 400, words)


@pytest.mark.parametrize("path", ["/classify", "/search", "/classify_batch"])
@pytest.mark.parametrize("k", ["0", "-1", "51", "1.5", "5.0", "NaN", "inf", "1e3", "", " 3", "٣", "9" * 5000, "true"])
def test_a_wrong_k(client: Client, path: str, k: str) -> None:
    field = "images" if path == "/classify_batch" else "image"
    check_problem(client.post(path, files={field: RED}, data={"k": k}), 400, "whole number from 1 to 50")


def test_several_k(client: Client) -> None:
    check_problem(client.post("/classify", files={"image": RED}, data={"k": ["1", "2"]}), 400, "2 values")


def test_a_text_in_the_file_field(client: Client) -> None:
    check_problem(client.post("/classify", files={"k": (None, "1"), "image": (None, "a tower")}), 400, "received text")


@pytest.mark.parametrize("path", ["/classify", "/search", "/classify_batch"])
@pytest.mark.parametrize("as_file", [False, True])
def test_an_address_is_not_fetched(client: Client, path: str, as_file: bool) -> None:
    field = "images" if path == "/classify_batch" else "image"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/photo.png"
        part = ("photo.png", address.encode()) if as_file else (None, address)
        answer = client.post(path, files=[(field, part)])
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.accept()
    if as_file and path == "/classify_batch":
        assert list(answer.json()["results"][0]) == ["error"]
    else:
        check_problem(answer, 400, "photo" if as_file else "URLs are not fetched")


def test_a_missing_field(client: Client) -> None:
    check_problem(client.post("/classify", files={"k": (None, "3")}), 400, "'image' is missing")


def test_another_field(client: Client) -> None:
    check_problem(client.post("/classify", files={"photo": RED}), 400, "Unknown field 'photo'")


def test_two_photos_where_one_is_asked_for(client: Client) -> None:
    check_problem(client.post("/classify", files=[("image", RED), ("image", BLUE)]), 400, "at most 1")


def test_more_photos_than_a_batch_takes(client: Client, limits: ServiceParams) -> None:
    files = [("images", RED)] * (limits.max_batch_photos + 1)
    check_problem(client.post("/classify_batch", files=files), 400, "at most 4")


@pytest.mark.parametrize(
    "content_type",
    ["image", "image/", "image/png/x", "application/x-www-form-urlencoded", "text/plain", "multipart/mixed", "", "/"],
)
def test_another_content_type(client: Client, content_type: str) -> None:
    answer = client.post("/classify", content=RED, headers={"content-type": content_type})
    check_problem(answer, 415, "multipart/form-data")


def test_no_body_at_all(client: Client) -> None:
    check_problem(client.post("/classify"), 415, "no content type")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", RED),
        ("multipart/form-data; boundary=", RED),
        ("multipart/form-data; boundary=x", RED),
        ("multipart/form-data; boundary=x", b""),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nGIF',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x; charset=nonsense", b"--x--\r\n"),
        ("multipart/form-data; boundary=" + "y" * 300, b"--x--\r\n"),
    ],
)
def test_a_damaged_form(client: Client, content_type: str, body: bytes) -> None:
    answer = client.post("/classify", content=body, headers={"content-type": content_type})
    check_problem(answer, 400)


def test_a_form_of_very_many_parts(client: Client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n1\r\n' * 30_000 + b"--x--\r\n"
    answer = client.post("/classify", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    check_problem(answer, 400, "more than 18 parts")


def test_a_body_above_the_limit(client: Client, limits: ServiceParams) -> None:
    answer = client.post("/classify", files={"image": bytes(limits.max_body_bytes)})
    check_problem(answer, 413, "larger than 2000000 bytes")


def test_a_body_above_the_limit_that_does_not_announce_it(client: Client, limits: ServiceParams) -> None:

    async def send() -> AsyncIterator[bytes]:
        yield PART
        for _ in range(limits.max_body_bytes // 100_000 + 1):
            yield bytes(100_000)
        yield b"\r\n--x--\r\n"

    answer = client.post("/classify", content=send(), headers={"content-type": "multipart/form-data; boundary=x"})
    check_problem(answer, 413, "larger than 2000000 bytes")


def test_a_body_within_the_limit_is_read_whole(client: Client, limits: ServiceParams) -> None:
    photo = RED + bytes(limits.max_body_bytes - len(RED) - 1000)
    assert client.post("/classify", files={"image": photo}).json()["predictions"][0]["name"] == "Red Tower"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method(client: Client, method: str) -> None:
    answer = client.request(method, "/classify")
    check_problem(answer, 405, method)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/classify/", "/model/", "/livez/", "/docs.json/", "/static_content"])
def test_no_redirect_to_a_host_that_the_client_names(client: Client, path: str) -> None:
    answer = client.request("GET", path, headers={"host": "evil.example"})
    assert "location" not in answer.headers
    check_problem(answer, 404)


@pytest.mark.parametrize("host", ["[", "[::1", "a:b:c", "a b", "\\", "\x7f"])
def test_a_host_that_is_none(client: Client, host: str) -> None:
    answer = client.post("/classify?k=1", content=RED, headers={"content-type": "image/png", "host": host})
    assert answer.status_code == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400), boundary=st.sampled_from(["x", "-", '"a b"', "é"]))
def test_any_bytes_are_answered_with_4xx(client: Client, body: bytes, boundary: str) -> None:
    body = body.replace(b"~", b"\r\n--x\r\n").replace(b"}", b'Content-Disposition: form-data; name="image"\r\n\r\n')
    headers = {"content-type": f"multipart/form-data; boundary={boundary}".encode()}
    answer = client.post("/classify", content=b"--x\r\n" + body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    check_problem(answer, answer.status_code)


def test_a_fault_of_ours_shows_nothing_of_itself(receipt: PackageReceipt, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Backend:
        raise RuntimeError("no such file: /tmp/secret")

    with anyio.from_thread.start_blocking_portal() as portal:
        answer = Client(build_app(fail, receipt), portal).post("/classify", files={"image": RED})
    check_problem(answer, 500, "The log of the service has the details")
    assert "/tmp/secret" in caplog.text


def test_an_answer_that_takes_too_long(receipt: PackageReceipt, recognizer_folder: Path) -> None:
    class SlowBackend(Backend):
        async def answer(self, ask: Callable[[], Question], endpoint: str, is_large: bool = False) -> QueryResult:
            await asyncio.sleep(60)
            return await super().answer(ask, endpoint, is_large)

    limits = receipt.service.model_copy(update={"answer_seconds": 0.2})
    backend = SlowBackend(Recognizer.load(recognizer_folder), limits)
    with anyio.from_thread.start_blocking_portal() as portal:
        hurried = Client(build_app(lambda: backend, receipt.model_copy(update={"service": limits})), portal)
        answer = hurried.post("/classify", files={"image": RED})
    backend.close()
    check_problem(answer, 503, "No answer within 0.2 seconds")
    assert answer.headers["retry-after"] == "1"


def test_no_timer_holds_a_request_after_its_answer(client: Client) -> None:
    for photo in (RED, b"no photo"):
        for _ in range(30):
            client.post("/classify", files={"image": photo})
    timers = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.TimerHandle) and not thing.cancelled()]
    assert len(timers) < 10


def test_parallel_requests_get_their_own_answers(client: Client) -> None:
    photos = {"Red Tower": RED, "Blue Dome": BLUE, "Grüne Brücke": make_photo((0, 255, 0))}
    got: list[tuple[str, str]] = []

    def ask(name: str) -> None:
        answer = client.post("/classify", files={"image": photos[name]}, data={"k": "1"})
        got.append((name, answer.json()["predictions"][0]["name"]))

    threads = [threading.Thread(target=ask, args=(name,)) for name in list(photos) * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted((name, name) for name in list(photos) * 6)
