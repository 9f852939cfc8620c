"""The optional key of the service, and the optional origins of pages that may ask it."""

from collections.abc import Iterator
from pathlib import Path

import anyio.from_thread
import pytest
from colours import Client, check_problem, make_photo

from landmarks.errors import ArtifactError
from landmarks.recognizer.recognizer import Recognizer
from landmarks.serving.access import KEY_VARIABLE, ORIGINS_VARIABLE, check_key, read_key, read_origins
from landmarks.serving.app import build_app
from landmarks.serving.backend import Backend
from landmarks.serving.problems import RequestError
from landmarks.serving.receipt import PackageReceipt

KEY = "correct horse"
RED = make_photo((255, 0, 0))
PROTECTED = ("/landmarks", "/model", "/thumbnails/r0")
ENDPOINTS = ("/classify", "/classify_batch", "/search", "/embed")


@pytest.fixture(scope="module")
def guarded(receipt: PackageReceipt, recognizer_folder: Path) -> Iterator[Client]:
    backend = Backend(Recognizer.load(recognizer_folder), receipt.service)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        app = build_app(lambda: backend, receipt)
    with anyio.from_thread.start_blocking_portal() as portal:
        yield Client(app, portal)
    backend.close()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": KEY[:-1]},
        {"x-api-key": KEY + " "},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
        {b"x-api-key": "é".encode()},
    ],
)
def test_without_the_key(guarded: Client, headers: dict[str, str]) -> None:
    for path in ENDPOINTS:
        answer = guarded.post(path, files={"image": RED}, headers=headers)
        check_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEY not in answer.text
    for path in PROTECTED:
        assert guarded.request("GET", path, headers=headers).status_code == 401


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
def test_with_the_key(guarded: Client, headers: dict[str, str]) -> None:
    assert guarded.post("/classify", files={"image": RED}, headers=headers).status_code == 200
    for path in PROTECTED:
        assert guarded.request("GET", path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs.json"])
def test_documents_stay_open(guarded: Client, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_no_key_is_asked_for_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key() is None
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert read_key() is None
    check_key({}, None)


def test_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ORIGINS_VARIABLE, raising=False)
    assert read_origins() == ()
    monkeypatch.setenv(ORIGINS_VARIABLE, "")
    assert read_origins() == ()
    monkeypatch.setenv(ORIGINS_VARIABLE, "https://a.example.org,http://localhost:8080 ,")
    assert read_origins() == ("https://a.example.org", "http://localhost:8080")
    monkeypatch.setenv(ORIGINS_VARIABLE, "*")
    assert read_origins() == ("*",)


@pytest.mark.parametrize("origin", ["a.example.org", "https://a.example.org/", "https://", "ftp://a", "https://a b"])
def test_what_is_no_origin(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv(ORIGINS_VARIABLE, f"https://b.example.org,{origin}")
    with pytest.raises(ArtifactError, match=r"LANDMARKS_CORS_ORIGINS names .* which is not an origin"):
        read_origins()


def test_a_key_of_any_characters() -> None:
    check_key({"x-api-key": "schlüssel"}, "schlüssel")
    with pytest.raises(RequestError, match="Send the key"):
        check_key({"x-api-key": "schlussel"}, "schlüssel")
