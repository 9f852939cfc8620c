"""Viewpoints and cameras: a pinhole camera without roll, aimed at the landmark."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SLENDER = 0.1  # exponent by which slender landmarks fill more of the photo, as if taken from closer


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without roll.

    Attributes:
        position: float64 (3,).
        axes: float64 (3, 3), rows right, down and forward.
        focal: focal length in pixels.
        centre: principal point in pixels, float64 (2,).
        nearest: depth of the near plane; closer points are projected as if they were there.
    """

    position: Array
    axes: Array
    focal: float
    centre: Array
    nearest: float = 0.2

    def measure_depths(self, points: Array) -> Array:
        """Return the distance of points (n, 3) along the forward axis: float64 (n,)."""
        depths: Array = (points - self.position) @ self.axes[2]
        return depths

    def project(self, points: Array) -> Array:
        """Project points (n, 3) to pixels: float64 (n, 2)."""
        seen = (points - self.position) @ self.axes.T
        flat: Array = self.centre + self.focal * seen[:, :2] / np.maximum(seen[:, 2:], self.nearest)
        return flat

    @property
    def horizon(self) -> float:
        """The row of pixels of the horizon."""
        down, forward = self.axes[1], self.axes[2]
        level = forward - (0, 0, forward[2])
        return float(self.centre[1] + self.focal * (level @ down) / (level @ forward))


@dataclass(frozen=True)
class Viewpoint:
    """The position and framing of a camera for a landmark of size 1; angles in radians."""

    yaw: float
    elevation: float
    distance: float
    aim: float  # height of the point at which the camera is aimed
    fill: float  # size of the landmark, as a fraction of the short side of the photo
    offset: tuple[float, float]  # of the landmark from the centre of the photo, as fractions of the short side


def pick_viewpoint(rng: np.random.Generator, turns: float) -> Viewpoint:
    """Draw a random viewpoint; `turns` is the largest yaw, in radians, to either side."""
    return Viewpoint(
        yaw=rng.uniform(-turns, turns),
        elevation=rng.choice([rng.uniform(-0.02, 0.1), rng.uniform(0.1, 0.45)], p=[0.72, 0.28]),
        distance=rng.uniform(1.5, 4.5),
        aim=rng.uniform(0.1, 0.75),
        fill=rng.choice(
            [rng.uniform(0.55, 0.75), rng.uniform(0.75, 0.95), rng.uniform(0.95, 1.15)], p=[0.25, 0.55, 0.2]
        ),
        offset=(rng.normal(0, 0.06), rng.normal(0.03, 0.05)),
    )


def place_camera(points: Array, view: Viewpoint, size: tuple[int, int], short_side: float) -> Camera:
    """Return the camera of a viewpoint whose framing of points (n, 3) is the requested one."""
    flat, rise = np.cos(view.elevation), max(np.sin(view.elevation), 0.0)
    height = 0.05 + view.distance * rise
    position = np.array([np.sin(view.yaw) * flat, -np.cos(view.yaw) * flat, 0]) * view.distance + (0, 0, height)
    forward = np.array([0, 0, view.aim]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forward, right), forward])
    # Project once with focal length 1 to find the focal length and centre that give the requested framing.
    shape = Camera(position, axes, 1.0, np.zeros(2)).project(points)
    low, high = shape.min(axis=0), shape.max(axis=0)
    longer, shorter = float((high - low).max()), float((high - low).min())
    focal = view.fill * short_side / (longer * (shorter / longer) ** _SLENDER)
    middle = np.array(size) / 2 + np.array(view.offset) * short_side
    return Camera(position, axes, focal, middle - focal * (low + high) / 2)
