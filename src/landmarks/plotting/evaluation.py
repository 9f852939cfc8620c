"""Charts of an evaluation: confusion matrix, reliability diagram and galleries of predictions."""

from collections.abc import Mapping, Sequence
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
    default_style,
    draw_photo_grid,
    make_drawable,
    save_figure,
    wrap_text,
)

MAX_LANDMARKS = 100  # rows of a confusion matrix that are still readable
_MAX_NUMBERED = 30  # above, the cells are too small for numbers
_GALLERY_COLUMNS = 4

Ints = npt.NDArray[np.integer]


@default_style()
def draw_confusion_matrix(path: Path, actual: Ints, predicted: Ints, names: Sequence[str]) -> Path:
    """Draw a confusion matrix, normalised by row.

    If there are more than `MAX_LANDMARKS` landmarks, draw only those with the most wrong predictions.

    Args:
        path: the PNG to write.
        actual: int (n,), the true labels.
        predicted: int (n,), the predicted labels.
        names: by label.
    """
    chosen: npt.NDArray[np.int64] = np.arange(len(names))
    shown = f"{len(names)} landmarks"
    if len(names) > MAX_LANDMARKS:
        wrong = np.bincount(actual[actual != predicted], minlength=len(names))
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:MAX_LANDMARKS])
        shown = f"the {len(chosen)} of {len(names):,} landmarks with the most wrong predictions"
    counts = _count_pairs(actual, predicted, chosen, len(names))
    photos = np.bincount(actual, minlength=len(names))[chosen]
    # Landmarks without test photos have no fractions: masked cells show the grey background.
    fractions = np.ma.masked_invalid(
        np.divide(counts, photos[:, None], np.full(counts.shape, np.nan), where=photos[:, None] > 0)
    )
    side = 2.6 + max(0.17 * len(chosen), 3.0)
    figure = Figure(figsize=(side + 0.9, side), layout="constrained")
    axes = figure.add_subplot()
    # The power norm makes rare confusions visible beside a strong diagonal.
    image = axes.imshow(fractions, cmap="Blues", norm=PowerNorm(0.6, 0, 1), interpolation="nearest")
    axes.set_facecolor("0.93")
    figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02, label="fraction of the landmark's test photos")
    _name_axes(axes, [make_drawable(names[label]) for label in chosen])
    if len(chosen) <= _MAX_NUMBERED:
        for row, column in np.argwhere(counts > 0):
            color = "white" if fractions[row, column] > 0.5 else "0.2"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color)
    axes.set_title(f"Confusion matrix: {shown}, {photos.sum():,} test photos", fontsize=11)
    return save_figure(path, figure)


@default_style()
def draw_reliability(path: Path, bins: pd.DataFrame, metrics: Mapping[str, float]) -> Path:
    """Draw a reliability diagram, with the number of test photos per confidence bin below.

    Args:
        path: the PNG to write.
        bins: `Evaluation.reliability`: `confidence_above`, `confidence_to`, `photos`, `confidence`, `accuracy`.
        metrics: `ece`, `ece_if_calibrated_low`, `ece_if_calibrated_high` and `softmax_ece`.
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
        label="accuracy of the bin",
    )
    filled = bins[bins["photos"] > 0]
    upper.plot(
        filled["confidence"], filled["accuracy"], "o", color="0.15", markersize=4, label="at the bin's mean confidence"
    )
    upper.plot([0, 1], [0, 1], color=RED, linestyle="--", label="perfectly calibrated")
    upper.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    low, high = metrics["ece_if_calibrated_low"], metrics["ece_if_calibrated_high"]
    upper.set_title(
        f"Reliability of the confidence: expected calibration error {metrics['ece']:.3f}\n"
        f"perfectly calibrated: {low:.3f} to {high:.3f}; softmax, landmarks alone: {metrics['softmax_ece']:.3f}",
        fontsize=10,
    )
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    lower.bar(left, bins["photos"], width, align="edge", color=GREY, edgecolor="white")
    lower.set(xlabel="confidence of the prediction", ylabel="test photos")
    clear_axes(upper)
    clear_axes(lower)
    return save_figure(path, figure)


@default_style()
def draw_gallery(path: Path, title: str, photos: Sequence[npt.NDArray[np.uint8]], answers: pd.DataFrame) -> Path:
    """Draw photos with their predicted and actual landmark and the confidence; the frame shows whether it is right.

    Args:
        path: the PNG to write.
        title: the title of the figure.
        photos: uint8 (s, s, 3) each, in the order of `answers`.
        answers: `predicted`, `actual` and `confidence`, one row per photo.
    """
    captions = [
        f"{_caption('Predicted', row.predicted)}\n{_caption('Actual', row.actual)}\nconfidence {row.confidence:.2f}"
        for row in answers.itertuples()
    ]
    is_right = answers["predicted"] == answers["actual"]
    colors = [BLUE if right else RED for right in is_right]
    return save_figure(path, draw_photo_grid(title, photos, captions, _GALLERY_COLUMNS, colors))


def _caption(word: str, name: object) -> str:
    return wrap_text(f"{word} {make_drawable(str(name), 60)}", 26, 2)


def _count_pairs(actual: Ints, predicted: Ints, chosen: Ints, labels: int) -> npt.NDArray[np.int64]:
    """Count the pairs of actual and predicted label among the chosen ones: int64 (c, c)."""
    # Never build the full matrix: 81,313 landmarks would need 53 GB.
    place = np.full(labels, -1)
    place[chosen] = np.arange(len(chosen))
    rows, columns = place[actual], place[predicted]
    drawn = (rows >= 0) & (columns >= 0)
    counts = np.zeros((len(chosen), len(chosen)), np.int64)
    np.add.at(counts, (rows[drawn], columns[drawn]), 1)
    return counts


def _name_axes(axes: Axes, names: Sequence[str]) -> None:
    size = 9 if len(names) <= _MAX_NUMBERED else 7
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
