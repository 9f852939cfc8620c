"""The model behind the application: decodes off the event loop, and lets photos that come together share a run."""

import asyncio
import dataclasses
import os
from functools import partial

import anyio.to_thread

from landmarks.errors import ImageError
from landmarks.params import ServiceParams
from landmarks.photos.decoding import decode_image
from landmarks.photos.headers import read_photo_file
from landmarks.recognizer.recognizer import Recognizer
from landmarks.recognizer.serving_network import BATCH
from landmarks.schema.network_format import Pixels
from landmarks.serving.answers import KnownLandmark, LandmarksAnswer, ModelAnswer
from landmarks.serving.batching import Batcher
from landmarks.serving.looking import Look, Sight, Wish, look
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.request_log import RequestLog

API_VERSION = "1.1"
_LARGE_PIXELS = 4_000_000


class Backend:
    """A recognizer that many requests use at once. Used in the event loop."""

    def __init__(self, recognizer: Recognizer, limits: ServiceParams, log: RequestLog | None = None) -> None:
        self.recognizer = recognizer
        self.log = log
        self._format = dataclasses.replace(recognizer.network.image_format, max_pixels=limits.max_pixels)
        self._batches: Batcher[Look, Sight | ImageError] = Batcher(partial(look, recognizer), BATCH)
        self._threads = anyio.CapacityLimiter(os.cpu_count() or 1)
        self._one_thread = anyio.CapacityLimiter(1)

    async def look(self, photo: bytes, wish: Wish, endpoint: str) -> Sight:
        """Find in an encoded photo what is wanted of it, and note it in the request log where there is one.

        Raises:
            ImageError: the photo cannot be decoded, or similar ones are wanted and it shows nothing.
        """
        pixels = await self._decode(photo)
        asked = dataclasses.replace(wish, landmarks=max(wish.landmarks, 1)) if self.log else wish
        sight = await asyncio.wrap_future(self._batches.submit(Look(pixels, asked)))
        if isinstance(sight, ImageError):
            raise sight
        if self.log and sight.recognition:
            self.log.add(endpoint, sight.recognition, sight.embedding)
        return sight

    async def _decode(self, photo: bytes) -> Pixels:
        # large ones take hundreds of megabytes while they are decoded: one at a time, and in nobody else's way
        limiter = self._one_thread if _is_large(photo) else self._threads
        return await anyio.to_thread.run_sync(decode_image, photo, self._format, limiter=limiter)

    def list_landmarks(self) -> LandmarksAnswer:
        """All landmarks that the model can name."""
        return LandmarksAnswer(
            tuple(KnownLandmark(item.landmark_id, item.name, item.train) for item in self.recognizer.landmarks)
        )

    def describe_model(self, receipt: PackageReceipt) -> ModelAnswer:
        """Which model this is, and where it comes from."""
        return ModelAnswer(
            name=receipt.model_name,
            version=receipt.model_version,
            alias=receipt.alias,
            run_id=receipt.run_id,
            **dict(receipt.origin),
            bento=receipt.tag,
            api_version=API_VERSION,
            landmarks=len(self.recognizer.landmarks),
            gallery_photos=len(self.recognizer.gallery.index),
            image_size=self.recognizer.network.image_format.image_size,
            threshold=self.recognizer.gallery.threshold,
        )

    def find_thumbnail(self, image_id: str) -> bytes | None:
        """A small JPEG of a gallery photo; None where there is no such photo, or no thumbnails."""
        return self.recognizer.gallery.find_thumbnail(image_id)

    def close(self) -> None:
        """Answer what is waiting, write the rest of the log, and stop."""
        self._batches.close()
        if self.log:
            self.log.close()


def _is_large(photo: bytes) -> bool:
    try:
        found = read_photo_file(photo)
    except ImageError:
        return False
    return found.width * found.height > _LARGE_PIXELS
