"""What the page is made of: the client against a real HTTP server with prepared answers, cards, tables and previews."""

import ast
import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from PIL import Image

from app import client as client_module
from app.cards import DEMO_AUTHOR, draw_card, draw_footer
from app.client import Answer, BusyError, Neighbour, Prediction, RefusedError, Service, ServiceError
from app.groups import NO_LANDMARK, UNREADABLE, Group, group_results
from app.previews import make_preview
from app.tables import tabulate, write_csv
from landmarks.photos.walk import DECODED_SUFFIXES
from landmarks.stages import acquire

RECOGNITION = {
    "predictions": [{"landmark_id": 7, "name": "Red_Tower", "score": 0.9}],
    "is_landmark": True,
    "threshold": 0.5,
}
NEIGHBOUR = {"image_id": "a1", "landmark_id": 7, "name": "Red_Tower", "similarity": 0.8}
GOOD = {"/classify": (200, RECOGNITION), "/search": (200, {"neighbours": [NEIGHBOUR]})}


class Prepared(BaseHTTPRequestHandler):
    """Answers what a test prepared: status and JSON, or status, content type and bytes; a list is used up in turn."""

    answers: ClassVar[dict[str, Any]] = {}
    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append((self.path, self.headers.get("authorization")))
        answer = self.answers.get(self.path, (404, {"error": "nothing here"}))
        status, *content = answer.pop(0) if isinstance(answer, list) else answer
        kind, body = content if len(content) == 2 else ("application/json", json.dumps(content[0]).encode())
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(client_module, "_WAITS_SECONDS", (0.01, 0.01))
    Prepared.answers, Prepared.seen = dict(GOOD), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Prepared) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def connect() -> Iterator[Callable[..., Service]]:
    """Makes services, whose connections end with the test."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(closing(Service(*arguments)))


def test_keys_that_an_older_service_lacks_are_none(address: str, connect: Callable[..., Service]) -> None:
    answer = connect(address).ask(b"photo")
    neighbour = Neighbour("Red_Tower", 7, 0.8, "a1", None, None, None, None)
    assert answer == Answer((Prediction(7, "Red_Tower", 0.9),), True, 0.5, None, None, (neighbour,))


def test_the_key_goes_with_every_request(address: str, connect: Callable[..., Service]) -> None:
    connect(address, "secret").ask(b"photo")
    assert Prepared.seen == [("/classify", "Bearer secret"), ("/search", "Bearer secret")]


def test_messages_name_the_service_without_its_login(connect: Callable[..., Service]) -> None:
    service = connect("http://bob:s3cret@127.0.0.1:1/team/?token=s3cret")
    with pytest.raises(ServiceError, match=r"^The service at http://127\.0\.0\.1:1/team does not answer\.$"):
        service.describe_model()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(address: str, status: int, connect: Callable[..., Service]) -> None:
    Prepared.answers["/classify"] = [(status, {}), (status, {}), (200, RECOGNITION)]
    assert connect(address).ask(b"photo").is_landmark
    Prepared.answers["/classify"] = (status, {})
    with pytest.raises(BusyError, match="busy"):
        connect(address).ask(b"photo")


def test_a_refused_photo_has_the_reason_of_the_service(address: str, connect: Callable[..., Service]) -> None:
    Prepared.answers["/classify"] = (413, {"error": "The body is too large."})
    with pytest.raises(RefusedError, match=r"^The body is too large\.$"):
        connect(address).ask(b"photo")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {"error": "no key"}), "Set LANDMARKS_API_KEY"),
        ((500, {"error": "a fault"}), "status 500"),
        ((200, "text/html", b"<p>Hello</p>"), "does not answer as the service of landmarks"),
        ((200, {"predictions": [{}]}), "does not answer as the service of landmarks"),
        (
            (200, {"predictions": [], "is_landmark": False, "threshold": 1}),
            "does not answer as the service of landmarks",
        ),
        ((404, "text/html", b"<p>not found</p>"), "status 404"),
        ((429, {}), "busy"),
    ],
)
def test_what_is_wrong_with_the_service_is_not_blamed_on_the_photo(
    address: str, answer: Any, message: str, connect: Callable[..., Service]
) -> None:
    Prepared.answers["/classify"] = answer
    with pytest.raises(ServiceError, match=message):
        connect(address).ask(b"photo")


def test_nobody_at_the_address(connect: Callable[..., Service]) -> None:
    service = connect("http://127.0.0.1:1")
    assert not service.is_ready()
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:1 does not answer"):
        service.ask(b"photo")


def test_thumbnails_come_from_the_service_alone(address: str, connect: Callable[..., Service]) -> None:
    other = address.removeprefix("http:")
    Prepared.answers |= {
        "/thumbnails/a1": (200, "image/jpeg", b"jpeg"),
        "/thumbnails/page": (200, "text/html", b"<script>"),
        "/thumbnails/huge": (200, "image/png", bytes(200_001)),
    }
    paths = [
        "thumbnails/a1",
        "/thumbnails/a1",
        "/thumbnails/page",
        "/thumbnails/huge",
        "/thumbnails/none",
        f"http:{other}/x",
        other,
        None,
    ]
    Prepared.answers["/search"] = (200, {"neighbours": [NEIGHBOUR | {"thumbnail": path} for path in paths]})
    found = [neighbour.thumbnail for neighbour in connect(address).ask(b"photo").neighbours]
    assert found == [*["data:image/jpeg;base64,anBlZw=="] * 2, *[None] * 6]
    assert [path for path, _ in Prepared.seen[2:]] == ["/thumbnails/a1", *paths[1:5]]


def test_the_model_says_of_itself_what_it_can(address: str, connect: Callable[..., Service]) -> None:
    assert connect(address).describe_model() == {}
    assert draw_footer({}).count("Model") == 0
    facts = {"name": "landmarks", "version": "3", "alias": "champion", "created": "2026-11-23T10:00:00Z"}
    Prepared.answers["/model"] = (200, facts)
    assert "Model landmarks, version 3 (champion), of 2026-11-23." in draw_footer(connect(address).describe_model())


def test_texts_from_outside_stay_texts() -> None:
    bad = "<img src=x onerror=alert(1)>\"'"
    neighbour = Neighbour(bad, 7, 0.8, bad, bad, bad, "javascript:alert(1)", None)
    answer = Answer((Prediction(7, bad, 0.9),), True, 0.5, None, None, (neighbour,))
    card = draw_card(bad, None, answer) + draw_footer({"name": bad, "version": bad, "alias": bad, "created": bad})
    assert "<img" not in card
    assert "javascript:" not in card


def test_invented_landmarks_have_no_link_to_commons() -> None:
    for author, links in (("Ann", 1), (DEMO_AUTHOR, 0)):
        neighbour = Neighbour("Red_Tower", 7, 0.8, "a1", author, "CC0", None, None)
        card = draw_card("a.jpg", None, Answer((Prediction(7, "Red_Tower", 0.9),), True, 0.5, 0.8, 0.6, (neighbour,)))
        assert card.count("commons.wikimedia.org") == links
    assert acquire._DEMO_ATTRIBUTION["author"] == DEMO_AUTHOR


def test_the_confidence_is_the_only_percentage_of_a_name() -> None:
    guesses = tuple(Prediction(number, f"Guess {number}", 0.9 / (number + 1)) for number in range(3))
    known = draw_card("a.jpg", None, Answer(guesses, True, 0.5, 0.8, 0.614, ()))
    assert "Chance that this name is right" in known
    assert re.findall(r"\d+(?:\.\d+)?%</span>", known) == ["61%</span>"]
    assert known.index("Guess 1") < known.index("Guess 2")
    unknown = draw_card("a.jpg", None, Answer(guesses, False, 0.5, 0.25, 0.614, ()))
    assert not re.findall(r"\d%</span>", unknown)
    assert "0.25 of 0.50 needed" in unknown


def test_the_page_takes_every_suffix_that_is_decoded() -> None:
    page = (Path(__file__).parents[2] / "app/page.py").read_text()
    [first, second] = re.findall(r"^KINDS \+?= (\[.*\])$", page, re.MULTILINE)
    assert [f".{kind}" for kind in ast.literal_eval(first) + ast.literal_eval(second)] == list(DECODED_SUFFIXES)


def test_the_table_as_a_file() -> None:
    none = Answer((Prediction(7, "Red_Tower", 0.61234), Prediction(8, "", 0.1)), False, 0.5, 0.25, 0.125, ())
    rows = tabulate([("=a.jpg", none), ("b.jpg", "The photo cannot be read.")], {"name": "landmarks", "version": "3"})
    text = write_csv(rows).decode("utf-8-sig")
    first, second = csv.DictReader(io.StringIO(text))
    assert first == {
        "file": "'=a.jpg",
        "answer": "no landmark",
        "is_landmark": "False",
        "landmark_id": "7",
        "name": "Red Tower",
        "confidence": "0.125",
        "landmark_score": "0.25",
        "threshold": "0.5",
        "error": "",
        "model": "landmarks 3",
    }
    assert (second["answer"], second["error"]) == ("", "The photo cannot be read.")


def encode(size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, **options)
    return stream.getvalue()


def decode_preview(photo: bytes) -> Image.Image:
    preview = make_preview(photo)
    assert preview is not None
    return Image.open(io.BytesIO(base64.b64decode(preview.partition(",")[2])))


def test_previews_are_small_and_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    assert decode_preview(encode((3000, 1500), format="JPEG", exif=exif)).size == (360, 720)
    assert decode_preview(encode((30, 20), "RGBA", format="PNG")).size == (30, 20)
    assert decode_preview(encode((30, 20), "CMYK", format="JPEG")).mode == "RGB"


def test_what_cannot_be_drawn_has_no_preview() -> None:
    assert make_preview(b"no photo") is None
    assert make_preview(encode((400, 400), format="PNG")[:-40]) is None
    assert make_preview(encode((10_000, 6_000), "1", format="PNG")) is None


def make_answer(name: str, confidence: float, is_landmark: bool = True) -> Answer:
    return Answer((Prediction(7, name, 0.9),), is_landmark, 0.5, 0.9, confidence, ())


def test_photos_are_grouped_by_landmark_the_surest_first() -> None:
    results: list[tuple[str, Answer | str]] = [
        ("text", "no photo"),
        ("wall", make_answer("Red_Tower", 0.1, is_landmark=False)),
        ("bridge", make_answer("Old_Bridge", 0.9)),
        ("tower", make_answer("Red_Tower", 0.6)),
        ("red", make_answer("Red_Tower", 0.8)),
    ]
    grouped = [(group.title, [name for name, _ in group.results]) for group in group_results(results, False, True)]
    assert grouped == [
        ("Red Tower", ["red", "tower"]),
        ("Old Bridge", ["bridge"]),
        (NO_LANDMARK, ["wall"]),
        (UNREADABLE, ["text"]),
    ]
    assert group_results(results, False, False) == [Group("", results)]
    [named] = group_results(results, True, False)
    assert [name for name, _ in named.results] == ["bridge", "tower", "red"]
    assert group_results(results[:2], True, True) == group_results(results[:2], True, False) == []
