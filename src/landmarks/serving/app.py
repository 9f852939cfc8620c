"""The FastAPI application that BentoML mounts: it checks requests, computes outside the event loop and answers JSON."""

import asyncio
import inspect
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio.to_thread
import pydantic
from fastapi import Depends, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html

from landmarks.errors import ImageError
from landmarks.params import ServiceParams
from landmarks.photos.headers import PhotoFile
from landmarks.recognizer.recognizer import Recognition
from landmarks.serving.access import check_key, read_key
from landmarks.serving.admission import AdmissionControl
from landmarks.serving.backend import Backend, QueryResult, Question
from landmarks.serving.bodies import PhotoRequest, ReceivedRequest, parse_page, receive_body
from landmarks.serving.problems import HANDLERS, PROBLEM_TYPE, REQUEST_ID, RequestError
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.schemas import (
    API_VERSION,
    EXAMPLES,
    BatchAnswer,
    EmbedAnswer,
    LandmarksAnswer,
    ModelAnswer,
    PhotoError,
    Problem,
    SearchAnswer,
    SimilarPhoto,
    describe_page,
    describe_request,
    list_photo_fields,
    show_commands,
)

TITLE = "landmarks"
DESCRIPTION = (
    "Names the landmark in a photo, detects photos that show no known landmark, and finds similar photos. "
    f"Errors are problem details (`{PROBLEM_TYPE}`, RFC 9457) with the request id, which is also in the header "
    "`X-Request-ID` of every answer. The service never fetches a URL from a request. "
    "If the service has a key, send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
)
# of photos: parts between slashes that do not begin with a dot
_ID_PART = r"[^\x00-\x1f./\\\x7f][^\x00-\x1f/\\\x7f]*"
_ID_PATTERN = f"^{_ID_PART}(/{_ID_PART})*$"
_CACHE = "private, max-age=86400"
_DECIMALS = 7  # of an embedding; float32 has about 7 digits
_REF = "#/components/schemas/{model}"
_REQUEST_ID = {
    "name": REQUEST_ID,
    "in": "header",
    "schema": {"type": "string"},
    "description": "Request id, used in the answer and in the log: up to 64 letters, digits and `._-`.",
}
_PROBES = {
    "livez": "Check that the process is alive",
    "readyz": "Check that the model is loaded and requests are accepted",
    "metrics": "Read metrics in the text format of Prometheus",
}


class _Application(FastAPI):
    """Adds to the OpenAPI document what FastAPI does not know: the key, problem details, and BentoML's probes."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()  # FastAPI builds it once and then returns the same object
        if "security" not in document:
            document["security"] = [{}, {"bearer": []}, {"key": []}]
            document["paths"] |= {f"/{name}": {"get": _describe_probe(name)} for name in _PROBES}
            schema = pydantic.TypeAdapter(Problem).json_schema(mode="serialization", ref_template=_REF)
            document["components"]["schemas"]["Problem"] = schema
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            }
        return document


def build_app(get_backend: Callable[[], Backend], receipt: PackageReceipt) -> FastAPI:
    """Build the application.

    Args:
        get_backend: returns the backend; called for each request, since the application exists before the model.
        receipt: the packaged model and the limits of the service.
    """
    key = read_key()

    async def guard(request: Request) -> None:
        check_key(request.headers, key)

    app = _Application(
        title=TITLE,
        description=DESCRIPTION,
        version=API_VERSION,
        servers=[{"url": "."}],
        dependencies=[Depends(guard)],
        generate_unique_id_function=lambda route: route.name,
        exception_handlers=HANDLERS,
        openapi_url="/docs.json",
        # FastAPI's own pages load scripts from another site
        docs_url=None,
        redoc_url=None,
        # a redirect would lead to the host that the client names
        redirect_slashes=False,
        # BentoML already traces requests
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    PhotoEndpoints(get_backend, receipt.service).add_to(app)
    _add_facts(app, get_backend, receipt)
    app.add_route("/", _show_page)
    return app


class PhotoEndpoints:
    """The endpoints that take photos; their docstrings are their descriptions in the API."""

    def __init__(self, get_backend: Callable[[], Backend], limits: ServiceParams) -> None:
        self._get_backend = get_backend
        self._limits = limits
        self._fields = list_photo_fields(limits)
        self._admission = AdmissionControl(limits)
        self._parsers = anyio.CapacityLimiter(1)

    def add_to(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        problems = {
            400: "A field or parameter is missing or invalid, or a photo cannot be read.",
            408: f"The body did not arrive within {self._limits.receive_seconds:g} seconds.",
            413: f"The body is larger than {self._limits.max_body_bytes} bytes.",
            415: "The content type is not supported.",
            503: "Too many requests are in progress, or the answer took too long.",
        }
        for handler in (self.classify, self.classify_batch, self.search, self.embed):
            path, field = f"/{handler.__name__}", self._fields[handler.__name__]
            described = describe_request(field, self._limits)
            answer = handler.__annotations__["return"]
            app.post(
                path,
                **_describe(handler, show_commands(path, field)),
                response_model=answer,
                responses=_describe_answers(answer, problems),
                openapi_extra=described | {"parameters": [*described["parameters"], _REQUEST_ID]},
            )(_answer_json(handler, answer))

    async def classify(self, request: Request) -> Recognition:
        """Name the landmark in a photo.

        Returns landmarks from most to least likely, and whether the photo shows a landmark at all: `landmark_score`,
        the estimated probability of that, must be at least `threshold`. `confidence` is the estimated probability that
        the first prediction is correct. Both are computed from the first prediction, the most similar photo of the
        gallery, the fraction of the most similar photos that show the first prediction, the similarity to known
        distractors (non-landmark photos), and what the network's class "none" and a linear probe say, where the model
        has them.
        """
        found = await self._answer(request, "classify", lambda asked: Question(asked.photo, landmarks=asked.k))
        return _get_recognition(found)

    async def classify_batch(self, request: Request) -> BatchAnswer:
        """Name the landmarks in several photos.

        Returns one result per photo, in the order of the photos. The result of a photo that cannot be read is an error;
        the other photos are answered.
        """
        async with self._admit(request, "classify_batch") as received:
            # parsing many photos keeps other threads waiting, so there is one at a time
            asked = await anyio.to_thread.run_sync(received.parse, limiter=self._parsers)
            tries = (self._try_to_recognize(photo, asked.k) for photo in asked.photos)
            return BatchAnswer(tuple(await asyncio.gather(*tries)))

    async def search(self, request: Request) -> SearchAnswer:
        """Find similar photos.

        Returns the most similar photos of the gallery by cosine similarity, best first.
        """
        found = await self._answer(request, "search", lambda asked: Question(asked.photo, neighbours=asked.k))
        has_thumbnails = self._get_backend().has_thumbnails
        return SearchAnswer(
            tuple(
                SimilarPhoto(
                    **vars(neighbour), thumbnail=f"thumbnails/{quote(neighbour.image_id)}" if has_thumbnails else None
                )
                for neighbour in found.neighbours
            )
        )

    async def embed(self, request: Request) -> EmbedAnswer:
        """Compute the embedding of a photo.

        Returns the vector that `search` compares. It has unit length, so the inner product of two embeddings is their
        cosine similarity.
        """
        found = await self._answer(request, "embed", lambda asked: Question(asked.photo))
        return EmbedAnswer(tuple(round(value, _DECIMALS) for value in found.embedding.tolist()))

    async def _answer(self, request: Request, endpoint: str, ask: Callable[[PhotoRequest], Question]) -> QueryResult:
        """Answer a request for one photo; `ask` makes a question of it."""
        async with self._admit(request, endpoint) as received:
            return await self._get_backend().answer(
                lambda: ask(received.parse()), f"/{endpoint}", is_large=received.is_large
            )

    @asynccontextmanager
    async def _admit(self, request: Request, endpoint: str) -> AsyncIterator[ReceivedRequest]:
        """Receive a request, and hold a slot while it is answered."""
        limits = self._limits
        with self._admission.open_upload() as upload:
            body = await receive_body(request, limits, upload)
            # only now, so that slow uploads hold no slot
            with self._admission.acquire():
                try:
                    async with asyncio.timeout(limits.answer_seconds):
                        # not request.url, which is made of the header Host
                        query = request.scope["query_string"].decode("latin-1")
                        received = ReceivedRequest(query, request.headers, body, self._fields[endpoint], limits)
                        del body  # `parse` gives it up
                        yield received
                except TimeoutError:
                    raise RequestError(f"No answer within {limits.answer_seconds:g} seconds. Try again.", 503) from None

    async def _try_to_recognize(self, photo: PhotoFile | ImageError, k: int) -> Recognition | PhotoError:
        def ask() -> Question:
            if isinstance(photo, ImageError):
                raise photo
            return Question(photo, landmarks=k)

        try:
            found = await self._get_backend().answer(ask, "/classify_batch")
        except ImageError as error:
            return PhotoError(str(error))
        return _get_recognition(found)


def _get_recognition(found: QueryResult) -> Recognition:
    assert found.recognition is not None  # k is at least 1
    return found.recognition


def _answer_json(handler: Callable[[Request], Awaitable[Any]], answer: type) -> Callable[[Request], Any]:
    """Write the answer of a handler as JSON in one go; FastAPI would check it and copy it into dicts first."""
    to_json = pydantic.TypeAdapter[Any](answer).dump_json

    async def respond(request: Request) -> Response:
        return Response(to_json(await handler(request)), media_type="application/json")

    respond.__name__ = getattr(handler, "__name__", "")
    return respond


def _add_facts(app: FastAPI, get_backend: Callable[[], Backend], receipt: PackageReceipt) -> None:
    to_json = pydantic.TypeAdapter(LandmarksAnswer).dump_json

    async def landmarks(request: Request) -> Response:
        """List the landmarks that the model can name.

        Those whose name has the text `q`, or all; at most `limit` of them, after the first `offset`. `total` is how
        many there are.
        """
        backend, page = get_backend(), parse_page(request.url.query)
        # FastAPI would serialise the list, which may be long, in the event loop
        data = await anyio.to_thread.run_sync(lambda: to_json(backend.list_landmarks(page)))
        return Response(data, media_type="application/json")

    async def model() -> ModelAnswer:
        """Describe the model."""
        return get_backend().describe_model(receipt)

    async def thumbnails(request: Request) -> Response:
        """Return the thumbnail of a gallery photo."""
        data = await anyio.to_thread.run_sync(get_backend().find_thumbnail, request.path_params["image_id"])
        if data is None:
            raise RequestError("There is no thumbnail for this photo.", 404)
        headers = {"cache-control": _CACHE, "etag": f'"{zlib.crc32(data):08x}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/jpeg", headers=headers)

    picture = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
    facts: dict[Callable[..., Any], type] = {landmarks: LandmarksAnswer, model: ModelAnswer}
    for handler, answer in facts.items():
        path = f"/{handler.__name__}"
        app.get(
            path,
            **_describe(handler),
            response_model=answer,
            responses=_describe_answers(answer, {400: "A parameter is not valid."} if handler is landmarks else {}),
            openapi_extra={"parameters": [*(describe_page() if handler is landmarks else []), _REQUEST_ID]},
        )(handler)
        # BentoML's client sends only POST
        app.api_route(path, methods=["HEAD", "POST"], include_in_schema=False, response_model=None)(handler)
    path = "/thumbnails/{image_id:path}"
    form = {"type": "string", "pattern": _ID_PATTERN}
    image_id = {"name": "image_id", "in": "path", "required": True, "schema": form}
    app.get(
        path,
        **_describe(thumbnails),
        response_class=Response,
        responses={
            200: {"description": "The thumbnail.", "content": picture},
            304: {"description": "The copy of the client is current, according to its `ETag`."},
            401: _describe_problem("The key of the service is missing or wrong."),
            404: _describe_problem("The photo is unknown, or the model has no thumbnails."),
        },
        openapi_extra={"parameters": [image_id, _REQUEST_ID]},
    )(thumbnails)
    app.head(path, include_in_schema=False)(thumbnails)


def _describe(handler: Callable[..., Any], more: str = "") -> dict[str, Any]:
    """Split the docstring of a handler into the summary and the description of its endpoint."""
    summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
    return {"summary": summary.removesuffix("."), "description": "\n\n".join(filter(None, (description, more)))}


def _describe_answers(answer: type, problems: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    problems = {**problems, 401: "The key of the service is missing or wrong."}
    return {
        200: {"description": "The answer.", "content": {"application/json": {"example": EXAMPLES[answer]}}},
        **{status: _describe_problem(description) for status, description in sorted(problems.items())},
    }


def _describe_problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}}


def _describe_probe(name: str) -> dict[str, Any]:
    answer = {"description": "The answer.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"operationId": name, "summary": _PROBES[name], "responses": {"200": answer}, "security": []}


async def _show_page(_: Request) -> Response:
    return get_swagger_ui_html(
        openapi_url="./docs.json",
        title=TITLE,
        swagger_js_url="./static_content/swagger-ui-bundle.js",
        swagger_css_url="./static_content/swagger-ui.css",
        swagger_favicon_url="data:,",
    )
