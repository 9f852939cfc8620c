"""Errors: every error is answered as problem details (RFC 9457) with the request id."""

import logging
import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pydantic
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.errors import ImageError, LandmarksError
from landmarks.serving.schemas import Problem

PROBLEM_TYPE = "application/problem+json"
REQUEST_ID = "X-Request-ID"
_SCOPE_KEY = "landmarks.request_id"
_SAFE_ID = re.compile(r"[0-9A-Za-z._-]{1,64}")
_SHOWN = 40  # characters of what a client sent, in a message
_SHOWN_PATH = 200  # characters of a path
_HEADERS: dict[int, Mapping[str, str]] = {
    401: {"www-authenticate": "Bearer"},
    503: {"retry-after": "1"},
}
_to_json = pydantic.TypeAdapter(Problem).dump_json
_log = logging.getLogger(__name__)


class RequestError(LandmarksError):
    """A request that cannot be answered; `status` is the HTTP status of the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class RequestIds:
    """ASGI middleware that gives every request an id and adds it to the headers of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its id in the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = get_request_id(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


def get_request_id(scope: Scope) -> str:
    """Return the id of a request: the client's own if it is short and harmless, else a random one."""
    if _SCOPE_KEY not in scope:
        offered = Headers(scope=scope).get(REQUEST_ID, "")
        # other characters could forge log lines
        scope[_SCOPE_KEY] = offered if _SAFE_ID.fullmatch(offered) else uuid.uuid4().hex
    request_id: str = scope[_SCOPE_KEY]
    return request_id


def shorten(text: str) -> str:
    """Quote a text that a client sent, shortened for an error message."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer any exception as problem details, and log it."""
    match error:
        case RequestError():
            return _answer_problem(request, error.status, str(error), _HEADERS.get(error.status, {}))
        case ImageError():
            return _answer_problem(request, 400, str(error))
        case ClientDisconnect():
            return _answer_problem(request, 400, "The client disconnected before its request was complete.")
        case RequestValidationError():
            return _answer_problem(request, 422, _explain_validation(error))
        case HTTPException():
            return _answer_http_exception(request, error)
    _log.error("request %s failed", get_request_id(request.scope), exc_info=error)
    return _answer_problem(request, 500, "Internal error. The log of the service has the details.")


# Exception alone is not enough: Starlette raises what it handles again after the answer, and FastAPI has its own
# handlers for some of the others
HANDLERS: dict[Any, Any] = dict.fromkeys(
    (RequestError, ImageError, ClientDisconnect, RequestValidationError, HTTPException, Exception), answer_error
)


def _answer_problem(request: Request, status: int, detail: str, headers: Mapping[str, str] = {}) -> Response:
    request_id = get_request_id(request.scope)
    path = quote(request.scope["path"][:_SHOWN_PATH], errors="replace")  # a URI reference, and safe to log
    level = logging.WARNING if status >= 500 else logging.INFO
    _log.log(level, "%s %s answered %d (request %s): %s", request.method, path, status, request_id, detail)
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=path,
        request_id=request_id,
        error=detail,
    )
    return Response(_to_json(problem), status, {**headers, REQUEST_ID: request_id}, PROBLEM_TYPE)


def _answer_http_exception(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        return _answer_problem(request, 404, f"There is nothing at {shorten(request.scope['path'])}.")
    if error.status_code == 405:
        allowed = ", ".join(sorted(_list_methods(request)))
        return _answer_problem(request, 405, f"The method {request.method} is not allowed here.", {"allow": allowed})
    return _answer_problem(request, error.status_code, str(error.detail), error.headers or {})


def _list_methods(request: Request) -> set[str]:
    """List the methods of a path over all its routes; the exception has those of a single route."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    return {
        method for route in routes if route.matches(request.scope)[0] is Match.PARTIAL for method in route.methods or ()
    }


def _explain_validation(error: RequestValidationError) -> str:
    places = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()[:3]]
    return f"The request is not valid. {'; '.join(places)}."
