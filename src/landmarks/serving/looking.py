"""What is computed for the photos of a batch: one run of the network, one search of the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from landmarks.errors import ImageError
from landmarks.recognizer.recognizer import Neighbour, Recognition, Recognizer
from landmarks.schema.network_format import Floats, Pixels


@dataclass(frozen=True)
class Wish:
    """How many landmarks and how many similar photos are wanted for a photo; 0 where none are."""

    landmarks: int = 0
    neighbours: int = 0


@dataclass(frozen=True)
class Look:
    """A decoded photo, uint8 (image_size, image_size, 3), and what is wanted of it."""

    pixels: Pixels
    wish: Wish


@dataclass(frozen=True)
class Sight:
    """What was found. `embedding` is float32 (d,), of unit length, or zeros where the network finds nothing."""

    embedding: Floats
    recognition: Recognition | None
    neighbours: tuple[Neighbour, ...]


def look(recognizer: Recognizer, looks: Sequence[Look]) -> list[Sight | ImageError]:
    """Answer several photos, each as if it were alone; the error of one is its own result."""
    probabilities, embeddings = recognizer.network.run(np.stack([item.pixels for item in looks]))
    recognitions = _recognize(recognizer, looks, probabilities, embeddings)
    neighbours = _search(recognizer, looks, embeddings)
    return [
        ImageError("The network finds nothing in this photo, so no photo is similar. Send another one.")
        if item.wish.neighbours and row not in neighbours
        else Sight(embeddings[row], recognitions.get(row), neighbours.get(row, ()))
        for row, item in enumerate(looks)
    ]


def _recognize(
    recognizer: Recognizer, looks: Sequence[Look], probabilities: Floats, embeddings: Floats
) -> dict[int, Recognition]:
    rows = [row for row, item in enumerate(looks) if item.wish.landmarks]
    if not rows:
        return {}
    most = max(looks[row].wish.landmarks for row in rows)
    found = recognizer.classify_outputs(probabilities[rows], embeddings[rows], most)
    return {
        row: replace(item, predictions=item.predictions[: looks[row].wish.landmarks])
        for row, item in zip(rows, found, strict=True)
    }


def _search(recognizer: Recognizer, looks: Sequence[Look], embeddings: Floats) -> dict[int, tuple[Neighbour, ...]]:
    rows = [row for row, item in enumerate(looks) if item.wish.neighbours and embeddings[row].any()]
    if not rows:
        return {}
    most = max(looks[row].wish.neighbours for row in rows)
    found = recognizer.search_embeddings(embeddings[rows], most)
    return {row: tuple(item[: looks[row].wish.neighbours]) for row, item in zip(rows, found, strict=True)}
