"""Charts of a selection: photos per landmark, and a grid of sample photos."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landmarks.plotting.canvas import (
    BLUE,
    RED,
    YELLOW,
    clear_axes,
    default_style,
    make_drawable,
    save_figure,
    wrap_text,
)
from landmarks.schema.columns import LANDMARK_SPLITS
from landmarks.schema.vocabulary import Landmark

MAX_NAMED_BARS = 120  # above, the bar chart is too tall to read
_COLORS = (BLUE, YELLOW, RED)
_MAX_NAME = 64
_GRID_BLOCKS = 2


@default_style()
def draw_photos_per_landmark(path: Path, landmarks: Sequence[Landmark]) -> Path:
    """Draw the train, val and test photos of each landmark as bars, or very many landmarks as one long-tail curve."""
    ordered = sorted(landmarks, key=lambda landmark: -_count_photos(landmark))
    counts = np.array([[landmark.train, landmark.val, landmark.test] for landmark in ordered])
    figure = _draw_bars(ordered, counts) if len(ordered) <= MAX_NAMED_BARS else _draw_long_tail(ordered, counts)
    return save_figure(path, figure)


@default_style()
def draw_sample_photos(path: Path, rows: Sequence[tuple[Landmark, Sequence[npt.NDArray[np.uint8]]]]) -> Path:
    """Draw a grid of photos with one row per landmark, in two blocks side by side.

    Args:
        path: the PNG to write.
        rows: landmarks with their photos, uint8 (s, s, 3) each; rows may differ in length.
    """
    columns = max((len(photos) for _, photos in rows), default=1)
    height = -(-len(rows) // _GRID_BLOCKS)
    figure = Figure(figsize=(_GRID_BLOCKS * (columns * 0.8 + 2.2), height * 0.85 + 0.6))
    figure.suptitle("Training photos of the selected landmarks", fontsize=11, y=1 - 0.2 / figure.get_figheight())
    grid = figure.add_gridspec(
        height,
        _GRID_BLOCKS * (columns + 2),
        left=0.01,
        right=0.99,
        bottom=0.01,
        top=1 - 0.5 / figure.get_figheight(),
        wspace=0.05,
        hspace=0.06,
    )
    for position, (landmark, photos) in enumerate(rows):
        block, row = divmod(position, height)
        left = block * (columns + 2)
        axes = figure.add_subplot(grid[row, left : left + 2])
        axes.set_axis_off()
        name = wrap_text(make_drawable(landmark.name, _MAX_NAME), 22, 4)
        text = f"{name}\n{_count_photos(landmark)} photos"
        axes.text(0.97, 0.5, text, ha="right", va="center", fontsize=8, parse_math=False, transform=axes.transAxes)
        for column, photo in enumerate(photos):
            axes = figure.add_subplot(grid[row, left + 2 + column])
            axes.set_axis_off()
            axes.imshow(photo, interpolation="antialiased")
    return save_figure(path, figure)


def _count_photos(landmark: Landmark) -> int:
    return landmark.train + landmark.val + landmark.test


def _draw_bars(landmarks: Sequence[Landmark], counts: npt.NDArray[np.int64]) -> Figure:
    figure = Figure(figsize=(9, 1.2 + 0.19 * len(landmarks)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(landmarks))
    left = np.zeros(len(landmarks))
    for split, column, color in zip(LANDMARK_SPLITS, counts.T, _COLORS, strict=True):
        axes.barh(rows, column, left=left, color=color, label=split.value, height=0.8)
        left = left + column
    for row, total in zip(rows, counts.sum(axis=1), strict=True):
        axes.annotate(
            str(total), (total, row), (3, 0), textcoords="offset points", va="center", fontsize=7, color="0.35"
        )
    axes.set_yticks(rows, [make_drawable(landmark.name) for landmark in landmarks], fontsize=8, parse_math=False)
    axes.set_ylim(len(landmarks) - 0.4, -0.6)  # inverted, the largest landmark on top
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("photos")
    figure.legend(loc="outside upper right", ncols=len(LANDMARK_SPLITS), frameon=False, fontsize=8)
    _finish(axes, landmarks, counts)
    return figure


def _draw_long_tail(landmarks: Sequence[Landmark], counts: npt.NDArray[np.int64]) -> Figure:
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    totals = counts.sum(axis=1)
    edges = np.arange(len(totals) + 1) + 0.5
    # Log scales: in Google Landmarks, counts range from 1 to thousands over 81,313 landmarks.
    axes.stairs(totals, edges, fill=True, color=_COLORS[0], baseline=0.5)
    axes.set(xscale="log", yscale="log", xlim=(0.5, len(totals) + 0.5), ylim=(0.5, totals.max() * 2))
    axes.set_xlabel("rank of the landmark, by number of photos")
    axes.set_ylabel("photos")
    median = int(np.median(totals))
    axes.axhline(median, color="0.2", linewidth=0.8, linestyle="--")
    axes.annotate(f"median {median}", (0.55, median), (0, 3), textcoords="offset points", fontsize=8)
    largest = f"{make_drawable(landmarks[0].name)}: {totals[0]}"
    axes.annotate(largest, (1, totals[0]), (0, 4), textcoords="offset points", fontsize=8, parse_math=False)
    _finish(axes, landmarks, counts)
    return figure


def _finish(axes: Axes, landmarks: Sequence[Landmark], counts: npt.NDArray[np.int64]) -> None:
    parts = ", ".join(
        f"{total:,} {split.value}" for split, total in zip(LANDMARK_SPLITS, counts.sum(axis=0), strict=True)
    )
    axes.set_title(f"{len(landmarks):,} landmarks, {counts.sum():,} photos ({parts})", fontsize=10)
    clear_axes(axes)
