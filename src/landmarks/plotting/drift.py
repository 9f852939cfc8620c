"""The drift chart: served photos against test photos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landmarks.plotting.canvas import BLUE, RED, clear_axes, default_style, save_figure

_BINS = 40
_LABELS = {
    "score": "score of the top prediction",
    "landmark_score": "landmark score",
    "embedding": "cosine similarity to the nearest test photo",
}


class Comparison(Protocol):
    """The attributes of `landmarks.drift.two_sample.Comparison` that are drawn.

    A protocol, because `drift` imports this folder, so this folder cannot import `drift`.
    """

    @property
    def effect_size(self) -> float:
        """Effect size of the difference."""

    @property
    def drifted(self) -> bool:
        """Whether the difference is drift."""

    @property
    def reference(self) -> npt.NDArray[np.floating]:
        """Values of the test photos, float (n,)."""

    @property
    def served(self) -> npt.NDArray[np.floating]:
        """Values of the served photos, float (m,)."""


@default_style()
def draw_drift(path: Path, comparisons: Mapping[str, Comparison]) -> Path:
    """Draw the distribution of each quantity for served photos and test photos.

    Args:
        path: the PNG to write.
        comparisons: the result of `landmarks.drift.two_sample.compare_samples`.
    """
    figure = Figure(figsize=(4.2 * len(comparisons), 3.6), layout="constrained")
    panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
    for axes, (name, found) in zip(panels, comparisons.items(), strict=True):
        _draw_panel(axes, name, found)
    panels[0].set_ylabel("fraction of the photos")
    panels[0].legend(frameon=False, fontsize=8)
    return save_figure(path, figure)


def _draw_panel(axes: Axes, name: str, found: Comparison) -> None:
    both = np.concatenate([found.reference, found.served])
    # The minimum width keeps bins valid if all values are equal.
    edges = np.linspace(both.min(), max(both.max(), both.min() + 1e-6), _BINS + 1).tolist()
    for values, color, label in ((found.reference, BLUE, "test photos"), (found.served, RED, "served photos")):
        weights = np.full(len(values), 1 / len(values))  # fractions, because the samples differ in size
        axes.hist(values, edges, weights=weights, color=color, alpha=0.25)
        axes.hist(values, edges, weights=weights, color=color, histtype="step", linewidth=1.4, label=label)
    axes.set_title(
        f"{name}: {'changed' if found.drifted else 'same'}, effect size {found.effect_size:.3f}", fontsize=11
    )
    axes.set_xlabel(_LABELS[name])
    clear_axes(axes)
