"""Charts of OOD detection and similarity search: precision-coverage curve, score histogram, page of neighbours."""

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
    default_style,
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
    """A photo on the page of neighbours.

    Attributes:
        pixels: uint8 (s, s, 3).
        name: the name of its landmark.
        similarity: cosine similarity to the query; None for the query itself.
        is_right: whether it shows the landmark of the query.
        credit: author and licence; empty if unknown.
    """

    pixels: Pixels
    name: str
    similarity: float | None = None
    is_right: bool = True
    credit: str = ""


@default_style()
def draw_precision_coverage(path: Path, curve: pd.DataFrame) -> Path:
    """Draw the precision over the coverage for all thresholds of the landmark score.

    Args:
        path: the PNG to write.
        curve: `Evaluation.precision_coverage`, with the columns `coverage` and `precision`.
    """
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve["coverage"], curve["precision"], color=BLUE)
    axes.set(xlabel="coverage (fraction of landmark photos answered)", ylabel="precision (fraction of answers right)")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Precision and coverage, distractors included", fontsize=11)
    clear_axes(axes)
    return save_figure(path, figure)


@default_style()
def draw_landmark_scores(path: Path, right: Floats, wrong: Floats, distractors: Floats, threshold: float) -> Path:
    """Draw histograms of the landmark scores of right predictions, wrong predictions and distractors.

    Args:
        path: the PNG to write.
        right: scores of the landmark photos with the right prediction.
        wrong: scores of the other landmark photos.
        distractors: scores of the distractors (non-landmark photos).
        threshold: the operating point.
    """
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    kinds = [
        (right, BLUE, "right predictions"),
        (wrong, YELLOW, "wrong predictions"),
        (distractors, RED, "distractors"),
    ]
    every = np.concatenate([scores for scores, _, _ in kinds])
    edges = np.linspace(float(every.min()), float(every.max()) + 1e-6, _BINS + 1).tolist()
    for scores, color, name in kinds:
        if len(scores):  # the density of an empty histogram is a division by zero
            axes.hist(scores, edges, color=color, alpha=0.55, density=True, label=f"{name}, {len(scores):,} photos")
    axes.axvline(threshold, color="0.2", linewidth=1, label=f"operating point: threshold {threshold:.2f}")
    axes.set(xlabel="landmark score", ylabel="density")
    axes.set_title("OOD detection: landmark scores of the test photos", fontsize=11)
    axes.legend(frameon=False, fontsize=8)
    clear_axes(axes)
    return save_figure(path, figure)


@default_style()
def draw_neighbours(path: Path, title: str, rows: Sequence[Sequence[ShownPhoto]]) -> Path:
    """Draw test photos, each with its most similar training photos beside it.

    Args:
        path: the PNG to write.
        title: the title of the figure.
        rows: the query, then its neighbours, nearest first; all rows have the same length.
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
