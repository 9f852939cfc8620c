"""The three ways to send a photo, `k` in all its places, and the thumbnails, against the application."""

import asyncio
import base64
import gzip
import io
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from colours import GALLERY, ORIGIN, RUN_ID, Client, check_problem, make_photo
from PIL import Image

from landmarks.params import ServiceParams
from landmarks.photos import decoding
from landmarks.photos.headers import PhotoFile, read_photo_file
from landmarks.serving import bodies
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.schemas import API_VERSION

RED = make_photo((255, 0, 0))
BLUE = make_photo((0, 0, 255), image_format="JPEG")
RAW = {"content-type": "image/jpeg"}


def encode(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


@pytest.mark.parametrize("path", ["/classify", "/search"])
def test_all_ways_give_the_same_answer(client: Client, path: str) -> None:
    answers = [
        client.post(path, files={"image": BLUE}, data={"k": "3"}),
        client.post(f"{path}?k=3", files={"image": BLUE}),
        client.post(f"{path}?k=3", content=BLUE, headers=RAW),
        client.post(f"{path}?k=3", content=BLUE, headers={"content-type": "application/octet-stream"}),
        client.post(f"{path}?k=3", content=BLUE, headers={"content-type": "IMAGE/Anything; q=1"}),
        client.post(path, json={"image": encode(BLUE), "k": 3}),
        client.post(f"{path}?k=3", json={"image": encode(BLUE)}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert len({answer.text for answer in answers}) == 1
    (found,) = (value for value in answers[0].json().values() if isinstance(value, list))
    assert len(found) == 3
    assert found[0]["name"] == "Blue Dome"


def test_embed_gives_the_vector_that_search_compares(client: Client) -> None:
    answers = [
        client.post("/embed", files={"image": RED}),
        client.post("/embed", content=RED, headers=RAW),
        client.post("/embed", json={"image": encode(RED)}),
    ]
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["embedding"] == pytest.approx([1, 0, 0], abs=1e-6)


def test_embed_takes_no_k(client: Client) -> None:
    check_problem(client.post("/embed", files={"image": RED}, data={"k": "1"}), 400, "Unknown field 'k'")
    check_problem(client.post("/embed?k=1", files={"image": RED}), 400, "Unknown query parameter 'k'")
    check_problem(client.post("/embed", json={"image": encode(RED), "k": 1}), 400, "Unknown field 'k'")


def test_a_json_batch_answers_the_good_photos_in_their_places(client: Client) -> None:
    photos = [encode(RED), "%%%", encode(b"no photo"), 7]
    results = client.post("/classify_batch", json={"images": photos, "k": 1}).json()["results"]
    assert results[0] == client.post("/classify?k=1", content=RED, headers=RAW).json()
    assert "is not base64: '%%%'" in results[1]["error"]
    assert "not a photo" in results[2]["error"]
    assert "photos as base64 strings" in results[3]["error"]


def test_a_batch_takes_no_raw_body(client: Client) -> None:
    check_problem(client.post("/classify_batch", content=RED, headers=RAW), 415, "received 'image/jpeg'")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "'image' is missing"),
        ({"image": None}, "photos as base64 strings"),
        ({"image": ["x"]}, "photos as base64 strings"),
        ({"image": "http://127.0.0.1:1/x.png"}, "URLs are not fetched"),
        ({"image": "data:image/png;base64,AAAA"}, "URLs are not fetched"),
        ({"image": "AAAAA"}, "not base64"),
        ({"image": ""}, "empty"),
        ({"photo": "AAAA"}, "Unknown field 'photo'"),
        ([], "Send a JSON object"),
        ("image", "Send a JSON object"),
        (7, "Send a JSON object"),
        ({"image": {"a": {"b": {}}}}, "photos as base64 strings"),
    ],
)
def test_json_that_is_no_request(client: Client, sent: object, words: str) -> None:
    check_problem(client.post("/classify", json=sent), 400, words)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"image": "AAAA"',
        b'{"image": "\xc3\xa9"}',
        b'{"image": "AAAA", "image": "AAAA"}',
        b'{"image": "AAAA", "k": NaN}',
        b'{"image": "AAAA", "k": Infinity}',
        b'{"image": "AAAA", "k": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"[" + b"{}," * 300_000 + b"{}]",
        json.dumps({"image": "AAAA"}).encode("utf-16"),
    ],
)
def test_bodies_that_are_no_json(client: Client, body: bytes) -> None:
    answer = client.post("/classify", content=body, headers={"content-type": "application/json"})
    check_problem(answer, 400, '{"image": "<base64>", "k": 3}')


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text,
        lambda text: "\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + "\n",
        lambda text: "\r\n".join(text[start : start + 60] for start in range(0, len(text), 60)),
        lambda text: text.rstrip("="),
        lambda text: f"  {text}\t",
    ],
    ids=["plain", "lines-of-76", "lines-of-60-crlf", "no-padding", "spaces"],
)
@pytest.mark.parametrize("more", [0, 1, 2])
def test_ways_of_writing_base64(client: Client, write: Callable[[str], str], more: int) -> None:
    text = write(encode(BLUE + bytes(more)))  # of every length modulo 3
    answer = client.post("/classify", json={"image": text})
    assert answer.json()["predictions"][0]["name"] == "Blue Dome"
    assert client.post("/classify_batch", json={"images": [text]}).json()["results"] == [answer.json()]


def test_json_with_a_byte_order_mark(client: Client) -> None:
    body = json.dumps({"image": encode(BLUE)}).encode("utf-8-sig")
    answer = client.post("/classify", content=body, headers={"content-type": "application/json"})
    assert answer.json()["predictions"][0]["name"] == "Blue Dome"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP", "\\"])
def test_compressed_bodies_are_not_read(client: Client, coding: str) -> None:
    headers = RAW | {"content-encoding": coding}
    problem = check_problem(client.post("/classify", content=gzip.compress(BLUE), headers=headers), 415, "uncompressed")
    assert coding.lower().removeprefix("identity") in problem["detail"].replace("\\\\", "\\")
    assert client.post("/classify", content=BLUE, headers=RAW | {"content-encoding": "identity"}).status_code == 200


@pytest.mark.parametrize(
    "more", [b"\r\n--xy", b"\r\n--x\r", b"\r\n--x-"], ids=["another-boundary", "carriage-return", "hyphen"]
)
def test_a_form_of_what_looks_like_boundaries(client: Client, limits: ServiceParams, more: bytes) -> None:
    start = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = start + more * ((limits.max_body_bytes - 100) // len(more))
    answer = client.post("/classify", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    check_problem(answer, 400, "more than 18 parts")


def test_a_form_of_spaces_after_a_boundary(client: Client, limits: ServiceParams) -> None:
    start = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n\r\n--x'
    body = start + b" \t" * ((limits.max_body_bytes - 100) // 2)
    answer = client.post("/classify", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    check_problem(answer, 400, "too many spaces")


def test_each_photo_is_parsed_once_and_never_in_the_event_loop(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def read(data: bytes) -> PhotoFile:
        parsed.append(len(data))
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return read_photo_file(data)

    for module in (bodies, decoding):
        monkeypatch.setattr(module, "read_photo_file", read)
    assert client.post("/classify", files={"image": BLUE}).status_code == 200
    assert client.post("/search", content=RED, headers=RAW).status_code == 200
    assert client.post("/classify_batch", json={"images": [encode(RED), "", encode(BLUE)]}).status_code == 200
    assert parsed == [len(BLUE), len(RED), len(RED), 0, len(BLUE)]


@pytest.mark.parametrize("k", [0, -1, 51, 1.0, 2.5, True, None, "x", [1], {}, 10**30, "1e1", 1e300])
def test_a_wrong_k_in_json(client: Client, k: object) -> None:
    check_problem(client.post("/classify", json={"image": encode(RED), "k": k}), 400, "whole number from 1 to 50")


@pytest.mark.parametrize("k", ["0", "51", "nan", "inf", "-1", "1.5", "", "%33%00", "9" * 3000])
def test_a_wrong_k_in_the_address(client: Client, k: str) -> None:
    check_problem(client.post(f"/search?k={k}", content=RED, headers=RAW), 400, "whole number from 1 to 50")


def test_k_may_stand_only_once(client: Client) -> None:
    check_problem(client.post("/classify?k=1&k=1", content=RED, headers=RAW), 400, "2 values")
    check_problem(client.post("/classify?k=1", files={"image": RED}, data={"k": "1"}), 400, "2 values")
    check_problem(client.post("/classify?k=1", json={"image": encode(RED), "k": 1}), 400, "2 values")


def test_unknown_parameters_in_the_address(client: Client) -> None:
    check_problem(client.post("/classify?top=3", content=RED, headers=RAW), 400, "Unknown query parameter 'top'")
    check_problem(
        client.post("/classify?" + "k=1&" * 50, content=RED, headers=RAW), 400, "more than 20 query parameters"
    )


def test_no_address_is_opened_wherever_it_stands(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.png"
        tried = [
            client.post("/classify", json={"image": address}),
            client.post("/classify", json={"image": encode(address.encode())}),
            client.post("/classify", content=address.encode(), headers=RAW),
            client.post("/classify", content=address.encode(), headers={"content-type": "text/uri-list"}),
            client.post(f"/classify?image={address}", content=RED, headers=RAW),
            client.post("/classify", files={"image": (None, address)}),
            client.post("/classify", files={"image": ("x.url", address.encode())}),
            client.post("/classify_batch", files=[("images", (None, address))]),
        ]
        assert {answer.status_code for answer in tried} <= {400, 415}
        results = client.post("/classify_batch", json={"images": [address]}).json()["results"]
        assert list(results[0]) == ["error"]
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.accept()


def test_no_body_touches_the_disk(client: Client, limits: ServiceParams) -> None:
    written: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and watching and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(str(arguments[0]))

    sys.addaudithook(watch)  # for good, so it is switched off below
    watching = True
    photo = RED + bytes(limits.max_body_bytes - len(RED) - 1000)
    answers = [
        client.post("/classify", files={"image": photo}),
        client.post("/classify", content=photo, headers=RAW),
        client.post("/classify", json={"image": encode(photo[: limits.max_body_bytes // 2])}),
        client.post("/classify_batch", files=[("images", photo[: len(photo) // 4])] * 3),
        client.post("/classify", files={"image": bytes(2 * limits.max_body_bytes)}),
        client.post("/model", content=photo),
    ]
    assert written == []
    with (Path(os.devnull)).open("wb"):
        assert written == [os.devnull]  # it does watch
    watching = False
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 413, 200]


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "application/json", "image/png", "application/octet-stream"]
)
def test_nothing_parses_what_is_not_admitted(
    client: Client, limits: ServiceParams, content_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    for name in ("parse_form", "parse_json", "parse_request"):
        monkeypatch.setattr(bodies, name, lambda *_, name=name, **__: parsed.append(name))
    answer = client.post("/classify", content=bytes(limits.max_body_bytes + 1), headers={"content-type": content_type})
    check_problem(answer, 413)
    assert parsed == []
    assert client.post("/classify", content=b"x", headers={"content-type": content_type}).status_code == 500
    assert parsed == ["parse_request"]


@pytest.mark.parametrize("path", ["/landmarks", "/model"])
def test_facts_are_posted_too(client: Client, path: str) -> None:
    """BentoML's client sends nothing but POST; what it sends is not looked at."""
    told = client.get(path)
    assert client.post(path, json={}).json() == client.post(path, content=b"{").json() == told.json()
    head = client.request("HEAD", path)
    assert (head.status_code, head.headers["content-type"]) == (200, told.headers["content-type"])


def test_a_photo_of_the_wrong_type_is_looked_at_not_believed(client: Client) -> None:
    answer = client.post("/classify?k=1", content=BLUE, headers={"content-type": "image/svg+xml"})
    assert answer.json()["predictions"][0]["name"] == "Blue Dome"
    check_problem(
        client.post("/classify", content=b"<svg/>", headers={"content-type": "image/png"}), 400, "not a photo"
    )


def test_thumbnails_are_small_pictures_of_the_neighbours(client: Client) -> None:
    for found in client.post("/search?k=4", content=RED, headers=RAW).json()["neighbours"]:
        answer = client.get(f"/{found['thumbnail']}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert "max-age" in answer.headers["cache-control"]
        with Image.open(io.BytesIO(answer.content)) as image:
            pixel = image.convert("RGB").getpixel((3, 3))
        assert pixel == pytest.approx(GALLERY[found["image_id"]], abs=6)
        etag = answer.headers["etag"]
        again = client.request("GET", f"/{found['thumbnail']}", headers={"if-none-match": etag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize("image_id", ["none", "%2e%2e%2fitems.csv", "r0%00", "é"])
def test_thumbnails_of_no_photo(client: Client, image_id: str) -> None:
    answer = client.get(f"/thumbnails/{image_id}")
    assert answer.status_code == 404
    assert b"image_id,label" not in answer.content


def test_the_landmarks_it_can_name(client: Client) -> None:
    assert client.get("/landmarks").json()["landmarks"][1] == {
        "landmark_id": 11,
        "name": "Grüne Brücke",
        "training_photos": 1,
        "translations": {},
    }


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("limit=0", "'limit' must be one whole number from 1 to 10000; received '0'"),
        ("limit=10001", "from 1 to 10000"),
        ("limit=1&limit=2", "received 2 values"),
        ("offset=-1", "'offset' must be one whole number from 0"),
        ("offset=1e3", "received '1e3'"),
        ("q=a&q=b", "'q' must be one text"),
        (f"q={'x' * 201}", "at most 200 letters"),
        ("page=2", "Unknown query parameter 'page'. Known are q, limit and offset."),
        ("&".join(["q="] * 21), "more than 20 query parameters"),
    ],
)
def test_pages_of_landmarks_that_cannot_be_meant(client: Client, query: str, problem: str) -> None:
    check_problem(client.get(f"/landmarks?{query}"), 400, problem)


def test_a_page_of_landmarks(client: Client) -> None:
    answer = client.get("/landmarks?q=BR%C3%BCCKE&limit=5").json()
    assert (answer["total"], [one["landmark_id"] for one in answer["landmarks"]]) == (1, [11])
    answer = client.post("/landmarks?limit=1&offset=2", json={}).json()
    assert (answer["total"], [one["landmark_id"] for one in answer["landmarks"]]) == (3, [40])


def test_the_model_and_where_it_comes_from(client: Client, receipt: PackageReceipt) -> None:
    answer = client.get("/model").json()
    assert ORIGIN.model_dump(exclude={"fingerprint"}).items() <= answer.items()
    expected = {"name": "colours", "version": "3", "alias": "champion", "run_id": RUN_ID, "bento": receipt.tag}
    assert expected.items() <= answer.items()
    assert answer["api_version"] == API_VERSION == client.get("/docs.json").json()["info"]["version"]
