"""What an evaluation found of "no landmark" and of similar photos: curves, histograms and a page of neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from landmarks.plotting.canvas import (
    BLUE,
    GREY,
    RED,
    YELLOW,
    clear_axes,
    draw_photo_grid,
    make_drawable,
    save_figure,
    wrap_text,
)

Floats = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]

_BINS = 30


@dataclass(frozen=True)
class ShownPhoto:
    """A photo of the page of neighbours.

    Attributes:
        pixels: uint8 (s, s, 3).
        name: of what it shows.
        similarity: to the query; None for the query itself.
        is_right: whether it shows what the query shows.
        credit: its author and licence; empty where they are unknown.
    """

    pixels: Pixels
    name: str
    similarity: float | None = None
    is_right: bool = True
    credit: str = ""


def draw_precision_coverage(path: Path, curve: pd.DataFrame) -> Path:
    """How many of the answers are right when only so many of the landmark photos are answered.

    Args:
        path: the PNG to write.
        curve: `coverage` and `precision`, as `Evaluation.precision_coverage`.
    """
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve["coverage"], curve["precision"], color=BLUE)
    axes.set(xlabel="part of the landmark photos that is answered", ylabel="part of the answers that is right")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Precision and coverage, photos of no landmark among them", fontsize=11)
    clear_axes(axes)
    return save_figure(path, figure)


def draw_landmark_scores(path: Path, right: Floats, wrong: Floats, distractors: Floats, threshold: float) -> Path:
    """The landmark scores of right answers, of wrong ones and of photos of no landmark.

    Args:
        path: the PNG to write.
        right: scores of landmark photos that are answered rightly.
        wrong: of those that are not.
        distractors: of photos of no landmark.
        threshold: the calibrated one.
    """
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    kinds = [(right, BLUE, "right answers"), (wrong, YELLOW, "wrong answers"), (distractors, RED, "no landmark")]
    every = np.concatenate([scores for scores, _, _ in kinds])
    edges = np.linspace(float(every.min()), float(every.max()) + 1e-6, _BINS + 1).tolist()
    for scores, color, name in kinds:
        if len(scores):
            axes.hist(scores, edges, color=color, alpha=0.55, density=True, label=f"{name}, {len(scores):,} photos")
    axes.axvline(threshold, color="0.2", linewidth=1, label=f"threshold {threshold:.2f}")
    axes.set(xlabel="landmark score", ylabel="density")
    axes.set_title("Landmark or none: scores of the test photos", fontsize=11)
    axes.legend(frameon=False, fontsize=8)
    clear_axes(axes)
    return save_figure(path, figure)


def draw_neighbours(path: Path, title: str, rows: Sequence[Sequence[ShownPhoto]]) -> Path:
    """Test photos, each with the most similar training photos beside it.

    Args:
        path: the PNG to write.
        title: above the photos.
        rows: the query first, then its neighbours, closest first; all rows of one length.
    """
    photos = [photo for row in rows for photo in row]
    captions, colors = [], []
    for photo in photos:
        head = "query" if photo.similarity is None else f"similarity {photo.similarity:.2f}"
        texts = [wrap_text(make_drawable(text, 60), 24, 2) for text in (photo.name, photo.credit) if text]
        captions.append("\n".join([head, *texts]))
        colors.append(GREY if photo.similarity is None else BLUE if photo.is_right else RED)
    columns = len(rows[0]) if rows else 1
    return save_figure(path, draw_photo_grid(title, [photo.pixels for photo in photos], captions, columns, colors))
