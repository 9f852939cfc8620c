"""The OpenAPI description."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pydantic
from PIL import Image

from landmarks.params import ServiceParams
from landmarks.serving.answers import LandmarksAnswer, ModelAnswer, Problem
from landmarks.serving.backend import API_VERSION
from landmarks.serving.endpoints import THUMBNAILS_PATH, Endpoint, list_endpoints
from landmarks.serving.forms import MULTIPART
from landmarks.serving.json_bodies import JSON

TITLE = "landmarks"
DESCRIPTION = (
    "Names the landmark in a photo, says when a photo shows none that it knows, and finds similar photos. "
    'Errors are answered as `{"error": "what was wrong"}`. No address in a request is ever fetched. '
    "Where the service has a key, send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
)
_REF = "#/components/schemas/{model}"
_RAW_TYPES = ("image/*", "application/octet-stream")

_LANDMARKS = {"landmarks": [{"landmark_id": 138982, "name": "Old Lighthouse", "training_photos": 412}]}
_MODEL = {
    "name": "landmarks",
    "version": "3",
    "alias": "champion",
    "run_id": "0123456789abcdef0123456789abcdef",
    "variant": "plain",
    "registered": "2026-01-31T12:00:00+00:00",
    "metrics": {"top1": 0.81, "top5": 0.94},
    "fingerprint": "5c3f0f",
    "data_fingerprint": "a91b2c",
    "git_commit": "8602ac5",
    "dvc_lock": "77d0e1",
    "bento": "landmarks:v3-1a2b3c4d5e6f",
    "api_version": API_VERSION,
    "landmarks": 44,
    "gallery_photos": 23511,
    "image_size": 64,
    "threshold": 0.42,
}


def build_openapi(limits: ServiceParams) -> dict[str, Any]:
    """Describe the service as an OpenAPI document."""
    endpoints = list_endpoints(limits)
    return {
        "openapi": "3.0.3",
        "info": {"title": TITLE, "description": DESCRIPTION, "version": API_VERSION},
        "servers": [{"url": "."}],
        "security": [{}, {"bearer": []}, {"key": []}],
        "paths": {
            **{endpoint.path: {"post": _describe(endpoint, limits)} for endpoint in endpoints},
            "/landmarks": {"get": _describe_fact("landmarks", "What it can name", LandmarksAnswer, _LANDMARKS)},
            "/model": {"get": _describe_fact("model", "Which model answers", ModelAnswer, _MODEL)},
            f"/{THUMBNAILS_PATH}/{{image_id}}": {"get": _describe_thumbnails()},
            "/livez": {"get": _describe_probe("livez", "Whether the process is alive")},
            "/readyz": {"get": _describe_probe("readyz", "Whether the model is loaded and requests are taken")},
            "/metrics": {"get": _describe_probe("metrics", "Figures in the text format of Prometheus")},
        },
        "components": {
            "schemas": {
                **_build_schemas([*(endpoint.answer for endpoint in endpoints), LandmarksAnswer, ModelAnswer, Problem]),
                **{_name_body(endpoint): _describe_json(endpoint, limits) for endpoint in endpoints},
                **{_name_form(endpoint): _describe_form(endpoint, limits) for endpoint in endpoints},
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def draw_example() -> bytes:
    """A photo of 8 x 8 pixels, for the examples: PNG."""
    stream = io.BytesIO()
    Image.radial_gradient("L").resize((8, 8)).save(stream, "PNG")
    return stream.getvalue()


def _describe(endpoint: Endpoint, limits: ServiceParams) -> dict[str, Any]:
    k = {"name": "k", "in": "query", "schema": _describe_k(limits), "description": "Instead of `k` in the body."}
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": f"{endpoint.description}\n\n{_show_commands(endpoint)}",
        **({"parameters": [k]} if endpoint.takes_k else {}),
        "requestBody": {"required": True, "content": _describe_bodies(endpoint, limits)},
        "responses": {
            "200": _describe_answer("The answer.", endpoint.answer, endpoint.example),
            "400": _problem("Something is missing or wrong, or a photo cannot be read.", "The photo is empty."),
            "401": _problem("The key of the service is missing or wrong.", "Send the key of this service."),
            "408": _problem(f"The body took more than {limits.receive_seconds:g} seconds.", "The body is late."),
            "413": _problem(f"The body has more than {limits.max_body_bytes} bytes.", "The body is too large."),
            "415": _problem("The body is of another content type.", f"Send {MULTIPART}."),
            "503": _problem("Too many requests are under way.", "The service is busy. Try again in a second."),
        },
    }


def _show_commands(endpoint: Endpoint) -> str:
    """The ways to send a photo, as commands."""
    address = f"http://127.0.0.1:3000{endpoint.path}"
    k = " -F k=3" if endpoint.takes_k else ""
    encoded = base64.b64encode(draw_example()).decode()
    photos = f'"{encoded}"' if endpoint.most_photos == 1 else f'["{encoded}"]'
    commands = [
        f"curl -F {endpoint.field}=@photo.jpg{k} {address}",
        f"curl -H 'content-type: {JSON}' -d '{{\"{endpoint.field}\": {photos}}}' {address}",
    ]
    if endpoint.most_photos == 1:
        query = "?k=3" if endpoint.takes_k else ""
        commands.append(f"curl -H 'content-type: image/jpeg' --data-binary @photo.jpg '{address}{query}'")
    return "```sh\n" + "\n".join(commands) + "\n```"


def _describe_bodies(endpoint: Endpoint, limits: ServiceParams) -> dict[str, Any]:
    photo = base64.b64encode(draw_example()).decode()
    k = {"k": 3} if endpoint.takes_k else {}
    example = {endpoint.field: photo if endpoint.most_photos == 1 else [photo], **k}
    bodies: dict[str, Any] = {
        MULTIPART: {"schema": {"$ref": _REF.format(model=_name_form(endpoint))}},
        JSON: {"schema": {"$ref": _REF.format(model=_name_body(endpoint))}, "example": example},
    }
    if endpoint.most_photos == 1:
        bodies |= {media_type: {"schema": _describe_photo(limits)} for media_type in _RAW_TYPES}
    return bodies


def _name_body(endpoint: Endpoint) -> str:
    return f"{_to_camel(endpoint.name)}Json"


def _name_form(endpoint: Endpoint) -> str:
    return f"{_to_camel(endpoint.name)}Form"


def _to_camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _describe_photo(limits: ServiceParams, written_as: str = "binary") -> dict[str, Any]:
    description = f"A photo of at most {limits.max_pixels} pixels: JPEG, PNG, GIF, WebP or BMP."
    return {"type": "string", "format": written_as, "description": description}


def _describe_k(limits: ServiceParams) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": limits.max_k,
        "default": limits.default_k,
        "description": "How many answers per photo.",
        "example": 3,
    }


def _describe_form(endpoint: Endpoint, limits: ServiceParams) -> dict[str, Any]:
    return _describe_fields(endpoint, limits, _describe_photo(limits))


def _describe_json(endpoint: Endpoint, limits: ServiceParams) -> dict[str, Any]:
    return _describe_fields(endpoint, limits, _describe_photo(limits, "byte"))


def _describe_fields(endpoint: Endpoint, limits: ServiceParams, photo: Mapping[str, Any]) -> dict[str, Any]:
    photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": endpoint.most_photos}
    k = {"k": _describe_k(limits)} if endpoint.takes_k else {}
    return {
        "type": "object",
        "properties": {endpoint.field: photo if endpoint.most_photos == 1 else photos, **k},
        "required": [endpoint.field],
        "additionalProperties": False,
    }


def _describe_answer(description: str, answer: type, example: object) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=answer.__name__)}
    return {"description": description, "content": {JSON: {"schema": schema, "example": example}}}


def _problem(description: str, error: str) -> dict[str, Any]:
    return _describe_answer(description, Problem, {"error": error})


def _describe_fact(name: str, summary: str, answer: type, example: object) -> dict[str, Any]:
    responses = {
        "200": _describe_answer("The answer.", answer, example),
        "401": _problem("The key of the service is missing or wrong.", "Send the key of this service."),
    }
    return {"operationId": name, "summary": summary, "responses": responses}


def _describe_thumbnails() -> dict[str, Any]:
    form = {"type": "string", "pattern": "^[0-9A-Za-z_-]+$"}
    image_id = {"name": "image_id", "in": "path", "required": True, "schema": form}
    content = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "operationId": THUMBNAILS_PATH,
        "summary": "A small picture of a gallery photo",
        "parameters": [image_id],
        "responses": {
            "200": {"description": "The picture.", "content": content},
            "304": {"description": "It is the one that the client has, by its `ETag`."},
            "401": _problem("The key of the service is missing or wrong.", "Send the key of this service."),
            "404": _problem("There is no such photo, or no thumbnails.", "There is no thumbnail of such a photo."),
        },
    }


def _describe_probe(name: str, summary: str) -> dict[str, Any]:
    answer = {"description": "It is so.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"operationId": name, "summary": summary, "responses": {"200": answer}, "security": []}


def _build_schemas(answers: Sequence[type]) -> dict[str, Any]:
    adapters: list[tuple[type, Literal["serialization"], pydantic.TypeAdapter[Any]]] = [
        (answer, "serialization", pydantic.TypeAdapter(answer)) for answer in answers
    ]
    _, document = pydantic.TypeAdapter.json_schemas(adapters, ref_template=_REF)
    schemas: dict[str, Any] = document["$defs"]
    return schemas
