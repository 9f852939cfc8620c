"""The third rung: `bentoml serve` at a project's root, asked over HTTP."""

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bentoml
import httpx
import pytest
from colours import BENTOML, check_problem, find_worker, make_photo, serve

from landmarks.params import ServiceParams
from landmarks.recognizer.recognizer import Recognizer
from landmarks.serving.receipt import RECEIPT_PATH, PackageReceipt
from reseal import change_sealed, write_anew

pytestmark = pytest.mark.slow

RED = make_photo((255, 0, 0))
NOT_FOR_SERVING = (
    "tensorflow",
    "keras",
    "mlflow",
    "dvc",
    "great_expectations",
    "pandas",
    "pyarrow",
    "matplotlib",
    "sklearn",
)

_LIST_MODULES = """
import asyncio, json, sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
import bentoml
from landmarks.photos.headers import read_photo_file
from landmarks.serving.backend import Question
from landmarks.serving.service import Landmarks
Landmarks.to_asgi()
photo = read_photo_file(Path(sys.argv[1]).read_bytes())
asyncio.run(Landmarks().backend.answer(lambda: Question(photo, 1, 1), "/classify"))
print(json.dumps(sorted(sys.modules)))
"""


def test_classify_equals_the_recognizer(address: str, recognizer_folder: Path) -> None:
    photo = make_photo((30, 60, 220), 77, "JPEG")
    (expected,) = Recognizer.load(recognizer_folder).classify([photo], 3)
    answer = httpx.post(f"{address}/classify", files={"image": photo}, data={"k": "3"}).json()
    assert answer["predictions"] == [vars(prediction) for prediction in expected.predictions]


@pytest.mark.parametrize(
    ("path", "field", "key"),
    [
        ("/classify", "image", "predictions"),
        ("/classify_batch", "images", "results"),
        ("/search", "image", "neighbours"),
        ("/embed", "image", "embedding"),
    ],
)
def test_every_endpoint_answers(address: str, path: str, field: str, key: str) -> None:
    answer = httpx.post(f"{address}{path}", files={field: RED})
    assert answer.status_code == 200
    assert answer.json()[key]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"files": {"image": b"no photo"}}, 400),
        ({"files": {"image": b""}}, 400),
        ({"files": {"image": (None, "http://127.0.0.1:1/x.png")}}, 400),
        ({"files": {"image": RED}, "data": {"k": "nan"}}, 400),
        ({"content": b""}, 415),
        ({"content": RED, "headers": {"content-type": "text/plain"}}, 415),
    ],
)
def test_bad_requests(address: str, content: dict[str, object], status: int) -> None:
    answer = httpx.post(f"{address}/classify", **content)  # type: ignore[arg-type]
    check_problem(answer, status)
    assert httpx.post(f"{address}/classify", files={"image": RED}).status_code == 200


@pytest.mark.parametrize("factor", [1.0, 1.9])
def test_a_body_above_the_limit_gets_its_answer(address: str, limits: ServiceParams, factor: float) -> None:
    """The client is still sending; it must see 413 and not a broken connection."""
    answer = httpx.post(f"{address}/classify", files={"image": bytes(int(factor * limits.max_body_bytes))})
    assert answer.status_code == 413
    assert answer.json()["error"].startswith("The body is larger than 2000000 bytes.")


def test_a_body_far_above_the_limit_is_not_read(address: str, limits: ServiceParams) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/classify")
    connection.putheader("content-length", str(1000 * limits.max_body_bytes))
    connection.putheader("content-type", "multipart/form-data; boundary=x")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert httpx.post(f"{address}/classify", files={"image": RED}).status_code == 200


def test_a_client_that_leaves_half_way(address: str, workspace: Path) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/classify")
    connection.putheader("content-length", "100000")
    connection.putheader("content-type", "multipart/form-data; boundary=x")
    connection.endheaders(bytes(50_000))
    connection.close()
    assert httpx.post(f"{address}/classify", files={"image": RED}).status_code == 200
    assert "Traceback" not in (workspace / "serve.log").read_text(encoding="utf-8")


def test_probes_metrics_and_page(address: str) -> None:
    assert httpx.get(f"{address}/livez").status_code == 200
    assert httpx.get(f"{address}/readyz").status_code == 200
    assert httpx.get(f"{address}/docs.json").json()["info"]["title"] == "landmarks"
    assert "swagger-ui" in httpx.get(f"{address}/").text
    httpx.post(f"{address}/classify", files={"image": RED})
    assert count_requests(address, "/classify", 200)


def count_requests(address: str, endpoint: str, status: int) -> int:
    counted = [line for line in httpx.get(f"{address}/metrics").text.splitlines() if "request_total{" in line]
    wanted = (f'endpoint="{endpoint}"', f'http_response_code="{status}"')
    return sum(int(float(line.split()[-1])) for line in counted if all(label in line for label in wanted))


def test_metrics_do_not_grow_with_the_paths_asked_for(address: str) -> None:
    before = count_requests(address, "unknown", 404)
    with httpx.Client(base_url=address) as client:
        for number in range(50):
            for path in ("nothing", "thumbnails/nothing", "static_content/nothing", "classify/nothing", "%2e%2e/a%0a"):
                client.get(f"/{path}-{number}-")
        client.get("/thumbnails/r0")
        client.get("/classify")
    assert count_requests(address, "unknown", 404) == before + 150
    assert count_requests(address, "/thumbnails/{image_id}", 200)
    assert count_requests(address, "/static_content", 404) >= 50
    assert count_requests(address, "/classify", 405)
    metrics = httpx.get(f"{address}/metrics").text
    assert "nothing" not in metrics
    endpoints = set(re.findall(r'endpoint="([^"]*)"', metrics))
    assert len(endpoints) < 20


def test_what_a_client_sends_forges_no_line_of_the_log(address: str, workspace: Path) -> None:
    host, port = address.removeprefix("http://").split(":")
    forged = b"2001-01-01T00:00:00+0000 [INFO] [forged]"
    for path, value in (
        (b"/a%0a" + forged.replace(b" ", b"%20"), b"image/png"),
        (b"/a%1b%5b2J%e2%80%ae", b"image/png"),
        (b"/classify", b"image/jpeg; name=caf\xe9.jpg"),
        (b"/classify", b"image/jpeg; name=\\"),
        (b"/classify", b"image/jpeg; name=\xc2\x9b31m" + forged),
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = b"POST %b HTTP/1.1\r\nhost: x\r\nuser-agent: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % (path, value, value, len(RED)) + RED)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == (200 if path == b"/classify" else 404)
            assert json.loads(answer.read())
    time.sleep(0.2)  # a line is written after its answer
    log = (workspace / "serve.log").read_text(encoding="utf-8")
    assert "Traceback" not in log
    lines = log.split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("2001") for line in lines)
    assert any("path=/a%0A2001-01-01T00:00:00+0000%20%5BINFO%5D%20%5Bforged%5D" in line for line in lines)
    assert any("name=caf%E9.jpg" in line for line in lines)


def test_the_target_may_be_named(workspace: Path) -> None:
    with serve(["landmarks.serving.service:Landmarks"], workspace) as address:
        assert httpx.post(f"{address}/classify", files={"image": RED}).status_code == 200


def test_the_serving_process_stays_small(address: str) -> None:
    assert find_worker(address).memory_info().rss < 300e6


def test_no_training_stack_is_imported(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    command = [sys.executable, "-c", _LIST_MODULES, str(tmp_path / "red.png")]
    listed = subprocess.run(command, cwd=workspace, check=True, capture_output=True, text=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(listed)}
    assert "ai_edge_litert" in loaded
    assert loaded.isdisjoint(NOT_FOR_SERVING)


def _fail_to_serve(folder: Path) -> str:
    done = subprocess.run([str(BENTOML), "serve"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr


@pytest.mark.parametrize(
    ("name", "mend", "words"),
    [
        ("bundle/serving.tflite", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "is damaged"),
        ("bundle/serving.tflite", Path.unlink, "is missing"),
        ("bundle/bundle.json", lambda path: path.write_text("{"), "is not valid JSON"),
        ("index/embeddings.npy", Path.unlink, "is missing"),
        ("index/thumbnails.jpegs", lambda path: path.write_bytes(b""), "is damaged"),
    ],
)
def test_a_damaged_model(
    workspace: Path, receipt: PackageReceipt, name: str, mend: Callable[[Path], Any], words: str, tmp_path: Path
) -> None:
    path = Path(bentoml.models.get(receipt.model_tag).path) / name
    shutil.copy(path, tmp_path / "kept")
    try:
        mend(path)
        assert words in (error := _fail_to_serve(workspace))
        assert path.name in error
    finally:
        shutil.copy(tmp_path / "kept", path)


def test_what_is_no_origin(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDMARKS_CORS_ORIGINS", "https://example.org/page")
    assert "LANDMARKS_CORS_ORIGINS names 'https://example.org/page', which is not an origin" in _fail_to_serve(
        workspace
    )


@pytest.fixture
def copy(workspace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workspace, tmp_path / "copy"))


def test_without_a_package(copy: Path) -> None:
    (copy / RECEIPT_PATH).unlink()
    assert "reports/package.json is missing" in _fail_to_serve(copy)
    # but whoever only imports the module is not stopped
    subprocess.run([sys.executable, "-c", "import landmarks.serving.service"], cwd=copy, check=True)


def test_a_receipt_that_is_none(copy: Path) -> None:
    write_anew(copy / RECEIPT_PATH, {"tag": 3})
    assert "is not the receipt of a package" in _fail_to_serve(copy)


def test_a_model_that_this_store_lacks(copy: Path) -> None:
    change_sealed(copy / RECEIPT_PATH, model_tag="colours:v9-nothing")
    assert "The packaged model colours:v9-nothing is not in BentoML's model store" in _fail_to_serve(copy)
