"""The ASGI application that BentoML mounts: checks requests, computes off the event loop, answers JSON."""

import asyncio
import dataclasses
import logging
import os
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio.to_thread
import pydantic
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from landmarks.errors import ImageError
from landmarks.serving.access import check_key, read_key
from landmarks.serving.answers import LandmarksAnswer, ModelAnswer, Problem
from landmarks.serving.backend import Backend
from landmarks.serving.endpoints import THUMBNAILS_PATH, Endpoint, list_endpoints
from landmarks.serving.looking import Sight, Wish
from landmarks.serving.openapi import build_openapi
from landmarks.serving.page import PAGE
from landmarks.serving.problems import RequestError
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.requests import Received, read_photos, receive
from landmarks.serving.room import Room

Handler = Callable[[Request], Awaitable[Response]]

_CACHE = "private, max-age=86400"
_log = logging.getLogger(__name__)


def build_app(get_backend: Callable[[], Backend], receipt: PackageReceipt) -> Starlette:
    """Make the application.

    Args:
        get_backend: gives the model; called for each request, because the application is there before the model is.
        receipt: what is served, and within which limits.
    """
    routes = [
        *_route_endpoints(get_backend, receipt),
        *_route_facts(get_backend, receipt),
        *_route_documents(receipt),
    ]
    return Starlette(
        routes=routes,
        exception_handlers={
            RequestError: _answer_request_error,
            ImageError: _answer_image_error,
            ClientDisconnect: _answer_disconnect,
            HTTPException: _answer_http_error,
            Exception: _answer_fault,
        },
    )


def _route_endpoints(get_backend: Callable[[], Backend], receipt: PackageReceipt) -> list[Route]:
    room, limits = Room(receipt.service), receipt.service
    readers = anyio.CapacityLimiter(os.cpu_count() or 1)

    async def look(endpoint: Endpoint, received: Received) -> list[Sight | Problem]:
        asked = await anyio.to_thread.run_sync(read_photos, received, endpoint, limits, limiter=readers)
        backend, wish = get_backend(), endpoint.wish(asked.k)
        return await asyncio.gather(*(_look(backend, photo, wish, endpoint) for photo in asked.photos))

    async def answer(endpoint: Endpoint, to_json: Callable[[Any], bytes], request: Request) -> Response:
        with room.open_upload() as upload:
            received = await receive(request, limits, upload)
            with room.take_place():
                try:
                    found = await asyncio.wait_for(look(endpoint, received), limits.answer_seconds)
                except TimeoutError:
                    raise RequestError(f"No answer within {limits.answer_seconds:g} seconds. Try again.", 503) from None
        has_thumbnails = get_backend().recognizer.gallery.thumbnails is not None
        return Response(to_json(endpoint.build(found, has_thumbnails)), media_type="application/json")

    return [
        Route(
            endpoint.path,
            _guard(partial(answer, endpoint, pydantic.TypeAdapter(endpoint.answer).dump_json)),
            methods=["POST"],
            name=endpoint.name,
        )
        for endpoint in list_endpoints(limits)
    ]


async def _look(backend: Backend, photo: bytes | Problem, wish: Wish, endpoint: Endpoint) -> Sight | Problem:
    """What is found in one photo; where it is one of several, its error is its own result."""
    if isinstance(photo, Problem):
        return photo
    try:
        return await backend.look(photo, wish, endpoint.path)
    except ImageError as error:
        if endpoint.most_photos == 1:
            raise
        return Problem(str(error))


def _route_facts(get_backend: Callable[[], Backend], receipt: PackageReceipt) -> list[Route]:
    def answer(kind: type, build: Callable[[], Any]) -> Handler:
        to_json = pydantic.TypeAdapter[Any](kind).dump_json

        async def show(_: Request) -> Response:
            # many landmarks make many bytes
            data = await anyio.to_thread.run_sync(lambda: to_json(build()))
            return Response(data, media_type="application/json")

        return show

    async def show_thumbnail(request: Request) -> Response:
        data = await anyio.to_thread.run_sync(get_backend().find_thumbnail, request.path_params["image_id"])
        if data is None:
            raise RequestError("There is no thumbnail of such a photo.", 404)
        headers = {"cache-control": _CACHE, "etag": f'"{zlib.crc32(data):08x}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/jpeg", headers=headers)

    pages: dict[str, Handler] = {
        "/landmarks": answer(LandmarksAnswer, lambda: get_backend().list_landmarks()),
        "/model": answer(ModelAnswer, lambda: get_backend().describe_model(receipt)),
        f"/{THUMBNAILS_PATH}/{{image_id}}": show_thumbnail,
    }
    return [Route(path, _guard(show), methods=["GET"], name=path.split("/")[1]) for path, show in pages.items()]


def _route_documents(receipt: PackageReceipt) -> list[Route]:
    document = build_openapi(receipt.service)

    async def show_document(_: Request) -> Response:
        return JSONResponse(document)

    async def show_page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    return [Route("/docs.json", show_document, name="openapi"), Route("/", show_page, name="page")]


def _guard(handler: Handler) -> Handler:
    key = read_key()

    async def handle(request: Request) -> Response:
        check_key(request.headers, key)
        return await handler(request)

    return handle


def _explain(error: str, status: int) -> Response:
    return JSONResponse(dataclasses.asdict(Problem(error)), status)


async def _answer_request_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return JSONResponse(dataclasses.asdict(Problem(str(error))), error.status, error.headers)


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
