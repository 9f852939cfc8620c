"""Reading requests: the body within its limits, then the photos and `k`, before anything is computed.

FastAPI parses a body before any limit applies, and writes large uploads to disk. So bodies are read here, in memory. No
other module knows how photos arrive; `schemas.describe_request` describes it in the OpenAPI document.
"""

import asyncio
import base64
import binascii
import codecs
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header
from starlette.requests import Request

from landmarks.errors import ImageError
from landmarks.params import ServiceParams
from landmarks.photos.headers import PhotoFile, read_photo_file
from landmarks.serving.admission import Upload
from landmarks.serving.problems import RequestError, shorten
from landmarks.serving.schemas import (
    DEFAULT_LANDMARKS,
    JSON,
    MAX_LANDMARKS,
    MAX_OFFSET,
    MAX_QUERY_LETTERS,
    MULTIPART,
    Page,
    PhotoField,
)

_RAW = re.compile(r"image/[^/]+|application/octet-stream")
_LARGE_BODY = 2_000_000  # bytes
_MOST_PADDING = 100  # spaces after a boundary, which are read one by one
_BASE64_WHITESPACE = b" \t\r\n"
_JSON_MARKS = (b"[", b"{", b":", b",")


@dataclass(frozen=True)
class PhotoRequest:
    """The photos of a request, not decoded yet, errors in place of unreadable ones, and the number of answers each."""

    photos: tuple[PhotoFile | ImageError, ...]
    k: int

    @property
    def photo(self) -> PhotoFile:
        """The photo of an endpoint that takes exactly one."""
        (photo,) = self.photos
        assert isinstance(photo, PhotoFile)
        return photo


class ReceivedRequest:
    """A request whose body has arrived, not parsed yet.

    Attributes:
        is_large: whether parsing takes long, and keeps other threads waiting.
    """

    def __init__(
        self, query: str, headers: Mapping[str, str], body: bytes, field: PhotoField, limits: ServiceParams
    ) -> None:
        """Take the arguments of `parse_request`."""
        self.is_large = len(body) > _LARGE_BODY
        self._body = body
        self._parse = partial(parse_request, query, headers, field=field, limits=limits)

    def parse(self) -> PhotoRequest:
        """Parse it, once: the body is given up, since the photos are copies. It belongs in a thread.

        Raises:
            RequestError, ImageError: as `parse_request`.
        """
        body, self._body = self._body, b""
        return self._parse(body)


async def receive_body(request: Request, limits: ServiceParams, upload: Upload) -> bytes:
    """Read a body within the limits of size, time and memory.

    If the connection closes while the client is still sending, the client sees a broken connection instead of the
    answer. So the part above the size limit is read and discarded, up to twice the limit.

    Raises:
        RequestError: the body is too large or too slow, or memory ran out.
    """
    try:
        async with asyncio.timeout(limits.receive_seconds):
            await _read_stream(request, limits.max_body_bytes, upload)
    except TimeoutError:
        raise RequestError(f"The body did not arrive within {limits.receive_seconds:g} seconds.", 408) from None
    return upload.take_body()


async def _read_stream(request: Request, max_bytes: int, upload: Upload) -> None:
    # a body announced as more than twice the limit is refused unread
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
        raise RequestError(f"The body is larger than {max_bytes} bytes. Send a smaller photo or fewer photos.", 413)


def parse_request(
    query: str, headers: Mapping[str, str], body: bytes, field: PhotoField, limits: ServiceParams
) -> PhotoRequest:
    """Read the photos and `k` from a request: from a form, from JSON, or from a photo as the body itself.

    It takes up to a second for a large body, so it belongs in a thread.

    Args:
        query: query string of the URL.
        headers: of the request, their names in lower case.
        body: the complete body.
        field: the field that the endpoint takes.
        limits: default and maximum of `k`.

    Raises:
        RequestError: the content type or encoding is not supported, the body is damaged, or a field is missing or
            invalid.
        ImageError: the only photo is not in a supported format.
    """
    if coding := headers.get("content-encoding", "").strip().lower().removeprefix("identity"):
        raise RequestError(f"The body has the content encoding {shorten(coding)}. Send it uncompressed.", 415)
    sent_k = _parse_query(query, field)
    sent = _parse_body(headers.get("content-type", ""), body, field)
    allowed = {field.name, "k"} if field.takes_k else {field.name}
    if unknown := [name for name, _ in sent if name not in allowed]:
        optional = " and optionally 'k'" if field.takes_k else ""
        raise RequestError(f"Unknown field {shorten(unknown[0])}. Send the field {field.name!r}{optional}.")
    photos = tuple(value for name, value in sent if name == field.name)
    if not photos:
        raise RequestError(f"The field {field.name!r} is missing.")
    if len(photos) > field.most:
        raise RequestError(f"The field {field.name!r} takes at most {field.most} photo(s); received {len(photos)}.")
    k = read_k([*sent_k, *(value for name, value in sent if name == "k")], limits)
    read = tuple(photo if isinstance(photo, ImageError) else _read_photo(photo) for photo in photos)
    if field.most == 1 and isinstance(read[0], ImageError):
        raise read[0]
    return PhotoRequest(read, k)


def _read_photo(photo: bytes) -> PhotoFile | ImageError:
    try:
        return read_photo_file(photo)
    except ImageError as error:
        return error


def read_k(values: Sequence[Any], limits: ServiceParams) -> int:
    """Read the number of answers per photo from all values sent as `k`: none, or a whole number, possibly as text.

    Raises:
        RequestError: there are several values, or the value is not a whole number from 1 to `limits.max_k`.
    """
    return _read_number("k", values, 1, limits.max_k, limits.default_k)


def parse_page(query: str) -> Page:
    """Read which landmarks are asked for from the query string of a URL.

    Raises:
        RequestError: a parameter is unknown, is there twice, or is invalid.
    """
    values: dict[str, list[str]] = {"q": [], "limit": [], "offset": []}
    for name, value in _split_query(query):
        if name not in values:
            raise RequestError(f"Unknown query parameter {shorten(name)}. Known are q, limit and offset.")
        values[name].append(value)
    if len(values["q"]) > 1 or any(len(q) > MAX_QUERY_LETTERS for q in values["q"]):
        raise RequestError(f"'q' must be one text of at most {MAX_QUERY_LETTERS} letters.")
    limit = _read_number("limit", values["limit"], 1, MAX_LANDMARKS, DEFAULT_LANDMARKS)
    return Page("".join(values["q"]), limit, _read_number("offset", values["offset"], 0, MAX_OFFSET, 0))


def _read_number(name: str, values: Sequence[Any], least: int, most: int, default: int) -> int:
    """Read a parameter from all values sent for it: none, or a whole number, possibly as text."""
    if not values:
        return default
    value = values[0]
    # int() alone takes signs, underscores and digits of other scripts too, and raises on thousands of digits
    if len(values) == 1 and isinstance(value, str) and re.fullmatch(f"[0-9]{{1,{len(str(most))}}}", value):
        value = int(value)
    # not isinstance: JSON's `true` is an int as well
    if len(values) == 1 and type(value) is int and least <= value <= most:
        return value
    shown = str(value) if isinstance(value, str | int | float) else type(value).__name__
    received = shorten(shown) if len(values) == 1 else f"{len(values)} values"
    raise RequestError(f"'{name}' must be one whole number from {least} to {most}; received {received}.")


def _split_query(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise RequestError("The URL has more than 20 query parameters.") from None


def _parse_query(query: str, field: PhotoField) -> list[str]:
    pairs = _split_query(query)
    for name, _ in pairs:
        if name != "k" or not field.takes_k:
            raise RequestError(f"Unknown query parameter {shorten(name)}.")
    return [value for _, value in pairs]


def _parse_body(content_type: str, body: bytes, field: PhotoField) -> list[tuple[str, Any]]:
    """Read the fields of a body as (name, value); a photo is bytes, or its error."""
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == MULTIPART:
        return parse_form(content_type, body, field)
    if media_type == JSON:
        return parse_json(body, field)
    if field.most == 1 and _RAW.fullmatch(media_type):
        return [(field.name, body)]
    shown = shorten(media_type) if media_type else "no content type"
    raw = ", or a photo as image/*" if field.most == 1 else ""
    raise RequestError(f"Send {MULTIPART} with the file field {field.name!r}, or {JSON}{raw}; received {shown}.", 415)


def parse_form(content_type: str, body: bytes, field: PhotoField) -> list[tuple[str, Any]]:
    """Parse a multipart body in memory; a part with a filename, even an empty one, is a file.

    Raises:
        RequestError: the body is damaged or truncated, has too many parts, or holds text instead of a photo.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    sent: list[tuple[str, Any]] = []
    ends: list[bool] = []
    most = _count_parts(field)
    # counted before parsing: what looks like a boundary takes thousands of times as long as a byte of a photo
    if body.count(delimiter := b"\r\n--" + boundary) > most:
        raise RequestError(f"The body has more than {most} parts.")
    if re.search(re.escape(delimiter) + b"[ \t]{%d}" % _MOST_PADDING, body):
        raise RequestError(f"The body is not valid {MULTIPART}: a boundary is followed by too many spaces.")

    def add(part: Field | File) -> None:
        name = (part.field_name or b"").decode("utf-8", "replace")
        if isinstance(part, File):
            part.file_object.seek(0)
            content = part.file_object.read()
        elif name == field.name:
            raise RequestError(
                f"The field {name!r} must hold a file (a part with a filename); received text. URLs are not fetched."
            )
        else:
            content = part.value or b""
        sent.append((name, content if name == field.name else content.decode("utf-8", "replace")))

    try:
        parser = FormParser(
            MULTIPART,
            add,
            add,
            on_end=lambda: ends.append(True),
            boundary=boundary,
            # python-multipart writes larger files to disk
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise RequestError(f"The body is not valid {MULTIPART}: it is damaged or has no boundary.") from None
    # finalize() takes a body without its last boundary, and drops the part that it was in
    if not ends:
        raise RequestError(f"The body is not valid {MULTIPART}: it is truncated.")
    return sent


def parse_json(body: bytes, field: PhotoField) -> list[tuple[str, Any]]:
    """Parse a JSON object that holds photos in base64.

    Raises:
        RequestError: the body is not such an object, or has too many photos.
    """
    # counted before parsing: millions of them become Python objects 20 times the size of the body
    if sum(body.count(mark) for mark in _JSON_MARKS) > _count_parts(field):
        raise RequestError(f"The body is not of the form {field.json_form}, or has too many photos.")
    try:
        # field names and base64 are ASCII; one emoji would make the text take four bytes per character
        text = body.removeprefix(codecs.BOM_UTF8).decode("ascii")
        value = json.loads(text, object_pairs_hook=_refuse_repeats, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RequestError(f"The body is not valid JSON of the form {field.json_form}.") from None
    if not isinstance(value, dict):
        raise RequestError(f"Send a JSON object of the form {field.json_form}.")
    single = field.most == 1 and field.name in value
    photos = [value.pop(field.name)] if single else value.pop(field.name, [])
    if not isinstance(photos, list):
        raise RequestError(f"The field {field.name!r} must hold a list of photos in base64.")
    return [*value.items(), *((field.name, _decode_photo(photo, field)) for photo in photos)]


def _decode_photo(value: Any, field: PhotoField) -> bytes | ImageError:
    """Decode base64 as in RFC 4648, section 4; it may be broken into lines, and lack its padding."""
    if not isinstance(value, str):
        return ImageError(f"The field {field.name!r} must hold photos as base64 strings.")
    try:
        data = value.encode("ascii").translate(None, _BASE64_WHITESPACE).rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ImageError(
            f"The field {field.name!r} is not base64: {shorten(value)}. URLs are not fetched, including `data:` URLs."
        )


def _count_parts(field: PhotoField) -> int:
    """Most parts of a form, or marks of a JSON object: twice what an honest client sends, and a few more."""
    return 2 * field.most + 16


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
