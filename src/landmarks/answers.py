"""What a recognizer says of the photos of a split: arrays that evaluation reads."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landmarks.metrics import Bools, Floats, Ints


@dataclass(frozen=True)
class Answers:
    """What a recognizer says of photos.

    Attributes:
        image_ids: of the n photos.
        labels: int (n,), the truth; -1 for photos of no landmark.
        probabilities: float32 (n, L).
        scores: float32 (n,), the estimated chance that each photo shows a landmark.
        confidences: float32 (n,), the estimated chance that the most likely label is the true one.
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
