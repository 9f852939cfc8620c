"""The BentoML service: `bentoml serve` finds `Landmarks` here."""

import os
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from bentoml.exceptions import ImportServiceError
from starlette.applications import Starlette

from landmarks.errors import ArtifactError
from landmarks.recognizer.format import (
    BUNDLE_FOLDER,
    INDEX_FOLDER,
    check_files,
    read_bundle,
    read_index,
)
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.network_format import KERAS_MODEL_FILE
from landmarks.serving.app import build_app
from landmarks.serving.backend import Backend
from landmarks.serving.openapi import DESCRIPTION, TITLE, build_openapi
from landmarks.serving.receipt import PackageReceipt, read_receipt
from landmarks.serving.request_log import PATH_VARIABLE, RequestLog

# The C library otherwise keeps what large photos took for the next one: it hands back blocks of a megabyte at once, and
# has few pools for threads.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "1000000",
    "MALLOC_TRIM_THRESHOLD_": "1000000",
}


class DescribedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML's types are not followed
    """A service whose Bento holds our OpenAPI description; BentoML cannot describe what is mounted."""

    @property
    def openapi_spec(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document: dict[str, Any] = self.inner.openapi
        return document

    def to_asgi(self, *arguments: Any, **options: Any) -> Starlette:
        """The application, without BentoML's limit of time; ours is `service.answer_seconds`.

        BentoML sets a timer for each request and leaves it running when the answer is sent. Until it ends it holds all
        of the request in memory: at 200 requests per second that came to 150 MB.
        """
        app: Starlette = super().to_asgi(*arguments, **options)
        app.user_middleware = [item for item in app.user_middleware if item.cls is not TimeoutMiddleware]
        return app


def build_service(receipt: PackageReceipt) -> DescribedService:
    """Make the service of one packaged model."""

    class Landmarks:
        model = bentoml.models.BentoModel(receipt.model_tag)
        openapi = build_openapi(receipt.service)

        def __init__(self) -> None:
            recognizer = Recognizer.load(Path(self.model.path))
            self.backend = Backend(recognizer, receipt.service, _open_log(receipt))

        @bentoml.on_deployment  # type: ignore[untyped-decorator]
        @staticmethod
        def check() -> None:
            """Run once, before any worker is started: one that cannot start is started again and again."""
            _check(receipt)

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        def close(self) -> None:
            self.backend.close()

    def get_backend() -> Backend:
        backend: Backend = bentoml.get_current_service().backend
        return backend

    decorate = bentoml.service(
        name=TITLE,
        description=DESCRIPTION,
        service_class=DescribedService,
        envs=[{"name": name, "value": value} for name, value in _ENVIRONMENT.items()],
    )
    service: DescribedService = decorate(Landmarks)
    service.mount_asgi_app(build_app(get_backend, receipt), name=TITLE)
    return service


def _check(receipt: PackageReceipt) -> None:
    folder = Path(bentoml.models.get(receipt.model_tag).path)
    try:
        for part, read in ((BUNDLE_FOLDER, read_bundle), (INDEX_FOLDER, read_index)):
            digests = read(folder / part).files
            check_files(folder / part, digests, tuple(name for name in digests if name != KERAS_MODEL_FILE))
        if log := _open_log(receipt):
            log.close()
    except ArtifactError as error:
        raise ImportServiceError(str(error)) from error


def _open_log(receipt: PackageReceipt) -> RequestLog | None:
    path = os.environ.get(PATH_VARIABLE)
    return RequestLog(Path(path), receipt.model_version) if path else None


def __getattr__(name: str) -> DescribedService:
    """Make `Landmarks` when it is asked for: the model it is tied to is known only once something is packaged.

    Raises:
        ImportServiceError: nothing is packaged; `bentoml serve` prints this without a traceback.
    """
    if name != "Landmarks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        receipt = read_receipt()
    except ArtifactError as error:
        raise ImportServiceError(str(error)) from error
    if bentoml.models.BentoModel(receipt.model_tag).stored is None:
        raise ImportServiceError(
            f"The packaged model {receipt.model_tag} is not in BentoML's model store. Run `landmarks package` again, "
            "with the BENTOML_HOME of now."
        )
    return build_service(receipt)
