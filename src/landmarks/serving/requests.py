"""Reading a request: the body within its limit, the photos and `k` checked before anything is computed."""

from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from landmarks.errors import LandmarksError
from landmarks.params import ServiceParams

MULTIPART = "multipart/form-data"
_SHOWN = 40


class RequestError(LandmarksError):
    """A request that cannot be answered; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class PhotoRequest:
    """Encoded photos, and how many answers are wanted."""

    photos: tuple[bytes, ...]
    k: int


async def read_photos(request: Request, field: str, most_photos: int, limits: ServiceParams) -> PhotoRequest:
    """Read the photos in the file field `field` and the optional field `k` of a multipart body.

    Raises:
        RequestError: the body is too large, of another content type, damaged, or a field is missing or wrong.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != MULTIPART:
        received = repr(_shorten(media_type)) if media_type else "no content type"
        raise RequestError(f"Send {MULTIPART} with the file field {field!r}; received {received}.", 415)
    form = await _parse(request, limits.max_body_bytes)
    try:
        _check_fields(form, field)
        photos = [await _read_file(value, field) for value in form.getlist(field)]
        return PhotoRequest(_check_photos(photos, field, most_photos), read_k(form.getlist("k"), limits))
    finally:
        await form.close()


def read_k(values: list[UploadFile | str], limits: ServiceParams) -> int:
    """The number of answers wanted, from the values sent for `k`: none, or one whole number.

    Raises:
        RequestError: there are several, or it is not a whole number from 1 to `limits.max_k`.
    """
    if not values:
        return limits.default_k
    text = values[0] if len(values) == 1 and isinstance(values[0], str) else ""
    if text.isascii() and text.isdigit() and len(text) <= len(str(limits.max_k)) and 1 <= int(text) <= limits.max_k:
        return int(text)
    received = repr(_shorten(text)) if text or len(values) == 1 else f"{len(values)} values"
    raise RequestError(f"'k' must be one whole number from 1 to {limits.max_k}; received {received}.")


async def _parse(request: Request, max_bytes: int) -> FormData:
    body = _LimitedBody(request.receive, max_bytes)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        await body.discard()
        raise body.too_large
    try:
        return await Request(request.scope, body).form()
    except HTTPException:
        raise RequestError(
            f"The body is not valid {MULTIPART}: it is cut off, damaged or has too many parts."
        ) from None
    except RequestError:
        await body.discard()
        raise


class _LimitedBody:
    """Passes on a body up to its limit.

    What exceeds it is read and dropped, up to the limit again: a client that is still sending when the answer comes
    and the connection closes would see a broken connection in place of the answer.
    """

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._received = 0
        self._more = True
        self.too_large = RequestError(f"The body is larger than {max_bytes} bytes. Send smaller or fewer photos.", 413)

    async def __call__(self) -> Message:
        message = await self._count()
        if self._received > self._max_bytes:
            raise self.too_large
        return message

    async def discard(self) -> None:
        while self._more and self._received <= 2 * self._max_bytes:
            await self._count()

    async def _count(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._more = bool(message.get("more_body", False))
        return message


def _check_fields(form: FormData, field: str) -> None:
    unknown = sorted({key for key in form if key not in {field, "k"}})
    if unknown:
        names = ", ".join(repr(_shorten(name)) for name in unknown[:3])
        raise RequestError(f"Unknown field {names}. Send the file field {field!r} and, if wanted, 'k'.")
    if field not in form:
        raise RequestError(f"The file field {field!r} is missing.")


async def _read_file(value: UploadFile | str, field: str) -> bytes:
    if isinstance(value, str):
        raise RequestError(
            f"The field {field!r} must hold a file (a part with a filename); received text. Addresses are not fetched."
        )
    return await value.read()


def _check_photos(photos: list[bytes], field: str, most_photos: int) -> tuple[bytes, ...]:
    if len(photos) > most_photos:
        raise RequestError(f"The field {field!r} takes at most {most_photos} photo(s); received {len(photos)}.")
    return tuple(photos)


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
