"""The BentoML service; `bentoml serve` imports `Landmarks` from here."""

import logging
import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import bentoml
import pydantic
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from bentoml.exceptions import ImportServiceError
from fastapi import FastAPI
from fastapi.routing import APIRoute
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from landmarks.errors import ArtifactError
from landmarks.params import ServiceParams
from landmarks.recognizer.format import check_recognizer
from landmarks.recognizer.recognizer import Recognizer
from landmarks.serving.access import read_origins
from landmarks.serving.app import DESCRIPTION, TITLE, build_app
from landmarks.serving.backend import Backend
from landmarks.serving.metrics import RouteMetrics, keep_folder, lock_folder, use_own_folder
from landmarks.serving.model_metrics import get_model_metrics
from landmarks.serving.problems import HANDLERS, REQUEST_ID, RequestIds
from landmarks.serving.receipt import PackageReceipt, read_receipt
from landmarks.serving.request_log import PATH_VARIABLE, RequestLog
from landmarks.serving.schemas import PhotoField, describe_k, list_photo_fields
from landmarks.serving.server import use_own_server
from landmarks.serving.veil import Unveil, Veil, escape_log

# By default glibc keeps the memory of large photos for later ones. With these settings it returns blocks of a megabyte
# at once, and has few memory pools for threads.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "1000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000",
}


class DescribedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML's types are not followed
    """A service that describes its mounted application, which BentoML does not, and is safe before strangers."""

    @property
    def openapi_spec(self) -> dict[str, Any]:
        """The OpenAPI document, which the build writes into the Bento."""
        document: dict[str, Any] = self.inner.application.openapi()
        return document

    def schema(self) -> dict[str, Any]:
        """Return the content of `/schema.json`; BentoML's own client makes its methods from the routes."""
        described: dict[str, Any] = super().schema()
        return described | {"routes": _list_routes(self.inner.application, self.inner.limits)}

    def to_asgi(self, *arguments: Any, **options: Any) -> Starlette:
        """Build the ASGI application, without BentoML's time limit; ours is `service.answer_seconds`.

        Errors of unknown paths, and of paths that BentoML answers, are problem details too. The process that calls this
        is to serve it: its log and its server are changed.
        """
        app: Starlette = super().to_asgi(*arguments, **options)
        # BentoML starts a timer per request and does not stop it when the answer is sent. Until it ends, it keeps the
        # whole request in memory: 150 MB at 200 requests per second.
        dropped: tuple[Any, ...] = (TimeoutMiddleware,)
        if os.environ.get("OTEL_SDK_DISABLED") == "true":  # it would describe every request to nobody
            dropped += (OpenTelemetryMiddleware,)
        kept = [item for item in app.user_middleware if item.cls not in dropped]
        for item in kept:
            if item.cls is RunnerTrafficMetricsMiddleware:
                item.cls = partial(RouteMetrics, service=app)
        app.user_middleware = [Middleware(Veil), *kept]
        app.router.redirect_slashes = False  # a redirect would lead to the host that the client names
        app.exception_handlers.update(HANDLERS)
        escape_log()
        use_own_server()
        if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # set for workers
            lock_folder(Path(folder))
        return app


def build_service(receipt: PackageReceipt) -> DescribedService:
    """Build the service of one packaged model."""

    def get_backend() -> Backend:
        backend: Backend = bentoml.get_current_service().backend
        return backend

    app = build_app(get_backend, receipt)
    use_own_folder()

    class Landmarks:
        # a class attribute, because BentoML packs no model that is loaded by its tag in __init__
        model = bentoml.models.BentoModel(receipt.model_tag)
        application = app
        limits = receipt.service

        def __init__(self) -> None:
            # BentoML shows only warnings of other loggers, but refused requests are logged at a lower level
            logging.getLogger("landmarks").setLevel(logging.getLogger("bentoml").getEffectiveLevel())
            recognizer = Recognizer.load(Path(self.model.path), verify=False)  # `check` did
            self.backend = Backend(recognizer, receipt.service, _open_log(receipt), get_model_metrics())

        @bentoml.on_deployment  # type: ignore[untyped-decorator]
        @staticmethod
        def check() -> None:
            """Check the model once, before workers start: BentoML endlessly restarts a worker that fails to start."""
            _check(receipt)

        @bentoml.on_deployment  # type: ignore[untyped-decorator]
        @staticmethod
        def keep_metrics() -> None:
            """Keep the folder of the metrics while the service runs."""
            keep_folder()

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        def close(self) -> None:
            self.backend.close()

    decorate = bentoml.service(
        name=TITLE,
        description=DESCRIPTION,  # BentoML's default one links to a package index
        service_class=DescribedService,
        envs=[{"name": name, "value": value} for name, value in _ENVIRONMENT.items()],
    )
    service: DescribedService = decorate(Landmarks)
    service.mount_asgi_app(app, name=TITLE)
    service.add_asgi_middleware(Unveil)
    service.add_asgi_middleware(RequestIds)
    if origins := read_origins():
        service.add_asgi_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key", REQUEST_ID),
            expose_headers=(REQUEST_ID, "Retry-After"),
        )
    return service


@cache  # built when first requested, so that starting is not slower
def _list_routes(app: FastAPI, limits: ServiceParams) -> list[dict[str, Any]]:
    """List the endpoints in the format of BentoML's own client."""
    fields = list_photo_fields(limits)
    return [
        {
            "name": route.name,
            "route": route.path,
            "doc": route.summary,
            "input": _describe_input(fields.get(route.name), limits),
            "output": pydantic.TypeAdapter(route.response_model).json_schema(mode="serialization"),
        }
        for route in app.routes
        if isinstance(route, APIRoute) and route.include_in_schema and not route.param_convertors
    ]


def _describe_input(field: PhotoField | None, limits: ServiceParams) -> dict[str, Any]:
    if field is None:
        return {"type": "object", "properties": {}}
    described = field.describe({"type": "file"})
    if field.takes_k:
        described["properties"]["k"] = describe_k(limits)
    return described


def _check(receipt: PackageReceipt) -> None:
    try:
        check_packaged_model(Path(bentoml.models.get(receipt.model_tag).path), receipt.origin.fingerprint)
        if log := _open_log(receipt):
            log.close()
    except ArtifactError as error:
        raise ImportServiceError(str(error)) from error


def check_packaged_model(folder: Path, packaged: str | None) -> None:
    """Compare every file of a stored model with its digest, and the model with the fingerprint in the receipt.

    Raises:
        ArtifactError: a file is missing or was altered, or it is another model.
    """
    fingerprint = check_recognizer(folder, with_keras=False)
    if packaged is not None and fingerprint != packaged:
        raise ArtifactError(
            f"{folder} is another model than the packaged one: its fingerprint is {fingerprint[:12]}…, the receipt of "
            f"the package says {packaged[:12]}…. Run `landmarks package` again."
        )


def _open_log(receipt: PackageReceipt) -> RequestLog | None:
    path = os.environ.get(PATH_VARIABLE)
    return RequestLog(Path(path), receipt.model_version) if path else None


def __getattr__(name: str) -> DescribedService:
    """Build `Landmarks` on access, because its model is known only after packaging.

    Raises:
        ImportServiceError: no model is packaged, or it cannot be served. `bentoml serve` prints this error without a
            traceback.
    """
    if name != "Landmarks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        receipt = read_receipt()
    except ArtifactError as error:
        raise ImportServiceError(str(error)) from error
    if bentoml.models.BentoModel(receipt.model_tag).stored is None:
        raise ImportServiceError(
            f"The packaged model {receipt.model_tag} is not in BentoML's model store. Run `landmarks package` again "
            "with the current BENTOML_HOME."
        )
    try:
        return build_service(receipt)
    except ArtifactError as error:
        raise ImportServiceError(str(error)) from error
