"""Backgrounds: sky, distant scenery and ground."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from landmarks.demo.figures import Easel, draw_house, draw_tree
from landmarks.demo.lights import Light, Rgb

Array = NDArray[np.float64]
Ground = Literal["grass", "paving", "sand", "water", "snow"]

_GROUNDS: dict[Ground, tuple[Rgb, ...]] = {
    "grass": ((110, 140, 70), (130, 150, 80), (96, 124, 66), (150, 150, 90)),
    "paving": ((176, 170, 160), (150, 148, 148), (196, 184, 160), (160, 140, 124)),
    "sand": ((214, 190, 140), (200, 170, 120), (176, 150, 118)),
    "water": ((70, 110, 140), (60, 120, 130), (90, 120, 150)),
    "snow": ((232, 236, 242),),
}


def pick_ground(light: Light, rng: np.random.Generator) -> Ground:
    """Draw a random ground; snow if it snows."""
    if light.weather == "snow":
        return "snow"
    grounds: tuple[Ground, ...] = ("grass", "paving", "sand", "water")
    return grounds[rng.choice(4, p=(0.4, 0.32, 0.13, 0.15))]


def draw_surroundings(easel: Easel, horizon: float, ground: Ground) -> None:
    """Draw sky and ground, which meet at the row `horizon`, and distant scenery between them."""
    draw_sky(easel, horizon)
    row = float(np.clip(horizon, -0.5 * easel.image.height, 1.5 * easel.image.height))
    if row < easel.image.height:
        draw_ground(easel, row, ground)
    far = easel.rng.choice(len(_FAR), p=_FAR_SHARES)
    if row > 0:
        _FAR[far](easel, row)


def draw_sky(easel: Easel, horizon: float) -> None:
    """Draw a gradient sky with clouds, at night with stars."""
    light, rng, (width, height) = easel.light, easel.rng, easel.image.size
    along = np.clip(np.arange(height) / max(horizon, 1.0), 0, 1)[:, None] ** rng.uniform(0.7, 1.6)
    column = light.zenith + (light.horizon - light.zenith) * along
    sky = Image.fromarray(column[:, None].clip(0, 255).astype(np.uint8)).resize((width, height))
    easel.image.paste(sky)
    if horizon < 0:
        return
    cover = make_noise(rng, (width // 4, height // 4), (9, 5)) + 0.5 * make_noise(
        rng, (width // 4, height // 4), (24, 11)
    )
    alpha = np.clip((cover - 1.15 + light.clouds * 0.75) * 2.2, 0, 0.9) * 255
    mask = Image.fromarray(alpha.astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    cloud = light.horizon * 0.55 + 0.45 * np.array([250, 250, 252]) * (light.ambient + 0.6 * light.sun)
    red, green, blue = cloud.clip(0, 255).astype(int).tolist()
    easel.image.paste((red, green, blue), (0, 0), mask)
    if light.lamps > 0.75:
        spots = rng.uniform(0, 1, (30, 2)) * (width, max(horizon, 1))
        easel.draw.point([(x, y) for x, y in spots.tolist()], fill=(200, 205, 220))


def make_noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Return smooth noise from 0 to 1: float64 (height, width)."""
    rough = Image.fromarray(rng.integers(0, 256, cells, dtype=np.uint8))
    return np.asarray(rough.resize(size, Image.Resampling.BICUBIC), float) / 255


def draw_ground(easel: Easel, horizon: float, ground: Ground) -> None:
    """Draw the ground below the horizon."""
    light, rng, (width, height) = easel.light, easel.rng, easel.image.size
    colour = easel.pick(_GROUNDS[ground])
    near, far = np.array(light.tint(colour, 0.5)), np.array(light.tint(colour, 3.0))
    if ground == "water":
        far = far * 0.5 + light.horizon * 0.5  # at grazing angles water reflects the sky
    rows = height - max(int(horizon), 0)
    small = max(width // 2, 1), max(rows // 2, 1)  # a quarter of the pixels; noise is smooth anyway
    along = (np.linspace(0, 1, small[1]) ** 0.5)[:, None, None]
    grain = 0.88 + 0.16 * make_noise(rng, small, (24, 10)) + 0.08 * make_noise(rng, small, (60, 50))
    filled = (far + (near - far) * along) * grain[:, :, None]
    tile = Image.fromarray(filled.clip(0, 255).astype(np.uint8)).resize((width, rows), Image.Resampling.BILINEAR)
    easel.image.paste(tile, (0, height - rows))
    if ground == "paving":
        _draw_joints(easel, horizon, light.tint(np.array(colour) * 0.85, 0.8))
    elif ground != "water" and rng.random() < 0.4:
        _draw_path(easel, horizon, light.tint(easel.pick(_GROUNDS["paving"]), 0.8))


def _draw_joints(easel: Easel, horizon: float, fill: Rgb) -> None:
    width, height = easel.image.size
    vanishing = easel.rng.uniform(-0.5, 1.5) * width
    for k in range(-14, 15):
        easel.draw.line(
            [(vanishing + k * width * 0.02, horizon + 2), (vanishing + k * width * 0.45, height)], fill=fill
        )
    for k in range(1, 9):
        row = horizon + (height - horizon) / k**1.3
        easel.draw.line([(0, row), (width, row)], fill=fill)


def _draw_path(easel: Easel, horizon: float, fill: Rgb) -> None:
    width, height = easel.image.size
    start, end = easel.rng.uniform(0.3, 0.7) * width, easel.rng.uniform(0, 1) * width
    wide = easel.rng.uniform(0.1, 0.3) * width
    easel.draw.polygon(
        [(start - 3, horizon), (start + 3, horizon), (end + wide, height), (end - wide, height)], fill=fill
    )


def _draw_nothing(_easel: Easel, _horizon: float) -> None:
    """Leave the horizon empty."""


def _draw_hills(easel: Easel, horizon: float) -> None:
    green = easel.pick(((96, 120, 84), (120, 130, 90), (110, 104, 90)))
    for depth in (6.0, 4.0, 2.5):
        _draw_outline(
            easel, horizon, easel.rng.uniform(0.03, 0.14) * depth / 4, easel.light.tint(green, depth), rough=0.0
        )


def _draw_ridge(easel: Easel, horizon: float) -> None:
    rock = easel.pick(((120, 126, 144), (136, 130, 130)))
    for depth in (7.0, 4.5):
        _draw_outline(
            easel, horizon, easel.rng.uniform(0.08, 0.2) * depth / 5, easel.light.tint(rock, depth), rough=0.6
        )


def _draw_outline(easel: Easel, horizon: float, rise: float, fill: Rgb, rough: float) -> None:
    xs = np.linspace(0, easel.image.width, 40)
    phases, waves = easel.rng.uniform(0, 6.3, 3), easel.rng.uniform(0.5, 1.5, 3) * (1, 2.3, 5.1)
    shape = np.sin(np.outer(xs / easel.image.width * 6.3, waves) + phases) @ (0.5, 0.3, 0.15) / 2 + 0.5
    shape = np.abs(shape) + rough * easel.rng.uniform(-0.3, 0.3, len(xs))
    tops = horizon - np.maximum(shape, 0) * rise * easel.image.height
    corners = [
        (0.0, horizon + 2),
        *zip(xs.tolist(), tops.tolist(), strict=True),
        (float(easel.image.width), horizon + 2),
    ]
    easel.draw.polygon(corners, fill=fill)


def _draw_town(easel: Easel, horizon: float) -> None:
    x, depth = 0.0, easel.rng.uniform(1.6, 3.0)
    while x < easel.image.width:
        tall = easel.short * easel.rng.uniform(0.07, 0.22)
        draw_house(easel, x, horizon + easel.short * 0.02, tall, depth)
        x += tall * easel.rng.uniform(0.8, 1.5)


def _draw_wood(easel: Easel, horizon: float) -> None:
    x, depth = 0.0, easel.rng.uniform(1.4, 3.0)
    while x < easel.image.width:
        tall = easel.short * easel.rng.uniform(0.08, 0.2)
        draw_tree(easel, x, horizon + easel.short * 0.02, tall, depth)
        x += tall * easel.rng.uniform(0.3, 0.7)


_FAR: tuple[Callable[[Easel, float], None], ...] = (_draw_hills, _draw_ridge, _draw_town, _draw_wood, _draw_nothing)
_FAR_SHARES = (0.25, 0.12, 0.3, 0.23, 0.1)
