"""Convex solids, the building blocks of the synthetic landmarks.

x points right, y away from a viewer in front, z up. A ring is a float64 (n, 3) array of corners in order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from landmarks.demo.patterns import Pattern, build_marks

Array = NDArray[np.float64]
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Paint:
    """A material: a base colour, and a pattern of marks in a second colour; with `glows` the marks shine at night."""

    colour: Rgb
    pattern: Pattern = "plain"
    mark: Rgb = (0, 0, 0)
    rows: int = 1
    columns: int = 1
    glows: bool = False


@dataclass(frozen=True)
class Face:
    """A flat polygon of a solid, float64 (n, 3), with the marks on it."""

    corners: Array
    paint: Paint
    marks: tuple[Array, ...] = ()


Solid = tuple[Face, ...]


def ring(sides: int, radius: float, z: float, at: tuple[float, float] = (0, 0), turn: float = 0.5) -> Array:
    """Return a horizontal regular polygon; `turn` is in corners, 0.5 turns an edge of a square to the front."""
    angles = (np.arange(sides) + turn) * (2 * np.pi / sides)
    return np.stack([at[0] + radius * np.cos(angles), at[1] + radius * np.sin(angles), np.full(sides, z)], axis=1)


def rectangle(width: float, depth: float, z: float, at: tuple[float, float] = (0, 0)) -> Array:
    """Return a horizontal rectangle around `at`."""
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    flat = signs * (width / 2, depth / 2) + at
    return np.column_stack([flat, np.full(4, z)])


def loft(low: Array, high: Array, paint: Paint, caps: Paint | None = None) -> Solid:
    """Return the solid between two rings with the same number of corners; it must be convex."""
    low_next, high_next = np.roll(low, -1, axis=0), np.roll(high, -1, axis=0)
    quads = np.stack([low, low_next, high_next, high], axis=1)
    sides = [Face(quad, paint, build_marks(quad, paint.pattern, paint.rows, paint.columns)) for quad in quads]
    plain = caps or replace(paint, pattern="plain")
    return (*sides, Face(low, plain), Face(high, plain))


def block(size: tuple[float, float, float], paint: Paint, at: tuple[float, float, float] = (0, 0, 0)) -> Solid:
    """Return a box of width, depth and height, standing on `at`."""
    width, depth, height = size
    x, y, z = at
    return loft(rectangle(width, depth, z, (x, y)), rectangle(width, depth, z + height, (x, y)), paint)


def gable(size: tuple[float, float, float], paint: Paint, at: tuple[float, float, float] = (0, 0, 0)) -> Solid:
    """Return a gable roof of width, depth and height with its ridge along x."""
    width, depth, height = size
    x, y, z = at
    return loft(rectangle(width, depth, z, (x, y)), rectangle(width, depth * 0.01, z + height, (x, y)), paint)


def turned(
    profile: Sequence[tuple[float, float]],
    paints: Paint | Sequence[Paint],
    sides: int = 12,
    at: tuple[float, float] = (0, 0),
) -> list[Solid]:
    """Return a solid of revolution from a profile of (radius, z), with one paint per piece or one for all."""
    pieces = [paints] * (len(profile) - 1) if isinstance(paints, Paint) else list(paints)
    # A radius of 0 would make degenerate faces without a normal.
    rings = [ring(sides, max(radius, 1e-3), z, at) for radius, z in profile]
    return [loft(low, high, paint) for low, high, paint in zip(rings[:-1], rings[1:], pieces, strict=True)]


def ball(radius: float, paint: Paint, at: tuple[float, float, float] = (0, 0, 0), sides: int = 10) -> list[Solid]:
    """Return a sphere around `at`."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 6)
    profile = [(radius * float(np.cos(a)), at[2] + radius * float(np.sin(a))) for a in angles]
    return turned(profile, paint, sides, at[:2])


def bar(start: Sequence[float], end: Sequence[float], thickness: float, paint: Paint, taper: float = 1) -> Solid:
    """Return a square beam between two points; `taper` is the ratio of its thickness at the end and at the start."""
    first, last = np.array(start, float), np.array(end, float)
    along = (last - first) / np.linalg.norm(last - first)
    # Any direction that is not almost parallel to the beam gives a stable cross product.
    across = np.cross(along, (0, 1, 0) if abs(along[1]) < 0.9 else (1, 0, 0))
    across /= np.linalg.norm(across)
    corners = np.array([across, np.cross(along, across)]) * thickness / 2
    square = np.array(
        [corners[0] + corners[1], corners[1] - corners[0], -corners[0] - corners[1], corners[0] - corners[1]]
    )
    return loft(first + square, last + square * taper, paint)


def slab(outline: Sequence[tuple[float, float]], front: float, back: float, paint: Paint) -> Solid:
    """Extrude a convex outline in x and z from y = front to y = back; the pattern is on the rim."""
    flat = np.array(outline, float)
    low, high = (np.column_stack([flat[:, 0], np.full(len(flat), y), flat[:, 1]]) for y in (front, back))
    return loft(low, high, paint)


def arcade(
    span: tuple[float, float], heights: tuple[float, float], depth: float, count: int, paint: Paint, pier: float = 0.25
) -> list[Solid]:
    """Return a wall with round arches: x from span[0] to span[1], z from heights[0] to heights[1].

    `pier` is the width of a pier as a fraction of one bay.
    """
    bay = (span[1] - span[0]) / count
    radius = bay * (1 - pier) / 2
    spring = max(heights[0], heights[1] - radius * 1.25)
    solids = [
        block((bay * pier, depth, heights[1] - heights[0]), paint, (span[0] + i * bay, 0, heights[0]))
        for i in range(count + 1)
    ]
    for i in range(count):
        solids += _vault(span[0] + (i + 0.5) * bay, spring, radius, heights[1], depth, paint)
    return solids


def _vault(x: float, spring: float, radius: float, top: float, depth: float, paint: Paint) -> list[Solid]:
    angles = np.linspace(np.pi, 0, 7)
    xs, zs = x + radius * np.cos(angles), spring + radius * np.sin(angles)
    outlines = [
        ((xs[k], zs[k]), (xs[k + 1], zs[k + 1]), (xs[k + 1], top), (xs[k], top)) for k in range(len(angles) - 1)
    ]
    return [slab(outline, -depth / 2, depth / 2, paint) for outline in outlines]


def transform(solids: Iterable[Solid], change: Callable[[Array], Array]) -> list[Solid]:
    """Apply a function to all corners of solids."""
    return [
        tuple(replace(face, corners=change(face.corners), marks=tuple(map(change, face.marks))) for face in solid)
        for solid in solids
    ]


def move(solids: Iterable[Solid], x: float = 0, y: float = 0, z: float = 0, scale: float = 1) -> list[Solid]:
    """Scale, then move solids."""
    return transform(solids, lambda points: points * scale + (x, y, z))


def lean(solids: Iterable[Solid], slope: float) -> list[Solid]:
    """Shear solids to the right in proportion to the height."""
    return transform(solids, lambda points: points + np.outer(points[:, 2], (slope, 0, 0)))
