"""How a training went: its learning curves, and what augmentation makes of a photo."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landmarks.plotting.canvas import BLUE, RED, YELLOW, clear_axes, draw_photo_grid, save_figure

_LOSSES = {"train_loss": ("training, running", YELLOW), "val_loss": ("validation", BLUE)}
_ACCURACIES = {
    "train_accuracy": ("training, running", YELLOW),
    "train_inference_accuracy": ("training, in inference mode", RED),
    "val_accuracy": ("validation", BLUE),
}
_MOST_MARKED_EPOCHS = 40
_COLUMNS = 6


def draw_learning_curves(
    path: Path, history: pd.DataFrame, best_epoch: int | None = None, title: str = "Learning curves"
) -> Path:
    """Loss and accuracy over the epochs, training beside validation.

    The running training accuracy is counted while the weights change and batch normalisation uses the batch; the one
    in inference mode is what the finished network does on the same photos. A gap between them is a warning.

    Args:
        path: the PNG to write.
        history: one row per epoch, with `epoch` from 1, `train_loss`, `val_loss`, `train_accuracy`,
            `train_inference_accuracy` and `val_accuracy`.
        best_epoch: whose weights were kept; marked where given.
        title: above the curves.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=11, parse_math=False)
    loss, accuracy = figure.subplots(1, 2)
    _draw_curves(loss, history, _LOSSES, best_epoch)
    loss.set(ylabel="cross-entropy", title="Loss")
    loss.set_ylim(bottom=0)
    _draw_curves(accuracy, history, _ACCURACIES, best_epoch)
    accuracy.set(ylabel="accuracy", title="Accuracy", ylim=(0, 1))
    return save_figure(path, figure)


def draw_augmented(
    path: Path, original: npt.NDArray[np.uint8], versions: npt.NDArray[np.uint8], title: str = "Augmentation"
) -> Path:
    """One photo as it is, and as training sees it.

    Args:
        path: the PNG to write.
        original: uint8 (s, s, 3).
        versions: uint8 (n, s, s, 3).
        title: above the photos.
    """
    photos = [original, *versions]
    captions = ["as it is", *(f"version {number + 1}" for number in range(len(versions)))]
    return save_figure(path, draw_photo_grid(title, photos, captions, _COLUMNS))


def _draw_curves(axes: Axes, history: pd.DataFrame, curves: dict[str, tuple[str, str]], best_epoch: int | None) -> None:
    marker = "o" if len(history) <= _MOST_MARKED_EPOCHS else ""
    for column, (label, color) in curves.items():
        axes.plot(history["epoch"], history[column], label=label, color=color, marker=marker, markersize=3)
    if best_epoch is not None:
        axes.axvline(best_epoch, color="0.4", linewidth=0.8, linestyle="--", label=f"kept: epoch {best_epoch}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False, fontsize=8)
    clear_axes(axes)
