"""Clients that people do not write by hand: BentoML's own, and one generated from the OpenAPI document."""

import asyncio
import base64
import contextlib
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import bentoml
import httpx
import pytest
from bentoml.exceptions import BentoMLException
from colours import GALLERY, RUN_ID, make_photo, serve

RED, BLUE = make_photo((255, 0, 0)), make_photo((0, 0, 255), image_format="JPEG")
NAMES = {"classify", "classify_batch", "search", "embed", "landmarks", "model"}


@pytest.fixture
def red(tmp_path: Path) -> Path:
    (tmp_path / "red.png").write_bytes(RED)
    return tmp_path / "red.png"


@pytest.fixture
def blue(tmp_path: Path) -> Path:
    (tmp_path / "blue.jpg").write_bytes(BLUE)
    return tmp_path / "blue.jpg"


@contextlib.contextmanager
def connect(address: str, **options: Any) -> Iterator[Any]:
    """BentoML's client; closing it leaves a folder, of which Python then warns."""
    with bentoml.SyncHTTPClient(address, **options) as client:
        yield client
    client._temp_dir.cleanup()


def ask(address: str, path: str, **content: Any) -> Any:
    return httpx.post(f"{address}{path}", **content).json()


def test_bentomls_client_calls_every_endpoint(address: str, red: Path, blue: Path) -> None:
    with connect(address) as client:
        assert set(client.endpoints) == NAMES
        expected = ask(address, "/classify?k=3", files={"image": RED})
        assert client.classify(image=red, k=3) == client.classify(red, 3) == client.classify(image=str(red), k=3)
        assert client.classify(image=red, k=3) == expected
        assert client.classify(image=red) == ask(address, "/classify", files={"image": RED})
        assert client.search(image=blue, k=2) == ask(address, "/search?k=2", files={"image": BLUE})
        assert client.embed(image=blue) == ask(address, "/embed", files={"image": BLUE})
        both = [("images", RED), ("images", BLUE)]
        assert client.classify_batch(images=[red, blue], k=1) == ask(address, "/classify_batch?k=1", files=both)
        assert client.landmarks() == httpx.get(f"{address}/landmarks").json()
        assert client.model() == httpx.get(f"{address}/model").json()
        assert client.model()["run_id"] == RUN_ID


def test_bentomls_client_waits_for_answers_side_by_side(address: str, red: Path, blue: Path) -> None:
    async def ask(method: str, **arguments: Any) -> Any:
        # a client each: BentoML's closes the files of all its calls when the first one ends
        async with bentoml.AsyncHTTPClient(address) as client:
            try:
                return await getattr(client, method)(**arguments)
            finally:
                client._temp_dir.cleanup()

    async def call() -> tuple[Any, ...]:
        return await asyncio.gather(
            ask("classify", image=red, k=3),
            ask("search", image=blue, k=2),
            ask("embed", image=red),
            ask("classify_batch", images=[red, str(blue)]),
            ask("landmarks"),
            ask("model"),
        )

    classified, found, embedded, batch, landmarks, model = asyncio.run(call())
    assert classified["predictions"][0]["name"] == "Red Tower"
    assert found["neighbours"][0]["image_id"] == "b0"
    assert embedded["embedding"] == pytest.approx([1, 0, 0], abs=1e-6)
    assert [result["predictions"][0]["name"] for result in batch["results"]] == ["Red Tower", "Blue Dome"]
    assert len(landmarks["landmarks"]) == 3
    assert model["bento"].startswith("colours:")


def test_bentomls_client_is_told_what_was_wrong(address: str, tmp_path: Path, red: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    with connect(address) as client:
        with pytest.raises(BentoMLException, match="not a photo") as refused:
            client.classify(image=tmp_path / "letter.txt")
        assert refused.value.error_code == 400
        with pytest.raises(BentoMLException, match="whole number from 1 to 50"):
            client.search(image=red, k=51)
        with pytest.raises(TypeError, match="image"):
            client.classify(k=3)
        with pytest.raises(BentoMLException, match="Send multipart/form-data"):
            client.classify(image="http://127.0.0.1:1/x.png")


def test_bentomls_client_brings_the_key(workspace: Path, red: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDMARKS_API_KEY", "a key")
    with serve([], workspace) as address:
        with connect(address, token="a key") as client:
            assert client.classify(image=red)["is_landmark"]
            assert client.model()["name"] == "colours"
        with connect(address) as client, pytest.raises(BentoMLException, match="Send the key"):
            client.model()


def test_the_schema_says_the_same_as_the_openapi_document(address: str) -> None:
    schema = httpx.get(f"{address}/schema.json").json()
    document = httpx.get(f"{address}/docs.json").json()
    assert schema["name"] == document["info"]["title"]
    assert {route["name"] for route in schema["routes"]} == NAMES
    for route in schema["routes"]:
        operation = next(iter(document["paths"][route["route"]].values()))
        assert (route["name"], route["doc"]) == (operation["operationId"], operation["summary"])
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        described = document["components"]["schemas"][answer]
        assert route["output"]["properties"].keys() == described["properties"].keys()
        if "requestBody" not in operation:
            assert route["input"]["properties"] == {}
            continue
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        query = [parameter for parameter in operation["parameters"] if parameter["in"] == "query"]
        parameters = {parameter["name"]: parameter["schema"] for parameter in query}
        assert route["input"]["properties"].keys() == {*form["properties"], *parameters}
        assert {name: route["input"]["properties"][name] for name in parameters} == parameters
        assert route["input"]["required"] == form["required"]
        photo = route["input"]["properties"][form["required"][0]]
        assert photo.get("items", photo) == {"type": "file"}


@pytest.fixture(scope="module")
def generated(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A package that openapi-python-client made of the document of the running service."""
    pytest.importorskip("openapi_python_client", reason="openapi-python-client (dependency group dev) is not installed")
    folder = tmp_path_factory.mktemp("generated")
    (folder / "docs.json").write_bytes(httpx.get(f"{address}/docs.json").content)
    # without its hooks it only writes files: they format what was written
    settings = {
        "post_hooks": [],
        "content_type_overrides": {"image/*": "application/octet-stream", "image/jpeg": "application/octet-stream"},
    }
    (folder / "config.yaml").write_text(json.dumps(settings))
    command = ["generate", "--path", "docs.json", "--meta", "none", "--config", "config.yaml", "--output-path", "made"]
    arguments = [sys.executable, "-m", "openapi_python_client", *command, "--fail-on-warning"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("made")
        for name in [name for name in sys.modules if name.partition(".")[0] == "made"]:
            del sys.modules[name]


def test_a_generated_client_calls_every_endpoint(generated: ModuleType, address: str) -> None:
    models, types = importlib.import_module("made.models"), importlib.import_module("made.types")
    called = set()

    def call(name: str, *arguments: Any, **content: Any) -> Any:
        called.add(name)
        module = importlib.import_module(f"made.api.default.{name}")
        with generated.Client(base_url=address) as client:
            answer = module.sync_detailed(*arguments, client=client, **content)
        assert answer.status_code == 200, answer.content
        return answer.parsed

    def make_file(photo: bytes) -> Any:
        return types.File(payload=io.BytesIO(photo), file_name="photo.jpg", mime_type="image/jpeg")

    def encode(photo: bytes) -> str:
        return base64.b64encode(photo).decode()

    for name in ("classify", "search", "embed"):
        k = {} if name == "embed" else {"k": 3}
        kind = name.capitalize()
        bodies = [
            getattr(models, f"{kind}FilesBody")(image=make_file(BLUE)),
            getattr(models, f"{kind}JsonBody")(image=encode(BLUE)),
            make_file(BLUE),
        ]
        answers = [call(name, body=body, **k).to_dict() for body in bodies]
        path = f"/{name}" if name == "embed" else f"/{name}?k=3"
        assert answers == [ask(address, path, files={"image": BLUE})] * 3
        # without `k` it sends the default of the document
        assert call(name, body=make_file(BLUE)).to_dict() == ask(address, f"/{name}", files={"image": BLUE})
    for body in (
        models.ClassifyBatchFilesBody(images=[make_file(RED), make_file(b"no photo")]),
        models.ClassifyBatchJsonBody(images=[encode(RED), encode(b"no photo")]),
    ):
        named, refused = call("classify_batch", body=body, k=1).results
        assert named.predictions[0].name == "Red Tower"
        assert isinstance(refused, models.PhotoError)
    assert [landmark.landmark_id for landmark in call("landmarks").landmarks] == [7, 11, 40]
    assert call("model").run_id == RUN_ID
    assert call("thumbnails", next(iter(GALLERY))).payload.read().startswith(b"\xff\xd8")
    assert isinstance(call("livez"), str)
    assert isinstance(call("readyz"), str)
    assert isinstance(call("metrics"), str)
    assert called == {path.split("/")[1] for path in httpx.get(f"{address}/docs.json").json()["paths"]}


def test_a_generated_client_reads_problems(generated: ModuleType, address: str) -> None:
    models, types = importlib.import_module("made.models"), importlib.import_module("made.types")
    classify = importlib.import_module("made.api.default.classify")
    with generated.Client(base_url=address) as client:
        answer = classify.sync_detailed(client=client, body=types.File(payload=io.BytesIO(b"no photo")))
    assert answer.status_code == 400
    assert isinstance(answer.parsed, models.Problem)
    assert answer.parsed.request_id == answer.headers["x-request-id"]
