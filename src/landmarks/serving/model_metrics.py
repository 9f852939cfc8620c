"""The metrics that the owner of a model watches: what it answers, how sure it is, what it refuses, where time goes.

They are in the same files as BentoML's own, so `/metrics` sums them over all workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer

from landmarks.recognizer.recognizer import Recognition

REASONS = ("damaged", "unsupported", "too_large", "empty_embedding")  # of `ImageError`
_PARTS = tuple(number / 10 for number in range(1, 11))
_BATCHES = (1, 2, 4, 8, 16, 32)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ModelMetrics:
    """Counts answers. It is safe to call from several threads."""

    def __init__(self) -> None:
        """Register the metrics with those of BentoML, whose client knows the folder that the workers share."""
        metrics = BentoMLContainer.metrics_client.get()
        self._answers = metrics.Counter(
            name="landmarks_answers_total",
            documentation="Answers about photos, by what they say: landmark or no_landmark.",
            labelnames=["answer"],
        )
        self._refused = metrics.Counter(
            name="landmarks_refused_photos_total",
            documentation="Photos that could not be answered, by reason.",
            labelnames=["reason"],
        )
        self._confidence = metrics.Histogram(
            name="landmarks_confidence",
            documentation="Confidence of the answers that name a landmark.",
            buckets=_PARTS,
        )
        self._landmark_score = metrics.Histogram(
            name="landmarks_landmark_score",
            documentation="Landmark scores of all answers.",
            buckets=_PARTS,
        )
        self._batch = metrics.Histogram(
            name="landmarks_batch_photos", documentation="Photos that shared a run of the network.", buckets=_BATCHES
        )
        self._seconds = metrics.Histogram(
            name="landmarks_step_seconds",
            documentation="Seconds in a step: decode, per photo; network and search, per batch.",
            labelnames=["step"],
            buckets=_SECONDS,
        )

        # series exist from the start, so that the first of a kind is seen as a rise
        for answer in ("landmark", "no_landmark"):
            self._answers.labels(answer=answer)
        for reason in REASONS:
            self._refused.labels(reason=reason)

    def count_answer(self, recognition: Recognition) -> None:
        """Count an answer with its scores."""
        self._answers.labels(answer="landmark" if recognition.is_landmark else "no_landmark").inc()
        self._landmark_score.observe(recognition.landmark_score)
        if recognition.is_landmark:
            self._confidence.observe(recognition.confidence)

    def count_refused(self, reason: str) -> None:
        """Count a photo that could not be answered; there are few reasons, `ImageError.reason`."""
        self._refused.labels(reason=reason).inc()

    def count_batch(self, photos: int) -> None:
        """Count a run of the network."""
        self._batch.observe(photos)

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Measure a step: `decode`, `network` or `search`."""
        started = perf_counter()
        try:
            yield
        finally:
            histogram: Any = self._seconds.labels(step=step)
            histogram.observe(perf_counter() - started)


@cache
def get_model_metrics() -> ModelMetrics:
    """Return the metrics of this process, which can be registered only once."""
    return ModelMetrics()
