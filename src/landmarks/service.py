"""The BentoML service: `bentoml serve` finds `Landmarks` here."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml.exceptions import ImportServiceError

from landmarks.data.images import Pixels, decode_image
from landmarks.errors import ArtifactError, ImageError
from landmarks.params import ServiceParams
from landmarks.recognition import Recognition, Recognizer
from landmarks.serving.answers import BatchAnswer, Problem, SearchAnswer
from landmarks.serving.app import build_app
from landmarks.serving.openapi import DESCRIPTION, TITLE, build_openapi
from landmarks.serving.receipt import PackageReceipt, read_receipt
from landmarks.serving.requests import PhotoRequest


class PhotoService:
    """What the endpoints compute. Safe to call from several threads."""

    def __init__(self, recognizer: Recognizer, limits: ServiceParams) -> None:
        self.recognizer = recognizer
        self._format = dataclasses.replace(recognizer.network.image_format, max_pixels=limits.max_pixels)

    def classify(self, request: PhotoRequest) -> Recognition:
        """Name the landmark in the one photo.

        Raises:
            ImageError: the photo cannot be decoded.
        """
        return self.recognizer.classify_pixels(self._decode(request.photos), request.k)[0]

    def classify_batch(self, request: PhotoRequest) -> BatchAnswer:
        """Name the landmarks in every photo that can be decoded, and say of the others why not."""
        decoded = [self._try_decode(photo) for photo in request.photos]
        good = [pixels for pixels in decoded if not isinstance(pixels, Problem)]
        found = iter(self.recognizer.classify_pixels(np.stack(good), request.k) if good else ())
        return BatchAnswer(tuple(item if isinstance(item, Problem) else next(found) for item in decoded))

    def search(self, request: PhotoRequest) -> SearchAnswer:
        """Find the gallery photos most similar to the one photo.

        Raises:
            ImageError: the photo cannot be decoded.
        """
        return SearchAnswer(tuple(self.recognizer.search_pixels(self._decode(request.photos), request.k)[0]))

    def _decode(self, photos: Sequence[bytes]) -> Pixels:
        return np.stack([decode_image(photo, self._format) for photo in photos])

    def _try_decode(self, photo: bytes) -> Pixels | Problem:
        try:
            return decode_image(photo, self._format)
        except ImageError as error:
            return Problem(str(error))


class DescribedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML's types are not followed
    """A service whose Bento holds our OpenAPI description; BentoML cannot describe what is mounted."""

    @property
    def openapi_spec(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document: dict[str, Any] = self.inner.openapi
        return document


def build_service(receipt: PackageReceipt) -> DescribedService:
    """Make the service of one packaged model."""

    class Landmarks(PhotoService):
        model = bentoml.models.BentoModel(receipt.model_tag)
        openapi = build_openapi(receipt.service)

        def __init__(self) -> None:
            super().__init__(Recognizer.load(Path(self.model.path)), receipt.service)

    def answer(name: str, request: PhotoRequest) -> Any:
        return getattr(bentoml.get_current_service(), name)(request)

    decorate = bentoml.service(name=TITLE, description=DESCRIPTION, service_class=DescribedService)
    service: DescribedService = decorate(Landmarks)
    service.mount_asgi_app(build_app(answer, receipt.service), name=TITLE)
    return service


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
