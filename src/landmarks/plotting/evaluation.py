"""What an evaluation found: the confusion matrix, reliability, and galleries of answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from landmarks.plotting.canvas import (
    BLUE,
    GREY,
    RED,
    clear_axes,
    draw_photo_grid,
    make_drawable,
    save_figure,
    wrap_text,
)

MOST_LANDMARKS = 100
_MOST_NUMBERED = 30
_GALLERY_COLUMNS = 4

Ints = npt.NDArray[np.integer]


def draw_confusion_matrix(path: Path, actual: Ints, predicted: Ints, names: Sequence[str]) -> Path:
    """How the photos of each landmark were answered; each row adds up to 1.

    With more than `MOST_LANDMARKS` landmarks only so many are drawn, those with the most wrong answers.

    Args:
        path: the PNG to write.
        actual: int (n,), the true labels.
        predicted: int (n,), the answers.
        names: of the labels.
    """
    chosen = _choose_landmarks(actual, predicted, len(names))
    counts = _count_pairs(actual, predicted, chosen, len(names))
    photos = np.bincount(actual, minlength=len(names))[chosen]
    parts = np.ma.masked_invalid(
        np.divide(counts, photos[:, None], np.full(counts.shape, np.nan), where=photos[:, None] > 0)
    )
    side = 2.6 + max(0.17 * len(chosen), 3.0)
    figure = Figure(figsize=(side + 0.9, side), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(parts, cmap="Blues", norm=PowerNorm(0.6, 0, 1), interpolation="nearest")
    axes.set_facecolor("0.93")
    figure.colorbar(shown, ax=axes, shrink=0.6, aspect=30, pad=0.02, label="part of the landmark's test photos")
    _name_axes(axes, [make_drawable(names[label]) for label in chosen])
    if len(chosen) <= _MOST_NUMBERED:
        _write_counts(axes, counts, parts)
    axes.set_title(_describe_matrix(len(chosen), len(names), photos), fontsize=11)
    return save_figure(path, figure)


def draw_reliability(path: Path, bins: pd.DataFrame, calibration_error: float) -> Path:
    """How often answers of a given confidence are right, and how many there are.

    Args:
        path: the PNG to write.
        bins: `confidence_above`, `confidence_to`, `photos`, `confidence`, `accuracy`, as `Evaluation.reliability`.
        calibration_error: the expected calibration error.
    """
    figure = Figure(figsize=(5.4, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    left, width = bins["confidence_above"], bins["confidence_to"] - bins["confidence_above"]
    upper.bar(
        left,
        bins["accuracy"].fillna(0),
        width,
        align="edge",
        color=BLUE,
        edgecolor="white",
        label="right, of the answers in the bin",
    )
    filled = bins[bins["photos"] > 0]
    upper.plot(
        filled["confidence"], filled["accuracy"], "o", color="0.15", markersize=4, label="at the bin's mean confidence"
    )
    upper.plot([0, 1], [0, 1], color=RED, linestyle="--", label="perfectly calibrated")
    upper.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    upper.set_title(f"Reliability: expected calibration error {calibration_error:.3f}", fontsize=11)
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    lower.bar(left, bins["photos"], width, align="edge", color=GREY, edgecolor="white")
    lower.set(xlabel="confidence of the answer", ylabel="test photos")
    clear_axes(upper)
    clear_axes(lower)
    return save_figure(path, figure)


def draw_gallery(path: Path, title: str, photos: Sequence[npt.NDArray[np.uint8]], answers: pd.DataFrame) -> Path:
    """Photos with what was predicted, with its score, and what they actually show.

    Args:
        path: the PNG to write.
        title: above the photos.
        photos: uint8 (s, s, 3) each, in the order of `answers`.
        answers: `predicted`, `actual` and `score`, one row per photo.
    """
    captions = [
        f"{_caption('Predicted', row.predicted)}\n{_caption('Actual', row.actual)}\nscore {row.score:.2f}"
        for row in answers.itertuples()
    ]
    is_right = answers["predicted"] == answers["actual"]
    colors = [BLUE if right else RED for right in is_right]
    return save_figure(path, draw_photo_grid(title, photos, captions, _GALLERY_COLUMNS, colors))


def _caption(word: str, name: object) -> str:
    return wrap_text(f"{word} {make_drawable(str(name), 60)}", 26, 2)


def _choose_landmarks(actual: Ints, predicted: Ints, labels: int) -> npt.NDArray[np.int64]:
    if labels <= MOST_LANDMARKS:
        return np.arange(labels)
    wrong = np.bincount(actual[actual != predicted], minlength=labels)
    return np.sort(np.argsort(-wrong, kind="stable")[:MOST_LANDMARKS])


def _count_pairs(actual: Ints, predicted: Ints, chosen: Ints, labels: int) -> npt.NDArray[np.int64]:
    """Photos by what they show and what was answered, among the chosen labels only: the full matrix may be huge."""
    place = np.full(labels, -1)
    place[chosen] = np.arange(len(chosen))
    rows, columns = place[actual], place[predicted]
    drawn = (rows >= 0) & (columns >= 0)
    counts = np.zeros((len(chosen), len(chosen)), np.int64)
    np.add.at(counts, (rows[drawn], columns[drawn]), 1)
    return counts


def _describe_matrix(drawn: int, labels: int, photos: Ints) -> str:
    shown = f"{drawn} landmarks" if drawn == labels else f"the {drawn} of {labels:,} landmarks with most wrong answers"
    return f"Confusion matrix: {shown}, {photos.sum():,} test photos"


def _name_axes(axes: Axes, names: Sequence[str]) -> None:
    size = 9 if len(names) <= _MOST_NUMBERED else 7
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")


def _write_counts(axes: Axes, counts: Ints, parts: npt.NDArray[np.float64]) -> None:
    for row, column in np.argwhere(counts > 0):
        color = "white" if parts[row, column] > 0.5 else "0.2"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color)
