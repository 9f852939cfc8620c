"""The common style of all figures: colours, texts, grids of photos, and how figures are saved."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from landmarks.files.writing import replace_file

BLUE, RED, YELLOW, GREY = "#4477aa", "#ee6677", "#ccbb44", "#bbbbbb"  # Paul Tol's bright scheme, colour-blind safe
_DPI = 110


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with Matplotlib's defaults, whatever a `matplotlibrc` file or the caller has set; decorates all drawing."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def make_drawable(text: str, longest: int = 32) -> str:
    """Shorten a name and replace characters that the font lacks by □."""
    # Matplotlib would draw them too, but with a warning each, which the tests turn into errors.
    known = FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap()
    drawn = "".join(letter if ord(letter) in known else "□" for letter in text)
    return drawn if len(drawn) <= longest else f"{drawn[: longest - 1].rstrip()}…"


def wrap_text(text: str, width: int, most_lines: int) -> str:
    """Wrap a text into at most `most_lines` lines and end with … if it is cut.

    >>> wrap_text("Basilica of the Sacred Heart", 12, 2).splitlines()
    ['Basilica of', 'the Sacred…']
    """
    return "\n".join(textwrap.wrap(text, width, max_lines=most_lines, placeholder="…"))


def clear_axes(axes: Axes) -> None:
    """Hide the top and right spines."""
    axes.spines[["top", "right"]].set_visible(False)


def draw_photo_grid(
    title: str,
    photos: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    columns: int,
    frame_colors: Sequence[str] | None = None,
) -> Figure:
    """Draw photos in rows, each with a caption below.

    Args:
        title: the title of the figure.
        photos: uint8 (s, s, 3) each.
        captions: one per photo, may be empty.
        columns: number of photos per row.
        frame_colors: one per photo; None for no frames.
    """
    columns = max(1, min(columns, len(photos)))
    rows = max(1, -(-len(photos) // columns))
    caption_inches = 0.16 * max((caption.count("\n") + 1 for caption in captions if caption), default=0)
    height = rows * (1.75 + caption_inches) + 0.5
    figure = Figure(figsize=(max(1.75 * columns, 6.0), height))  # at least wide enough for the title
    # parse_math: names may contain a $, which Matplotlib would parse as TeX.
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / height, va="top", parse_math=False)
    spaces = {"left": 0.02, "right": 0.98, "top": 1 - 0.45 / height, "bottom": (caption_inches + 0.05) / height}
    grid = figure.add_gridspec(rows, columns, **spaces, wspace=0.08, hspace=0.08 + caption_inches / 1.75)
    for position, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        axes = figure.add_subplot(grid[divmod(position, columns)])
        axes.imshow(photo, interpolation="antialiased")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=frame_colors is not None, linewidth=2.5)
        if frame_colors is not None:
            axes.spines[:].set_edgecolor(frame_colors[position])
        axes.set_xlabel(caption, fontsize=8, labelpad=3, parse_math=False)
    return figure


def save_figure(path: Path, figure: Figure) -> Path:
    """Write a figure as PNG atomically."""
    FigureCanvasAgg(figure)  # instead of pyplot, whose global state is not thread-safe and keeps figures alive
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
    return path
