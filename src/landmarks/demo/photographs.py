"""Render one photo: scene, viewpoint, occluders, weather, lens, sensor and JPEG."""

import io
import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from landmarks.demo.cameras import Camera, Viewpoint, pick_viewpoint, place_camera
from landmarks.demo.distractors import INDOORS, draw_distractor
from landmarks.demo.figures import Easel, Figure, draw_bush, draw_car, draw_lamppost, draw_person, draw_tree
from landmarks.demo.lights import pick_light
from landmarks.demo.structures import Structure, draw_shadow, draw_structure
from landmarks.demo.surroundings import draw_surroundings, pick_ground

_SUPERSAMPLING = 2  # Pillow draws polygons without antialiasing
_MARGIN = 1.16  # size of the canvas relative to the photo, so that a rolled camera sees no edge
_QUALITY = 90
_SHAPES = ((4, 3), (3, 2), (1, 1), (16, 10), (3, 4), (2, 3))
_SHAPE_SHARES = (0.4, 0.15, 0.08, 0.07, 0.22, 0.08)


def draw_landmark_photo(
    structure: Structure, turns: float, short_side: int, rng: np.random.Generator, fair: bool = False
) -> bytes:
    """Render a landmark as JPEG; `fair` gives a sharp photo on a clear day without occluders."""
    easel = _set_up(short_side, rng, fair)
    view = Viewpoint(rng.uniform(-0.5, 0.5), 0.12, 2.5, 0.4, 0.8, (0, 0.03)) if fair else pick_viewpoint(rng, turns)
    camera = place_camera(structure.points, view, easel.image.size, easel.short)
    ground = "grass" if fair else pick_ground(easel.light, rng)
    draw_surroundings(easel, camera.horizon, ground)
    around = [] if ground == "water" else _scatter(easel, camera)
    middle = float(camera.measure_depths(np.zeros((1, 3)))[0])
    _draw_scattered(easel, camera, [spot for spot in around if spot.depth > middle], middle)
    _shade_ground(easel, structure, camera)
    draw_structure(easel.draw, structure, camera, easel.light)
    _draw_scattered(easel, camera, [spot for spot in around if spot.depth <= middle], middle)
    if not fair and rng.random() < 0.25:
        _draw_occluder(easel)
    return _finish(easel, short_side, sharp=fair)


def draw_distractor_photo(category: str, short_side: int, rng: np.random.Generator, fair: bool = False) -> bytes:
    """Render a distractor as JPEG."""
    easel = _set_up(short_side, rng, fair)
    if category in INDOORS:
        easel = replace(easel, light=replace(easel.light, weather="dry"))
    draw_distractor(easel, category)
    if not fair and rng.random() < 0.1:
        _draw_occluder(easel)
    return _finish(easel, short_side, sharp=fair)


def _set_up(short_side: int, rng: np.random.Generator, fair: bool) -> Easel:
    wide, high = (4, 3) if fair else _SHAPES[rng.choice(len(_SHAPES), p=_SHAPE_SHARES)]
    scale = short_side * _SUPERSAMPLING * _MARGIN / min(wide, high)
    size = _even(wide * scale), _even(high * scale)
    image = Image.new("RGB", size)
    return Easel(image, ImageDraw.Draw(image), pick_light(rng, fair), rng, short_side * _SUPERSAMPLING)


def _even(length: float) -> int:
    return 2 * math.ceil(length / 2)  # divisible by _SUPERSAMPLING


@dataclass(frozen=True)
class _Spot:
    x: float
    y: float
    depth: float
    size: float
    figure: Figure


def _scatter(easel: Easel, camera: Camera) -> list[_Spot]:
    """Place trees, people and other figures around the landmark, farthest first."""
    rng = easel.rng
    spots = []
    for _ in range(int(rng.integers(2, 13))):
        figure, size = _FIGURES[rng.choice(len(_FIGURES), p=(0.35, 0.15, 0.35, 0.1, 0.05))]
        sideways = rng.uniform(-1.6, 1.6)
        forward = rng.uniform(-0.9, 1.2)
        # Keep tall figures from hiding the landmark.
        if forward < 0 and size > 0.1 and abs(sideways) < 0.4:
            sideways += math.copysign(0.4, sideways)
        ahead = camera.axes[2] * (1, 1, 0)
        place = camera.axes[0] * sideways + ahead / np.linalg.norm(ahead) * forward
        depth = float(camera.measure_depths(place[None])[0])
        if depth > 0.5:
            x, y = camera.project(place[None])[0].tolist()
            spots.append(_Spot(x, y, depth, size * rng.uniform(0.6, 1.4), figure))
    return sorted(spots, key=lambda spot: -spot.depth)


_FIGURES: tuple[tuple[Figure, float], ...] = (
    (draw_tree, 0.28),
    (draw_bush, 0.09),
    (draw_person, 0.08),
    (draw_lamppost, 0.25),
    (draw_car, 0.07),
)


def _draw_scattered(easel: Easel, camera: Camera, spots: list[_Spot], middle: float) -> None:
    for spot in spots:
        spot.figure(easel, spot.x, spot.y, spot.size * camera.focal / spot.depth, spot.depth / middle)


def _shade_ground(easel: Easel, structure: Structure, camera: Camera) -> None:
    strength = float(easel.light.sun.mean()) * 0.75
    if strength < 0.15:
        return
    mask = Image.new("L", easel.image.size)
    draw_shadow(ImageDraw.Draw(mask), structure, camera, easel.light)
    easel.image.paste((20, 24, 36), (0, 0), mask.point([round(value * strength) for value in range(256)]))


def _draw_occluder(easel: Easel) -> None:
    """Draw something close to the camera, near the edge of the photo."""
    (width, height), rng, short = easel.image.size, easel.rng, easel.short
    side = float(rng.choice((rng.uniform(0.08, 0.3), rng.uniform(0.7, 0.92)))) * width
    kind = rng.integers(5)
    if kind == 0:
        draw_person(easel, side, height * 1.08, short * rng.uniform(0.5, 0.75), 0.1)
    elif kind == 1:
        draw_lamppost(easel, side, height * 1.1, height * rng.uniform(0.8, 1.2), 0.1)
    elif kind == 2:
        draw_tree(easel, side, height * 1.1, short * rng.uniform(0.6, 0.9), 0.1)
    elif kind == 3:
        _draw_branch(easel, side)
    else:
        easel.box(
            side,
            height,
            short * rng.uniform(0.03, 0.07),
            height,
            easel.light.tint(easel.pick(((90, 88, 86), (110, 84, 60))), 0.1),
        )


def _draw_branch(easel: Easel, x: float) -> None:
    green, short = easel.pick(((60, 96, 46), (84, 116, 56))), easel.short
    for _ in range(30):
        spot = x + easel.rng.normal(0, 0.16) * short, abs(easel.rng.normal(0.04, 0.09)) * short + 0.08 * short
        size = short * easel.rng.uniform(0.03, 0.07)
        easel.ellipse(*spot, size, size * 0.6, easel.light.tint(np.array(green) * easel.rng.uniform(0.7, 1.1), 0.1))


def _finish(easel: Easel, short_side: int, sharp: bool) -> bytes:
    if easel.light.weather != "dry":
        _draw_precipitation(easel)
    photo = _roll(easel, short_side)
    if not sharp and easel.rng.random() < 0.15:
        photo = photo.filter(ImageFilter.GaussianBlur(easel.rng.uniform(0.3, 1.0) * short_side / 160))
    stream = io.BytesIO()
    _expose(photo, easel.rng).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _draw_precipitation(easel: Easel) -> None:
    width, height = easel.image.size
    unit, flakes = easel.short / 160, easel.light.weather == "snow"
    slant = easel.rng.normal(0, 3) * unit
    drop = tuple((easel.light.horizon * 0.85 + 30).clip(0, 255).astype(int).tolist())
    for x, y, size in (easel.rng.uniform(0, 1, (140, 3)) * (width, height, 1)).tolist():
        if flakes:
            radius = unit * (0.6 + 1.6 * size**3)
            easel.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(246, 248, 252))
        else:
            easel.draw.line(
                [(x, y), (x + slant * (1 + size), y + unit * (6 + 8 * size))],
                fill=drop,
                width=max(1, round(unit * 0.4)),
            )


def _roll(easel: Easel, short_side: int) -> Image.Image:
    """Scale the canvas down and cut out the photo, with a small random roll and stretch."""
    canvas = easel.image.reduce(_SUPERSAMPLING)
    width, height = canvas.size
    shrink = short_side / min(width, height)
    size = (short_side, round(height * shrink)) if width <= height else (round(width * shrink), short_side)
    angle = float(np.clip(easel.rng.normal(0, 0.035), -0.1, 0.1))
    cos, sin, stretch = math.cos(angle), math.sin(angle), easel.rng.normal(0, 0.04)
    a, b, d, e = cos * (1 + stretch), -sin, sin, cos * (1 - stretch)
    offset_x = width / 2 - a * size[0] / 2 - b * size[1] / 2
    offset_y = height / 2 - d * size[0] / 2 - e * size[1] / 2
    return canvas.transform(size, Image.Transform.AFFINE, (a, b, offset_x, d, e, offset_y), Image.Resampling.BICUBIC)


def _expose(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Apply random exposure, white balance and sensor noise."""
    pixels = np.asarray(photo, np.float32)
    gain = np.exp(rng.normal(0, 0.09)) * np.exp(rng.normal(0, 0.03, 3))
    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32) * np.float32(rng.uniform(1, 5))
    exposed = pixels * gain.astype(np.float32) + grain[:, :, None]
    return Image.fromarray(exposed.clip(0, 255).astype(np.uint8))
