"""Charts of a training run: learning curves, and augmented versions of a photo."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landmarks.plotting.canvas import BLUE, RED, YELLOW, clear_axes, default_style, draw_photo_grid, save_figure

_LOSSES = {"train_loss": ("training (mean over the epoch)", YELLOW), "val_loss": ("validation", BLUE)}
_ACCURACIES = {
    "train_accuracy": ("training (mean over the epoch)", YELLOW),
    "train_inference_accuracy": ("training (inference mode)", RED),
    "val_accuracy": ("validation", BLUE),
}
_MAX_MARKED_EPOCHS = 40  # above, markers merge into a thick line
_COLUMNS = 6


@default_style()
def draw_learning_curves(
    path: Path, history: pd.DataFrame, best_epoch: int | None = None, title: str = "Learning curves"
) -> Path:
    """Draw loss and accuracy over the epochs, for training and validation.

    The mean training accuracy is measured during the epoch, while the weights change and batch normalisation uses batch
    statistics. The accuracy in inference mode is measured on training photos after the epoch. A large gap between the
    two indicates a problem, for example with the statistics of batch normalisation.

    Args:
        path: the PNG to write.
        history: one row per epoch, with `epoch` from 1, `train_loss`, `val_loss`, `train_accuracy`,
            `train_inference_accuracy` and `val_accuracy`.
        best_epoch: the epoch whose weights were kept, marked by a line; None for no line.
        title: the title of the figure.
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


@default_style()
def draw_augmented(
    path: Path, original: npt.NDArray[np.uint8], versions: npt.NDArray[np.uint8], title: str = "Augmentation"
) -> Path:
    """Draw a photo and augmented versions of it.

    Args:
        path: the PNG to write.
        original: uint8 (s, s, 3).
        versions: uint8 (n, s, s, 3).
        title: the title of the figure.
    """
    photos = [original, *versions]
    captions = ["original", *(f"version {number + 1}" for number in range(len(versions)))]
    return save_figure(path, draw_photo_grid(title, photos, captions, _COLUMNS))


def _draw_curves(axes: Axes, history: pd.DataFrame, curves: dict[str, tuple[str, str]], best_epoch: int | None) -> None:
    marker = "o" if len(history) <= _MAX_MARKED_EPOCHS else ""
    for column, (label, color) in curves.items():
        axes.plot(history["epoch"], history[column], label=label, color=color, marker=marker, markersize=3)
    if best_epoch is not None:
        axes.axvline(best_epoch, color="0.4", linewidth=0.8, linestyle="--", label=f"kept: epoch {best_epoch}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False, fontsize=8)
    clear_axes(axes)
