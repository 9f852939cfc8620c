"""Run a recognizer over a split, in one pass that decodes each photo once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.evaluation.metrics import Bools, Floats, Ints
from landmarks.export.predict import Outputs, predict_split
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.network_format import Pixels


@dataclass(frozen=True)
class Predictions:
    """Predictions of a recognizer for n photos.

    Attributes:
        image_ids: of the n photos.
        labels: int (n,), the truth; -1 for distractors.
        probabilities: float32 (n, L).
        scores: float32 (n,), landmark scores: estimated probability that the photo shows a landmark.
        confidences: float32 (n,), estimated probability that the most likely label is correct.
    """

    image_ids: tuple[str, ...]
    labels: Ints
    probabilities: Floats
    scores: Floats
    confidences: Floats

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most likely labels, int64 (n,); of equal ones the lowest."""
        return np.asarray(np.argmax(self.probabilities, axis=1), np.int64)

    @property
    def correct(self) -> Bools:
        """Whether the most likely label is the true one, bool (n,)."""
        return np.asarray(self.predicted == self.labels)


Observer = Callable[[Outputs, Pixels], None]


def predict(recognizer: Recognizer, shards: Path, split: Split, *observers: Observer) -> Predictions:
    """Run a recognizer over a split.

    Args:
        recognizer: the recognizer.
        shards: `data/shards`.
        split: of the shards.
        observers: called with the outputs and the pixels, uint8 (n, s, s, 3), of every batch, so that other metrics and
            charts need no pass of their own.

    Raises:
        ArtifactError: the shards are missing or damaged.
    """
    scorer = recognizer.gallery.scorer
    image_ids: list[str] = []
    labels, scores, confidences = [np.empty(0, np.int32)], [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    probabilities = [np.empty((0, recognizer.network.labels), np.float32)]
    for outputs, pixels in predict_split(recognizer.network, shards, split):
        evidence = scorer.collect(outputs.probabilities, outputs.embeddings)
        image_ids += outputs.image_ids
        labels.append(outputs.labels)
        probabilities.append(outputs.probabilities)
        scores.append(scorer.score(evidence))
        confidences.append(scorer.confidence(evidence))
        for observe in observers:
            observe(outputs, pixels)
    return Predictions(
        tuple(image_ids),
        np.concatenate(labels),
        np.concatenate(probabilities),
        np.concatenate(scores),
        np.concatenate(confidences),
    )


class BestPhotos:
    """Keeps the pixels of the photos with the lowest keys during a pass over a split."""

    def __init__(self, most: int, find_keys: Callable[[Outputs], Sequence[tuple[int, object]]]) -> None:
        """Create a collector.

        Args:
            most: number of photos to keep.
            find_keys: from the outputs of a batch to the rows that may be kept, each with its key.
        """
        self._most = most
        self._find_keys = find_keys
        self._kept: list[tuple[object, int, str, Pixels]] = []
        self._seen = 0

    def observe(self, outputs: Outputs, pixels: Pixels) -> None:
        """Add the photos of a batch."""
        found = [(key, self._seen + row, outputs.image_ids[row], row) for row, key in self._find_keys(outputs)]
        self._seen += len(outputs.labels)
        rows = {place: row for _, place, _, row in found}
        every = [*self._kept, *((key, place, image_id, pixels) for key, place, image_id, _ in found)]
        every.sort(key=lambda item: item[:2])
        self._kept = [
            # copied, so that one kept photo does not keep its whole batch in memory
            (key, place, image_id, photo[rows[place]].copy() if place in rows else photo)
            for key, place, image_id, photo in every[: self._most]
        ]

    @property
    def photos(self) -> dict[str, Pixels]:
        """Pixels, uint8 (s, s, 3), by image id; lowest key first."""
        return {image_id: photo for _, _, image_id, photo in self._kept}
