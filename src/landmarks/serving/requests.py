"""Reading a request: the body within its limits, the photos and `k` checked before anything is computed."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from landmarks.params import ServiceParams
from landmarks.serving.answers import Problem
from landmarks.serving.endpoints import Endpoint
from landmarks.serving.forms import MULTIPART, Part, parse_form
from landmarks.serving.json_bodies import JSON, decode_photo, parse_json
from landmarks.serving.problems import RequestError, shorten
from landmarks.serving.room import Upload

_RAW = re.compile(r"image/[^/]+|application/octet-stream")


@dataclass(frozen=True)
class Received:
    """A request as it came: `query` is the part of the address behind the question mark."""

    query: str
    content_type: str
    body: bytes


@dataclass(frozen=True)
class PhotoRequest:
    """Encoded photos, or why one cannot be one, and how many answers are wanted."""

    photos: tuple[bytes | Problem, ...]
    k: int


async def receive(request: Request, limits: ServiceParams, upload: Upload) -> Received:
    """Read a request, its body within the limits of size, time and memory.

    A client that is still sending when the answer comes and the connection closes sees a broken connection in place
    of the answer. So what exceeds a limit is read and dropped, up to the limit again.

    Raises:
        RequestError: the body is too large, too slow, or there is no room for it now.
    """
    try:
        async with asyncio.timeout(limits.receive_seconds):
            await _read_body(request, limits.max_body_bytes, upload)
    except TimeoutError:
        raise RequestError(f"The body did not arrive within {limits.receive_seconds:g} seconds.", 408) from None
    return Received(request.url.query, request.headers.get("content-type", ""), upload.take_body())


async def _read_body(request: Request, max_bytes: int, upload: Upload) -> None:
    announced = request.headers.get("content-length", "")
    received = int(announced) if announced.isdecimal() and int(announced) > 2 * max_bytes else 0
    if not received:
        async for block in request.stream():
            received += len(block)
            if received <= max_bytes:
                upload.add(block)
            elif received > 2 * max_bytes:
                break
    if received > max_bytes:
        raise RequestError(f"The body is larger than {max_bytes} bytes. Send a smaller photo or fewer of them.", 413)


def read_photos(received: Received, endpoint: Endpoint, limits: ServiceParams) -> PhotoRequest:
    """The photos of a request and `k`: from a form, from JSON, or a photo as the body itself.

    Raises:
        RequestError: the body is of another content type or damaged, or something in it is missing or wrong.
    """
    media_type = received.content_type.split(";")[0].strip().lower()
    sent_k = _read_query(received.query, endpoint)
    photos: tuple[bytes | Problem, ...]
    more_k: tuple[Any, ...]
    if media_type == MULTIPART:
        photos, more_k = _read_form(received, endpoint)
    elif media_type == JSON:
        photos, more_k = _read_json(received.body, endpoint)
    elif endpoint.most_photos == 1 and _RAW.fullmatch(media_type):
        photos, more_k = (received.body,), ()
    else:
        shown = shorten(media_type) if media_type else "no content type"
        accepted = f"{MULTIPART} with the file field {endpoint.field!r}, or {JSON}"
        raw = ", or a photo as image/*" if endpoint.most_photos == 1 else ""
        raise RequestError(f"Send {accepted}{raw}; received {shown}.", 415)
    return PhotoRequest(photos, read_k((*sent_k, *more_k), limits))


def read_k(values: Sequence[Any], limits: ServiceParams) -> int:
    """The number of answers wanted, from all that was sent as `k`: nothing, or one whole number, perhaps as text.

    Raises:
        RequestError: there are several, or it is not a whole number from 1 to `limits.max_k`.
    """
    if not values:
        return limits.default_k
    value = values[0]
    if len(values) == 1 and isinstance(value, str) and re.fullmatch(f"[0-9]{{1,{len(str(limits.max_k))}}}", value):
        value = int(value)
    if len(values) == 1 and type(value) is int and 1 <= value <= limits.max_k:
        return value
    received = shorten(_describe(value)) if len(values) == 1 else f"{len(values)} values"
    raise RequestError(f"'k' must be one whole number from 1 to {limits.max_k}; received {received}.")


def _describe(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else type(value).__name__


def _read_query(query: str, endpoint: Endpoint) -> tuple[str, ...]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise RequestError("The address has more than 20 parameters.") from None
    allowed = {"k"} if endpoint.takes_k else set()
    if unknown := [name for name, _ in pairs if name not in allowed]:
        raise RequestError(f"Unknown parameter {shorten(unknown[0])} in the address.")
    return tuple(value for _, value in pairs)


def _read_form(received: Received, endpoint: Endpoint) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    parts = parse_form(received.content_type, received.body)
    allowed = {endpoint.field, "k"} if endpoint.takes_k else {endpoint.field}
    if unknown := sorted({part.name for part in parts} - allowed):
        names = ", ".join(shorten(name) for name in unknown[:3])
        wanted = " and, if wanted, 'k'" if endpoint.takes_k else ""
        raise RequestError(f"Unknown field {names}. Send the file field {endpoint.field!r}{wanted}.")
    photos = _read_files([part for part in parts if part.name == endpoint.field], endpoint)
    return photos, tuple(part.content.decode("utf-8", "replace") for part in parts if part.name == "k")


def _read_files(parts: Sequence[Part], endpoint: Endpoint) -> tuple[bytes, ...]:
    _check_count(len(parts), endpoint, "file field")
    if not all(part.is_file for part in parts):
        raise RequestError(
            f"The field {endpoint.field!r} must hold a file (a part with a filename); received text. "
            "Addresses are not fetched."
        )
    return tuple(part.content for part in parts)


def _read_json(body: bytes, endpoint: Endpoint) -> tuple[tuple[bytes | Problem, ...], tuple[Any, ...]]:
    found = parse_json(body, endpoint)
    _check_count(len(found.photos), endpoint, "field")
    if endpoint.most_photos == 1:
        return (decode_photo(found.photos[0], endpoint.field),), found.k
    return tuple(_try_decode(photo, endpoint.field) for photo in found.photos), found.k


def _try_decode(photo: Any, field: str) -> bytes | Problem:
    try:
        return decode_photo(photo, field)
    except RequestError as error:
        return Problem(str(error))


def _check_count(count: int, endpoint: Endpoint, what: str) -> None:
    if not count:
        raise RequestError(f"The {what} {endpoint.field!r} is missing.")
    if count > endpoint.most_photos:
        raise RequestError(
            f"The field {endpoint.field!r} takes at most {endpoint.most_photos} photo(s); received {count}."
        )
