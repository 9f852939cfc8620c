"""The description of the service: what it says is so, and schemathesis finds no request that proves otherwise."""

import base64
import json
import shlex
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from colours import Client, make_photo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.transport.serialization import Binary

pytestmark = pytest.mark.slow

RED = make_photo((255, 0, 0))
GET_PATHS = ("/landmarks", "/model", "/thumbnails/{image_id}", "/livez", "/readyz", "/metrics")
PHOTO_PATHS = ("/classify", "/classify_batch", "/search", "/embed")


def test_the_description_speaks_of_us(client: Client) -> None:
    document = client.get("/docs.json").json()
    assert document["info"]["title"] == "landmarks"
    assert document["info"]["description"].startswith("Names the landmark in a photo")
    assert set(document["paths"]) == {
        *PHOTO_PATHS,
        "/landmarks",
        "/model",
        "/thumbnails/{image_id}",
        "/livez",
        "/readyz",
        "/metrics",
    }
    for endpoint in (document["paths"][path]["post"] for path in PHOTO_PATHS):
        assert endpoint["description"]
        assert set(endpoint["responses"]) == {"200", "400", "401", "408", "413", "415", "503"}
        assert endpoint["responses"]["200"]["content"]["application/json"]["example"]
    assert "bentoml" not in json.dumps(document).lower()


def test_every_reference_of_the_description_leads_somewhere(client: Client) -> None:
    document = client.get("/docs.json").json()
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names == set(document["components"]["schemas"])


@pytest.mark.parametrize("path", [*PHOTO_PATHS, "/landmarks", "/model"])
def test_examples_of_answers_have_the_shape_described(client: Client, path: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = client.get("/docs.json").json()
    (operation,) = document["paths"][path].values()
    described = operation["responses"]["200"]["content"]["application/json"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jsonschema.validate(described["example"], {**described["schema"], "components": document["components"]})


@pytest.mark.parametrize("path", PHOTO_PATHS)
def test_the_examples_of_requests_are_answered(client: Client, path: str) -> None:
    operation = client.get("/docs.json").json()["paths"][path]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    answer = client.post(path, json=example)
    assert answer.status_code == 200
    assert "error" not in answer.text


@pytest.mark.parametrize("path", PHOTO_PATHS)
def test_the_commands_of_the_description_are_answered(address: str, client: Client, path: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (tmp_path / "photo.jpg").write_bytes(make_photo((0, 0, 255), image_format="JPEG"))
    lines = client.get("/docs.json").json()["paths"][path]["post"]["description"].splitlines()
    commands = [
        shlex.split(line.replace("http://127.0.0.1:3000", address)) for line in lines if line.startswith("curl")
    ]
    assert len(commands) == (2 if path == "/classify_batch" else 3)
    for command in commands:
        done = subprocess.run([*command, "--silent", "--fail"], cwd=tmp_path, check=True, capture_output=True)
        assert "error" not in json.loads(done.stdout)


@pytest.mark.parametrize("path", PHOTO_PATHS)
def test_k_is_declared_once_for_each_content_type(client: Client, path: str) -> None:
    operation = client.get("/docs.json").json()["paths"][path]["post"]
    parameters = [parameter["name"] for parameter in operation["parameters"]]
    for content_type, described in operation["requestBody"]["content"].items():
        fields = list(described["schema"].get("properties", {}))
        assert (parameters + fields).count("k") == (path != "/embed"), content_type


@pytest.mark.parametrize("path", PHOTO_PATHS)
def test_the_page_sends_what_is_answered(client: Client, path: str) -> None:
    """ "Try it out" fills in every parameter and every field that the document names."""
    operation = client.get("/docs.json").json()["paths"][path]["post"]
    query = {item["name"]: item["example"] for item in operation["parameters"] if item["in"] == "query"}
    for content_type, described in operation["requestBody"]["content"].items():
        fields = {
            name: [RED] if field["type"] == "array" else RED
            for name, field in described["schema"].get("properties", {}).items()
        }
        content: dict[str, Any] = {
            "multipart/form-data": {"files": [(name, ("photo.png", RED)) for name in fields]},
            "application/json": {"json": described.get("example")},
        }.get(content_type, {"content": RED, "headers": {"content-type": content_type}})
        answer = client.post(path, params=query, **content)
        assert answer.status_code == 200, answer.text


def photos() -> st.SearchStrategy[bytes]:
    return st.sampled_from([RED, make_photo((0, 0, 255), image_format="JPEG")])


schemathesis.openapi.media_type("image/*", photos())
schemathesis.openapi.media_type("application/octet-stream", photos())
schemathesis.openapi.format("binary", photos().map(Binary))
schemathesis.openapi.format("byte", photos().map(lambda photo: base64.b64encode(photo).decode()))


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, mode) for path in PHOTO_PATHS for mode in GenerationMode),
        *((path, GenerationMode.POSITIVE) for path in GET_PATHS),
    ],
)
def test_the_service_keeps_to_its_description(address: str, path: str, mode: GenerationMode) -> None:
    operation = schemathesis.openapi.from_url(f"{address}/docs.json")[path]["POST" if path in PHOTO_PATHS else "GET"]

    @settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(request=operation.as_strategy(mode))
    def check(request: Any) -> None:
        request.call_and_validate()

    check()


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/").text
    assert "swagger-ui" in page
    assert "http" not in page
    for part in page.split('"'):
        if part.startswith("./"):
            assert client.get(part[1:]).status_code == 200
