"""Reading a request: the body within its limit, the photos and `k` checked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from landmarks.params import ServiceParams
from landmarks.serving.endpoints import Endpoint
from landmarks.serving.forms import MULTIPART, Part, parse_form
from landmarks.serving.problems import RequestError, shorten


@dataclass(frozen=True)
class PhotoRequest:
    """Encoded photos, and how many answers are wanted."""

    photos: tuple[bytes, ...]
    k: int


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body.

    A client that is still sending when the answer comes and the connection closes sees a broken connection in place
    of the answer. So what exceeds the limit is read and dropped, up to the limit again.

    Raises:
        RequestError: there are more than `max_bytes` bytes.
    """
    announced = request.headers.get("content-length", "")
    received = int(announced) if announced.isdecimal() and int(announced) > 2 * max_bytes else 0
    body = bytearray()
    if not received:
        async for block in request.stream():
            received += len(block)
            if received <= max_bytes:
                body += block
            elif received > 2 * max_bytes:
                break
    if received > max_bytes:
        raise RequestError(f"The body is larger than {max_bytes} bytes. Send a smaller photo or fewer of them.", 413)
    return bytes(body)


def read_photos(content_type: str, body: bytes, endpoint: Endpoint, limits: ServiceParams) -> PhotoRequest:
    """The photos in the file field of an endpoint and the optional field `k`, from a multipart body.

    Raises:
        RequestError: the body is of another content type or damaged, or a field is missing or wrong.
    """
    media_type = content_type.split(";")[0].strip().lower()
    if media_type != MULTIPART:
        received = shorten(media_type) if media_type else "no content type"
        raise RequestError(f"Send {MULTIPART} with the file field {endpoint.field!r}; received {received}.", 415)
    parts = parse_form(content_type, body)
    if unknown := sorted({part.name for part in parts} - {endpoint.field, "k"}):
        names = ", ".join(shorten(name) for name in unknown[:3])
        raise RequestError(f"Unknown field {names}. Send the file field {endpoint.field!r} and, if wanted, 'k'.")
    photos = _read_files([part for part in parts if part.name == endpoint.field], endpoint)
    return PhotoRequest(photos, read_k([part for part in parts if part.name == "k"], limits))


def read_k(parts: Sequence[Part], limits: ServiceParams) -> int:
    """The number of answers wanted, from the parts sent for `k`: none, or one whole number.

    Raises:
        RequestError: there are several, or it is not a whole number from 1 to `limits.max_k`.
    """
    if not parts:
        return limits.default_k
    text = parts[0].content.decode("utf-8", "replace")
    if len(parts) == 1 and text.isascii() and text.isdecimal() and len(text) <= len(str(limits.max_k)):
        k = int(text)
        if 1 <= k <= limits.max_k:
            return k
    received = shorten(text) if len(parts) == 1 else f"{len(parts)} values"
    raise RequestError(f"'k' must be one whole number from 1 to {limits.max_k}; received {received}.")


def _read_files(parts: Sequence[Part], endpoint: Endpoint) -> tuple[bytes, ...]:
    if not parts:
        raise RequestError(f"The file field {endpoint.field!r} is missing.")
    if len(parts) > endpoint.most_photos:
        raise RequestError(
            f"The field {endpoint.field!r} takes at most {endpoint.most_photos} photo(s); received {len(parts)}."
        )
    if not all(part.is_file for part in parts):
        raise RequestError(
            f"The field {endpoint.field!r} must hold a file (a part with a filename); received text. "
            "Addresses are not fetched."
        )
    return tuple(part.content for part in parts)
