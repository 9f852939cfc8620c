"""Parity: compare the answers of an exported network with those of its Keras network."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from landmarks.errors import DataError
from landmarks.params import ExportParams
from landmarks.schema.columns import Split
from landmarks.schema.network_format import EMBEDDING, PROBABILITIES, Floats, Pixels
from landmarks.shards.format import iterate_batches

_BATCH = 128
_ONE_IN_A_HUNDRED = 2.33  # standard deviations, which a normal distribution exceeds that often

Runner = Callable[[Pixels], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Parity:
    """Agreement of an export with its Keras network.

    Attributes:
        photos: number of photos compared.
        differing: photos for which the two predict different landmarks.
        min_cosine: lowest cosine of the two embeddings of a photo.
        top1_change: top-1 accuracy of the export minus that of the Keras network.
    """

    photos: int
    differing: int
    min_cosine: float
    top1_change: float

    def find_deviation(self, precision: str, params: ExportParams, is_sample: bool = False) -> str | None:
        """Describe the first limit that an export of this precision exceeds; None if it is within all limits.

        Args:
            precision: of the export.
            params: the limits.
            is_sample: whether the photos had no part in choosing this export. Their counts scatter around the limits
                then, so that one in a hundred exports just within a limit would be refused.
        """
        least = params.min_agreement if precision == "int8" else params.min_float_agreement
        found = f"{self.differing} of {self.photos} photos get another landmark"
        if self.differing > self._allow(1.0 - least, is_sample):
            return f"{found}, at least {least:.2%} must get the same"
        if precision == "int8" and round(abs(self.top1_change) * self.photos) > self._allow(
            params.max_top1_change, is_sample
        ):
            return f"top-1 changes by {100 * self.top1_change:+.2f} points, at most {100 * params.max_top1_change:.2f}"
        if precision == "float32" and self.min_cosine < params.min_float_cosine:
            return f"the lowest cosine of embeddings is {self.min_cosine:.5f}, below {params.min_float_cosine:.5f}"
        return None

    def _allow(self, fraction: float, is_sample: bool) -> float:
        """Return how many photos may differ where a fraction may; one always: a single tie would exceed any limit."""
        expected = fraction * self.photos
        return max(1.0, expected + (_ONE_IN_A_HUNDRED * math.sqrt(expected) if is_sample else 0.0))


class ParityMeter:
    """Compares the outputs of an export with those of its Keras network, batch by batch."""

    def __init__(self, network: Any) -> None:
        """Args: network: the Keras network, from `trained.load_network`."""
        self._network = network
        self._photos = self._differing = self._gained = 0
        self._min_cosine = 1.0

    def add(self, pixels: Pixels, labels: npt.NDArray[np.integer], probabilities: Floats, embeddings: Floats) -> None:
        """Compare one batch.

        Args:
            pixels: uint8 (n, s, s, 3).
            labels: int (n,), the truth.
            probabilities: float32 (n, L), of the export.
            embeddings: float32 (n, d), of the export.
        """
        for start in range(0, len(labels), _BATCH):
            part = slice(start, start + _BATCH)
            self._add(self._network.predict_on_batch(pixels[part]), labels[part], probabilities[part], embeddings[part])

    def _add(
        self, expected: dict[str, Floats], labels: npt.NDArray[np.integer], probabilities: Floats, embeddings: Floats
    ) -> None:
        before, after = expected[PROBABILITIES].argmax(axis=1), probabilities.argmax(axis=1)
        self._photos += len(labels)
        self._differing += int(np.sum(before != after))
        self._gained += int(np.sum(after == labels)) - int(np.sum(before == labels))
        # rows of zeros have no direction
        cosines = np.sum(expected[EMBEDDING] * embeddings, axis=1)[embeddings.any(axis=1)]
        self._min_cosine = min(self._min_cosine, float(cosines.min(initial=1.0)))

    def measure(self) -> Parity:
        """Return the agreement on all photos so far.

        Raises:
            DataError: there were no photos.
        """
        if not self._photos:
            raise DataError("There are no photos to compare the export on. Raise select.val_fraction or test_fraction.")
        return Parity(self._photos, self._differing, self._min_cosine, self._gained / self._photos)


def measure_parity(network: Any, run: Runner, shards: Path, split: Split) -> Parity:
    """Compare a Keras network with its export on a split.

    Args:
        network: the Keras network.
        run: the export, from photos to probabilities and embeddings.
        shards: `data/shards`.
        split: of the shards.

    Raises:
        ArtifactError: the shards are damaged.
        DataError: there are no photos.
    """
    meter = ParityMeter(network)
    for _, labels, pixels in iterate_batches(shards, split, _BATCH):
        meter.add(pixels, labels, *run(pixels))
    return meter.measure()
