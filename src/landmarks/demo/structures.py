"""Draw structures: compile solids to arrays, then find visible faces, their order and their colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from landmarks.demo.cameras import Camera
from landmarks.demo.geometry import Array, Face, Solid
from landmarks.demo.lights import Light

_SMALLEST_AREA = 1e-9  # degenerate faces have no usable normal
_TOUCHING = 1e-3  # solids may touch, or overlap by rounding, and still count as separate


@dataclass(frozen=True)
class Structure:
    """Solids as arrays: F faces, S solids, P polygons (faces and the marks on them), N corners of polygons.

    Attributes:
        points: float64 (N, 3).
        starts: first corner of each polygon, then N: int (P + 1,).
        colours: float64 (P, 3), 0 to 255.
        glows: bool (P,), whether the polygon shines at night.
        polygon_faces: the face of each polygon, int (P,), ascending.
        planes: float64 (F, 4), outward unit normals and offsets; outside, normal . x + offset > 0.
        solid_starts: first face of each solid, int (S,).
        separates: bool (F, S), whether the whole solid is outside the plane of the face.
        centres: float64 (S, 3).
    """

    points: Array
    starts: NDArray[np.int64]
    colours: Array
    glows: NDArray[np.bool_]
    polygon_faces: NDArray[np.int64]
    planes: Array
    solid_starts: NDArray[np.int64]
    separates: NDArray[np.bool_]
    centres: Array


def build_structure(solids: Sequence[Solid], size: float | None = 1) -> Structure:
    """Compile solids, scaled so that the longest side of their bounding box is `size`; None does not scale."""
    corners = np.concatenate([face.corners for solid in solids for face in solid])
    scale = 1.0 if size is None else size / float(np.ptp(corners, axis=0).max())
    centres = np.array([np.concatenate([face.corners for face in solid]).mean(axis=0) for solid in solids]) * scale
    kept = [[face for face in solid if _measure_area(face) > _SMALLEST_AREA] for solid in solids]
    faces = [face for solid in kept for face in solid]
    counts = np.array([len(solid) for solid in kept])
    solid_starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    planes = _fit_planes(faces, np.repeat(centres, counts, axis=0), scale)
    polygons = [(polygon * scale, rank) for rank, face in enumerate(faces) for polygon in (face.corners, *face.marks)]
    return Structure(
        points=np.concatenate([polygon for polygon, _ in polygons]),
        starts=np.cumsum([0] + [len(polygon) for polygon, _ in polygons]),
        colours=np.array([c for f in faces for c in (f.paint.colour, *[f.paint.mark] * len(f.marks))], float),
        glows=np.array([g for f in faces for g in (False, *[f.paint.glows] * len(f.marks))]),
        polygon_faces=np.array([rank for _, rank in polygons]),
        planes=planes,
        solid_starts=solid_starts,
        separates=_separate(planes, faces, solid_starts, scale),
        centres=centres,
    )


def draw_structure(draw: ImageDraw.ImageDraw, structure: Structure, camera: Camera, light: Light) -> None:
    """Draw a structure from back to front (painter's algorithm), without faces that point away from the camera."""
    outside = structure.planes @ np.append(camera.position, 1) > 0
    spots = camera.project(structure.points).tolist()
    normals = structure.planes[structure.polygon_faces, :3]
    lit = light.shade(structure.colours, normals, structure.glows)
    colours = [tuple(colour) for colour in np.clip(lit, 0, 255).astype(int).tolist()]
    polygons_of = np.searchsorted(structure.polygon_faces, np.arange(len(outside) + 1)).tolist()
    faces_of = [*structure.solid_starts.tolist(), len(outside)]
    for solid in _order(structure, outside, camera):
        for face in range(faces_of[solid], faces_of[solid + 1]):
            if outside[face]:
                for polygon in range(polygons_of[face], polygons_of[face + 1]):
                    corners = spots[structure.starts[polygon] : structure.starts[polygon + 1]]
                    draw.polygon([tuple(spot) for spot in corners], fill=colours[polygon])


def draw_shadow(draw: ImageDraw.ImageDraw, structure: Structure, camera: Camera, light: Light) -> None:
    """Draw the shadow of the structure on the ground into a mask."""
    fall = -light.sun_direction / light.sun_direction[2]
    ground = structure.points + structure.points[:, 2:] * fall
    ground[:, 2] = 0
    # Polygons behind the camera would be projected upside down.
    if camera.measure_depths(ground).min() < camera.nearest:
        return
    spots = camera.project(ground).tolist()
    first = np.searchsorted(structure.polygon_faces, np.arange(len(structure.planes))).tolist()
    for polygon in first:
        corners = spots[structure.starts[polygon] : structure.starts[polygon + 1]]
        draw.polygon([tuple(spot) for spot in corners], fill=255)


def _order(structure: Structure, outside: NDArray[np.bool_], camera: Camera) -> list[int]:
    """Return the solids from back to front.

    If a plane has solid a inside and solid b outside, the one on the camera's side cannot be hidden by the other. Pairs
    without such a plane, and cycles, are ordered by distance.
    """
    seen = np.logical_or.reduceat(structure.separates & outside[:, None], structure.solid_starts, axis=0)
    unseen = np.logical_or.reduceat(structure.separates & ~outside[:, None], structure.solid_starts, axis=0)
    cannot_hide = seen | unseen.T
    must_wait = cannot_hide.T & ~cannot_hide  # [b, a]: draw b after a
    distances = np.linalg.norm(structure.centres - camera.position, axis=1)
    by_distance = np.argsort(-distances, kind="stable").tolist()
    waits_for = must_wait.sum(axis=1)
    order: list[int] = []
    while by_distance:
        following = next((solid for solid in by_distance if waits_for[solid] <= 0), by_distance[0])
        by_distance.remove(following)
        order.append(following)
        waits_for -= must_wait[:, following]
    return order


def _separate(planes: Array, faces: Sequence[Face], solid_starts: NDArray[np.int64], scale: float) -> NDArray[np.bool_]:
    corners = np.concatenate([face.corners for face in faces]) * scale
    first_corners = np.cumsum([0] + [len(face.corners) for face in faces])[solid_starts]
    distances = planes[:, :3] @ corners.T + planes[:, 3:]
    apart: NDArray[np.bool_] = np.minimum.reduceat(distances, first_corners, axis=1) > -_TOUCHING
    return apart


def _newell(face: Face) -> Array:
    following = np.roll(face.corners, -1, axis=0)
    # Newell's method: stable also if three corners are almost on a line.
    normal: Array = np.cross(face.corners, following).sum(axis=0)
    return normal


def _measure_area(face: Face) -> float:
    return float(np.linalg.norm(_newell(face))) / 2


def _fit_planes(faces: Sequence[Face], inner: Array, scale: float) -> Array:
    normals = np.array([_newell(face) for face in faces])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    middles = np.array([face.corners.mean(axis=0) for face in faces]) * scale
    outwards = np.where(np.sum(normals * (middles - inner), axis=1) < 0, -1.0, 1.0)
    normals *= outwards[:, None]
    return np.column_stack([normals, -np.sum(normals * middles, axis=1)])
