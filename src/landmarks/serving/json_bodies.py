"""JSON bodies: photos in base64, and `k`."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from landmarks.serving.endpoints import Endpoint
from landmarks.serving.problems import RequestError, shorten

JSON = "application/json"
_MARKS = (b"[", b"{", b":", b",")


@dataclass(frozen=True)
class JsonBody:
    """What a JSON body holds, as it was sent: the photos, none where the field is missing, and `k`."""

    photos: Sequence[Any]
    k: tuple[Any, ...]


def parse_json(body: bytes, endpoint: Endpoint) -> JsonBody:
    """Read `{FIELD: photo or photos, "k": ...}`.

    Raises:
        RequestError: it is no such JSON.
    """
    field, form = endpoint.field, describe_form(endpoint)
    # an object of the expected form has few of these; millions of them make objects 20 times the size of the body
    if sum(body.count(mark) for mark in _MARKS) > 2 * endpoint.most_photos + 16:
        raise RequestError(f"The body is not of the form {form}, or has too many photos.")
    try:
        value = json.loads(body.decode("ascii"), object_pairs_hook=_refuse_repeats, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RequestError(f"The body is not valid JSON of the form {form}.") from None
    if not isinstance(value, dict):
        raise RequestError(f"Send a JSON object of the form {form}.")
    if unknown := sorted(value.keys() - ({field, "k"} if endpoint.takes_k else {field})):
        raise RequestError(f"Unknown field {shorten(unknown[0])}. Send {form}.")
    photos = value.get(field, [])
    if endpoint.most_photos == 1 and field in value:
        photos = [photos]
    if not isinstance(photos, list):
        raise RequestError(f"The field {field!r} must hold a list of photos in base64.")
    return JsonBody(photos, (value["k"],) if "k" in value else ())


def decode_photo(value: Any, field: str) -> bytes:
    """The bytes of a photo in base64 (RFC 4648, section 4).

    Raises:
        RequestError: it is no text, or no base64.
    """
    if not isinstance(value, str):
        raise RequestError(f"The field {field!r} must hold photos as texts in base64.")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            f"The field {field!r} is not base64: {shorten(value)}. Addresses are not fetched, `data:` ones included."
        ) from None


def describe_form(endpoint: Endpoint) -> str:
    """How the body should look."""
    photo = '"<base64>"' if endpoint.most_photos == 1 else '["<base64>", ...]'
    k = ', "k": 3' if endpoint.takes_k else ""
    return f'{{"{endpoint.field}": {photo}{k}}}'


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
