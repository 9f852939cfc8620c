"""Patterns of marks on the sides of solids: windows, bands, blocks of stone; drawn in 2D, then mapped onto the side."""

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pattern = Literal["plain", "bands", "stripes", "windows", "arches", "blocks", "grid", "diamonds", "clock", "door"]


def build_marks(quad: Array, pattern: Pattern, rows: int, columns: int) -> tuple[Array, ...]:
    """Map a pattern onto a side.

    Args:
        quad: float64 (4, 3), bottom left, bottom right, top right, top left.
        pattern: the pattern.
        rows: vertical repetitions.
        columns: horizontal repetitions.

    Returns:
        Polygons, each float64 (n, 3).
    """
    return tuple(_lay(mark, quad) for mark in _draw(pattern, rows, columns))


def _lay(mark: Array, quad: Array) -> Array:
    across, up = mark[:, :1], mark[:, 1:]
    low = quad[0] + across * (quad[1] - quad[0])
    high = quad[3] + across * (quad[2] - quad[3])
    laid: Array = low + up * (high - low)
    return laid


@cache  # thousands of sides share a few patterns
def _draw(pattern: Pattern, rows: int, columns: int) -> tuple[Array, ...]:
    cells = [(column, row) for row in range(rows) for column in range(columns)]
    marks = [mark for cell in cells for mark in _CELLS[pattern](*cell)]
    return tuple(np.array(mark, float) / (columns, rows) for mark in marks)


_Cell = list[list[tuple[float, float]]]


def _box(left: float, low: float, right: float, high: float) -> list[tuple[float, float]]:
    return [(left, low), (right, low), (right, high), (left, high)]


def _plain(_column: int, _row: int) -> _Cell:
    return []


def _bands(x: int, y: int) -> _Cell:
    return [_box(x, y + 0.5, x + 1, y + 1)]


def _stripes(x: int, y: int) -> _Cell:
    return [_box(x + 0.3, y, x + 0.7, y + 1)]


def _windows(x: int, y: int) -> _Cell:
    return [_box(x + 0.27, y + 0.22, x + 0.73, y + 0.78)]


def _arches(x: int, y: int) -> _Cell:
    bow = [(x + 0.5 + 0.28 * np.cos(a), y + 0.58 + 0.26 * np.sin(a)) for a in np.linspace(0, np.pi, 6)]
    return [[(x + 0.22, y + 0.08), (x + 0.78, y + 0.08), *bow]]


def _blocks(x: int, y: int) -> _Cell:
    left = x + 0.25 * (y % 2) + 0.03
    return [_box(left, y + 0.08, left + 0.45, y + 0.9)] if (x * 7 + y * 3) % 4 else []


def _grid(x: int, y: int) -> _Cell:
    return [_box(x, y, x + 1, y + 0.12), _box(x, y, x + 0.1, y + 1)]


def _diamonds(x: int, y: int) -> _Cell:
    return [[(x + 0.5, y + 0.05), (x + 0.95, y + 0.5), (x + 0.5, y + 0.95), (x + 0.05, y + 0.5)]]


def _clock(x: int, y: int) -> _Cell:
    return [[(x + 0.5 + 0.42 * np.cos(a), y + 0.5 + 0.42 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16)]]


def _door(x: int, y: int) -> _Cell:
    return [_box(x + 0.4, y, x + 0.6, y + 0.45)]


_CELLS: dict[Pattern, Callable[[int, int], _Cell]] = {
    "plain": _plain,
    "bands": _bands,
    "stripes": _stripes,
    "windows": _windows,
    "arches": _arches,
    "blocks": _blocks,
    "grid": _grid,
    "diamonds": _diamonds,
    "clock": _clock,
    "door": _door,
}
