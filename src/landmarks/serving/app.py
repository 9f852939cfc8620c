"""The ASGI application that BentoML mounts: checks requests, computes off the event loop, answers JSON."""

import dataclasses
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from landmarks.errors import ImageError
from landmarks.params import ServiceParams
from landmarks.serving.answers import Problem
from landmarks.serving.endpoints import Endpoint, list_endpoints
from landmarks.serving.openapi import PAGE, build_openapi
from landmarks.serving.problems import RequestError
from landmarks.serving.requests import PhotoRequest, read_body, read_photos

Answerer = Callable[[str, PhotoRequest], Any]

_log = logging.getLogger(__name__)


def build_app(answer: Answerer, limits: ServiceParams) -> Starlette:
    """Make the application.

    Args:
        answer: computes, in a worker thread, what the endpoint of the given name answers: a dataclass.
        limits: what a request may ask for.
    """
    return Starlette(
        routes=[*_route_endpoints(answer, limits), *_route_documents(limits)],
        exception_handlers={
            RequestError: _answer_request_error,
            ImageError: _answer_image_error,
            ClientDisconnect: _answer_disconnect,
            HTTPException: _answer_http_error,
            Exception: _answer_fault,
        },
    )


def _route_endpoints(answer: Answerer, limits: ServiceParams) -> list[Route]:
    threads = anyio.CapacityLimiter(os.cpu_count() or 1)

    def work(endpoint: Endpoint, content_type: str, body: bytes) -> Response:
        request = read_photos(content_type, body, endpoint, limits)
        return JSONResponse(dataclasses.asdict(answer(endpoint.name, request)))

    async def handle(endpoint: Endpoint, request: Request) -> Response:
        body = await read_body(request, limits.max_body_bytes)
        content_type = request.headers.get("content-type", "")
        return await anyio.to_thread.run_sync(work, endpoint, content_type, body, limiter=threads)

    return [
        Route(endpoint.path, partial(handle, endpoint), methods=["POST"], name=endpoint.name)
        for endpoint in list_endpoints(limits)
    ]


def _route_documents(limits: ServiceParams) -> list[Route]:
    document = build_openapi(limits)

    async def show_document(_: Request) -> Response:
        return JSONResponse(document)

    async def show_page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    return [Route("/docs.json", show_document, name="openapi"), Route("/", show_page, name="page")]


def _explain(error: str, status: int) -> Response:
    return JSONResponse(dataclasses.asdict(Problem(error)), status)


async def _answer_request_error(_: Request, error: Exception) -> Response:
    return _explain(str(error), error.status if isinstance(error, RequestError) else 400)


async def _answer_image_error(_: Request, error: Exception) -> Response:
    return _explain(str(error), 400)


async def _answer_disconnect(_: Request, _error: Exception) -> Response:
    return _explain("The client left before its request was complete.", 400)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    problem = Problem(f"{request.method} is not possible here.")
    return JSONResponse(dataclasses.asdict(problem), status, headers)


async def _answer_fault(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _explain("Something went wrong here; the log of the service says what.", 500)
