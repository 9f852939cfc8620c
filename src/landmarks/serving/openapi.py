"""The OpenAPI description and the page that shows it."""

from collections.abc import Sequence
from typing import Any, Literal

import pydantic

from landmarks.params import ServiceParams
from landmarks.serving.answers import Problem
from landmarks.serving.endpoints import Endpoint, list_endpoints
from landmarks.serving.forms import MULTIPART

API_VERSION = "1.0"
TITLE = "landmarks"
DESCRIPTION = (
    "Names the landmark in a photo, says when a photo shows none that it knows, and finds similar photos. "
    'Errors are answered as `{"error": "what was wrong"}`. No address in a request is ever fetched.'
)
_REF = "#/components/schemas/{model}"

# The assets come from BentoML; its own page would load a tracker from another site.
PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="./static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="./static_content/swagger-ui-bundle.js"></script>
<script src="./static_content/swagger-ui-standalone-preset.js"></script>
<script src="./static_content/swagger-initializer.js"></script>
</body>
</html>
"""


def build_openapi(limits: ServiceParams) -> dict[str, Any]:
    """Describe the service as an OpenAPI document."""
    endpoints = list_endpoints(limits)
    return {
        "openapi": "3.0.3",
        "info": {"title": TITLE, "description": DESCRIPTION, "version": API_VERSION},
        "servers": [{"url": "."}],
        "paths": {
            **{endpoint.path: {"post": _describe(endpoint, limits)} for endpoint in endpoints},
            "/livez": {"get": _describe_probe("livez", "Whether the process is alive")},
            "/readyz": {"get": _describe_probe("readyz", "Whether the model is loaded and requests are taken")},
            "/metrics": {"get": _describe_probe("metrics", "Figures in the text format of Prometheus")},
        },
        "components": {"schemas": _build_schemas(endpoints)},
    }


def _describe(endpoint: Endpoint, limits: ServiceParams) -> dict[str, Any]:
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "requestBody": {"required": True, "content": {MULTIPART: {"schema": _describe_form(endpoint, limits)}}},
        "responses": {
            "200": _describe_answer("The answer.", endpoint.answer, endpoint.example),
            "400": _problem("A field is missing or wrong, or a photo cannot be read.", "The file field is missing."),
            "413": _problem(f"The body has more than {limits.max_body_bytes} bytes.", "The body is too large."),
            "415": _problem(f"The body is not {MULTIPART}.", f"Send {MULTIPART}."),
        },
    }


def _describe_form(endpoint: Endpoint, limits: ServiceParams) -> dict[str, Any]:
    photo = {"type": "string", "format": "binary", "description": f"A photo of at most {limits.max_pixels} pixels."}
    photos = {"type": "array", "items": photo, "minItems": 1, "maxItems": endpoint.most_photos}
    k = {
        "type": "integer",
        "minimum": 1,
        "maximum": limits.max_k,
        "default": limits.default_k,
        "description": "How many answers per photo.",
        "example": 3,
    }
    return {
        "type": "object",
        "properties": {endpoint.field: photo if endpoint.most_photos == 1 else photos, "k": k},
        "required": [endpoint.field],
        "additionalProperties": False,
    }


def _describe_answer(description: str, answer: type, example: object) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=answer.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _problem(description: str, error: str) -> dict[str, Any]:
    return _describe_answer(description, Problem, {"error": error})


def _describe_probe(name: str, summary: str) -> dict[str, Any]:
    answer = {"description": "It is so.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"operationId": name, "summary": summary, "responses": {"200": answer}}


def _build_schemas(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    answers = [*(endpoint.answer for endpoint in endpoints), Problem]
    adapters: list[tuple[type, Literal["serialization"], pydantic.TypeAdapter[Any]]] = [
        (answer, "serialization", pydantic.TypeAdapter(answer)) for answer in answers
    ]
    _, document = pydantic.TypeAdapter.json_schemas(adapters, ref_template=_REF)
    schemas: dict[str, Any] = document["$defs"]
    return schemas
