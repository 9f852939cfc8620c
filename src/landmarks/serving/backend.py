"""The model behind the application: it decodes photos outside the event loop and runs them in batches."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from landmarks.errors import ImageError
from landmarks.params import ServiceParams
from landmarks.photos.decoding import decode_photo
from landmarks.photos.headers import PhotoFile
from landmarks.processors import count_processors
from landmarks.recognizer.recognizer import NOTHING_FOUND, Neighbour, Recognition, Recognizer
from landmarks.recognizer.serving_network import BATCH
from landmarks.schema.network_format import Floats, Pixels
from landmarks.schema.vocabulary import Landmark
from landmarks.serving.batching import Batcher
from landmarks.serving.model_metrics import ModelMetrics
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.request_log import RequestLog
from landmarks.serving.schemas import API_VERSION, KnownLandmark, LandmarksAnswer, ModelAnswer, Page

_LARGE_PIXELS = 4_000_000  # photos above this are decoded one at a time


@dataclass(frozen=True)
class Question:
    """A photo that is not decoded yet, and what to compute for it, as in `Query`."""

    photo: PhotoFile
    landmarks: int = 0
    neighbours: int = 0


@dataclass(frozen=True)
class Query:
    """One decoded photo and what to compute for it.

    Attributes:
        pixels: uint8 (image_size, image_size, 3).
        landmarks: number of landmarks to name; 0 for no recognition.
        neighbours: number of similar photos to find; 0 for no search.
    """

    pixels: Pixels
    landmarks: int = 0
    neighbours: int = 0


@dataclass(frozen=True)
class QueryResult:
    """Result for one photo.

    Attributes:
        embedding: float32 (d,), of unit length, or zeros if the network finds nothing in the photo.
        recognition: None if no landmarks were requested.
        neighbours: the similar photos, best first.
    """

    embedding: Floats
    recognition: Recognition | None
    neighbours: tuple[Neighbour, ...]


class Backend:
    """A recognizer shared by concurrent requests. Use it in the event loop."""

    def __init__(
        self,
        recognizer: Recognizer,
        limits: ServiceParams,
        log: RequestLog | None = None,
        metrics: ModelMetrics | None = None,
    ) -> None:
        self.recognizer = recognizer
        self.log = log
        self._metrics = metrics
        self._format = dataclasses.replace(recognizer.network.image_format, max_pixels=limits.max_pixels)
        self._batches: Batcher[Query, QueryResult | ImageError] = Batcher(
            partial(run_queries, recognizer, metrics=metrics), BATCH
        )
        # a large photo takes hundreds of megabytes while it is decoded: one at a time, and in a thread of their own, so
        # that small photos do not wait
        self._threads = ThreadPoolExecutor(count_processors(), "photos")
        self._large_thread = ThreadPoolExecutor(1, "large-photos")

    async def answer(self, ask: Callable[[], Question], endpoint: str, is_large: bool = False) -> QueryResult:
        """Answer a question about one photo, and write it to the request log if there is one.

        Args:
            ask: reads the question, in the thread that decodes the photo.
            endpoint: for the request log.
            is_large: whether reading takes long.

        Raises:
            ImageError: the photo cannot be decoded, or similar photos are requested and its embedding is zero.
        """
        found: Future[QueryResult | ImageError] = Future()
        (self._large_thread if is_large else self._threads).submit(self._decode, ask, found, is_large)
        try:
            result = await asyncio.wrap_future(found)
            if isinstance(result, ImageError):
                raise result
        except ImageError as error:
            if self._metrics:
                self._metrics.count_refused(error.reason)
            raise
        if self._metrics and result.recognition:
            self._metrics.count_answer(result.recognition)
        if self.log and result.recognition:
            self.log.add(endpoint, result.recognition, result.embedding)
        return result

    def _decode(self, ask: Callable[[], Question], found: "Future[QueryResult | ImageError]", is_large: bool) -> None:
        """Read a question, decode its photo and queue it; the event loop hears of it when the answer is there."""
        if found.cancelled():  # nobody waits any more
            return
        try:
            question = ask()
            if not is_large and question.photo.width * question.photo.height > _LARGE_PIXELS:
                self._large_thread.submit(self._decode, lambda: question, found, True)
                return
            with _measure(self._metrics, "decode"):
                pixels = decode_photo(question.photo, self._format)
            # the request log holds the first prediction, whatever the endpoint
            landmarks = max(question.landmarks, 1) if self.log else question.landmarks
            self._batches.submit(Query(pixels, landmarks, question.neighbours), found)
        except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
            if found.set_running_or_notify_cancel():
                found.set_exception(error)

    def list_landmarks(self, page: Page) -> LandmarksAnswer:
        """List landmarks that the model can name, those of a page."""
        found: Sequence[Landmark] = self.recognizer.landmarks
        if page.q:
            wanted = page.q.casefold()
            names = zip(found, self._searched_names, strict=True)
            found = [item for item, text in names if wanted in text or page.q == str(item.landmark_id)]
        shown = found[page.offset : page.offset + page.limit]
        return LandmarksAnswer(
            len(found),
            tuple(KnownLandmark(item.landmark_id, item.name, item.train, item.translations) for item in shown),
        )

    @cached_property
    def _searched_names(self) -> list[str]:
        """The names of each landmark in all languages, without case."""
        return ["\n".join([item.name, *item.translations.values()]).casefold() for item in self.recognizer.landmarks]

    def describe_model(self, receipt: PackageReceipt) -> ModelAnswer:
        """Describe the model and its origin."""
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
            is_invented=self.recognizer.gallery.is_of_demo,
        )

    @property
    def has_thumbnails(self) -> bool:
        """Whether the gallery has thumbnails."""
        return self.recognizer.gallery.thumbnails is not None

    def find_thumbnail(self, image_id: str) -> bytes | None:
        """Return the thumbnail of a gallery photo as JPEG; None if the photo is unknown or there are no thumbnails."""
        return self.recognizer.gallery.find_thumbnail(image_id)

    def close(self) -> None:
        """Answer the waiting queries, write the rest of the request log, and stop the threads."""
        self._threads.shutdown()
        self._large_thread.shutdown()
        self._batches.close()  # before the log, which records its last answers
        if self.log:
            self.log.close()


def run_queries(
    recognizer: Recognizer, queries: Sequence[Query], metrics: ModelMetrics | None = None
) -> list[QueryResult | ImageError]:
    """Answer a batch of queries with one run of the network and one search.

    The result of a query does not depend on the other queries. An error of one photo is returned as its result.
    """
    with _measure(metrics, "network"):
        probabilities, embeddings = recognizer.network.run(np.stack([query.pixels for query in queries]))
    with _measure(metrics, "search"):
        recognitions = _recognize(recognizer, queries, probabilities, embeddings)
        neighbours = _search(recognizer, queries, embeddings)
    if metrics:
        metrics.count_batch(len(queries))
    return [
        ImageError(NOTHING_FOUND, "empty_embedding")
        if query.neighbours and row not in neighbours
        else QueryResult(embeddings[row], recognitions.get(row), neighbours.get(row, ()))
        for row, query in enumerate(queries)
    ]


def _measure(metrics: ModelMetrics | None, step: str) -> AbstractContextManager[None]:
    return metrics.time(step) if metrics else nullcontext()


def _recognize(
    recognizer: Recognizer, queries: Sequence[Query], probabilities: Floats, embeddings: Floats
) -> dict[int, Recognition]:
    rows = [row for row, query in enumerate(queries) if query.landmarks]
    if not rows:
        return {}
    most = max(queries[row].landmarks for row in rows)  # one call for all; each query then takes what it asked for
    found = recognizer.classify_outputs(probabilities[rows], embeddings[rows], most)
    return {
        row: dataclasses.replace(item, predictions=item.predictions[: queries[row].landmarks])
        for row, item in zip(rows, found, strict=True)
    }


def _search(recognizer: Recognizer, queries: Sequence[Query], embeddings: Floats) -> dict[int, tuple[Neighbour, ...]]:
    rows = [row for row, query in enumerate(queries) if query.neighbours and embeddings[row].any()]
    if not rows:
        return {}
    most = max(queries[row].neighbours for row in rows)
    found = recognizer.search_embeddings(embeddings[rows], most)
    return {row: tuple(item[: queries[row].neighbours]) for row, item in zip(rows, found, strict=True)}
