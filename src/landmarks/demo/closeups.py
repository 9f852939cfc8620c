"""Close-up distractors: food, rooms, flowers, textures."""

import math

import numpy as np
from PIL import Image

from landmarks.demo.figures import CLOTHES, Easel
from landmarks.demo.lights import Rgb
from landmarks.demo.surroundings import make_noise

_WOODS: tuple[Rgb, ...] = ((150, 104, 66), (186, 146, 100), (110, 78, 56), (226, 222, 214), (90, 94, 100))
WALLPAPERS: tuple[Rgb, ...] = ((226, 216, 196), (190, 204, 206), (214, 190, 170), (170, 180, 150), (236, 234, 230))
_FOODS: tuple[Rgb, ...] = ((200, 60, 40), (236, 190, 70), (96, 150, 60), (160, 96, 50), (244, 224, 180), (120, 50, 70))
_PETALS: tuple[Rgb, ...] = (
    (220, 60, 90),
    (240, 200, 60),
    (230, 230, 240),
    (150, 90, 190),
    (240, 140, 60),
    (220, 130, 180),
)


def draw_food(easel: Easel) -> None:
    """Draw plates on a table, from above."""
    width, height = easel.image.size
    _fill(easel, easel.pick(_WOODS), 0.2)
    for _ in range(int(easel.rng.integers(1, 4))):
        x, y = width * easel.rng.uniform(0.25, 0.75), height * easel.rng.uniform(0.3, 0.7)
        size, flat = easel.short * easel.rng.uniform(0.45, 0.9), easel.rng.uniform(0.6, 1)
        for share, colour in ((1.0, (236, 236, 232)), (0.75, (218, 218, 214))):
            easel.ellipse(x, y, size * share, size * share * flat, easel.light.tint(colour, 0.1))
        foods = [easel.pick(_FOODS) for _ in range(3)]
        for _ in range(int(easel.rng.integers(5, 26))):
            away, angle = size * 0.3 * math.sqrt(easel.rng.random()), easel.rng.uniform(0, 6.3)
            bite = size * easel.rng.uniform(0.07, 0.24)
            spot = x + away * math.cos(angle), y + away * flat * math.sin(angle)
            easel.ellipse(
                *spot,
                bite,
                bite * flat,
                easel.light.tint(np.array(easel.pick(foods)) * easel.rng.uniform(0.8, 1.1), 0.1),
            )


def draw_room(easel: Easel) -> None:
    """Draw the corner of a room with a window, a sofa and a lamp."""
    (width, height), rng, tint = easel.image.size, easel.rng, easel.light.tint
    _fill(easel, easel.pick(WALLPAPERS), 0.08)
    floor = height * rng.uniform(0.62, 0.8)
    easel.box(width / 2, height, width, height - floor, tint(easel.pick(_WOODS), 0.1))
    corner = width * rng.uniform(-0.2, 0.4)
    easel.draw.polygon(
        [(0, 0), (corner, 0), (corner, floor), (0, height)], fill=tint(np.array(easel.pick(WALLPAPERS)) * 0.85, 0.1)
    )
    frame = width * rng.uniform(0.45, 0.8), floor - height * rng.uniform(0.2, 0.3), easel.short * rng.uniform(0.25, 0.4)
    easel.box(frame[0], frame[1], frame[2] * 1.1, frame[2] * 1.1, tint((240, 238, 232), 0.1))
    easel.box(frame[0], frame[1] - frame[2] * 0.05, frame[2], frame[2], tint(easel.light.horizon, 0.1))
    easel.box(frame[0], frame[1], frame[2] * 0.06, frame[2] * 1.1, tint((240, 238, 232), 0.1))
    cloth, wood = easel.pick(CLOTHES), tint(easel.pick(_WOODS), 0.1)
    x, low, size = width * rng.uniform(0.3, 0.7), height * rng.uniform(0.82, 0.95), easel.short * rng.uniform(0.4, 0.7)
    easel.box(x, low, size, size * 0.6, tint(np.array(cloth) * 0.85, 0.1))
    easel.box(x, low, size * 1.2, size * 0.3, tint(cloth, 0.1))
    for side in (-1, 1):
        easel.box(x + side * size * 0.6, low, size * 0.16, size * 0.42, tint(np.array(cloth) * 0.9, 0.1))
    easel.box(x + size, low, size * 0.04, size * 1.1, wood)
    easel.draw.polygon(
        [(x + size * (1 + dx), low - size * up) for dx, up in ((-0.2, 1.0), (0.2, 1.0), (0.1, 1.3), (-0.1, 1.3))],
        fill=tint((250, 232, 190), 0.1),
    )


def draw_flowers(easel: Easel) -> None:
    """Draw flowers in front of leaves."""
    (width, height), rng = easel.image.size, easel.rng
    _fill(easel, easel.pick(((70, 110, 50), (96, 130, 66), (50, 84, 50), (120, 150, 190))), 0.5)
    for _ in range(25):
        start = width * rng.uniform(0, 1), height
        end = start[0] + rng.normal(0, 0.15) * width, height * rng.uniform(0.1, 0.8)
        easel.draw.line(
            [start, end],
            fill=easel.light.tint(easel.pick(((60, 120, 50), (90, 140, 60))), 0.1),
            width=max(1, round(easel.short * 0.012)),
        )
    petals = [easel.pick(_PETALS) for _ in range(int(rng.integers(1, 3)))]
    for _ in range(int(rng.choice((1, 3, 7, 14)))):
        size = easel.short * rng.uniform(0.12, 0.4)
        _draw_flower(easel, width * rng.uniform(0.15, 0.85), height * rng.uniform(0.15, 0.8), size, easel.pick(petals))


def _draw_flower(easel: Easel, x: float, y: float, size: float, petal: Rgb) -> None:
    count, turn = int(easel.rng.integers(5, 13)), easel.rng.uniform(0, 6.3)
    for k in range(count):
        angle = turn + k * 2 * math.pi / count
        shade = np.array(petal) * (0.85 + 0.15 * (k % 2))
        easel.ellipse(
            x + size * 0.33 * math.cos(angle),
            y + size * 0.33 * math.sin(angle),
            size * 0.42,
            size * 0.42,
            easel.light.tint(shade, 0.1),
        )
    easel.ellipse(x, y, size * 0.34, size * 0.34, easel.light.tint((214, 160, 40), 0.1))


def draw_texture(easel: Easel) -> None:
    """Draw a close-up of cloth, bark, ripples or tiles."""
    (width, height), rng = easel.image.size, easel.rng
    base = np.array(easel.light.tint(easel.pick((*_WOODS, *WALLPAPERS)), 0.1), float)
    rows, columns = np.mgrid[0:height, 0:width] / easel.short
    angle, pitch = rng.uniform(0, 3.14), rng.uniform(30, 110)
    bend = make_noise(rng, (width, height), (5, 5)) * rng.choice((0, 4, 25))
    waves = np.sin((columns * math.cos(angle) + rows * math.sin(angle)) * pitch + bend)
    if rng.random() < 0.5:
        waves = waves * np.sin((rows * math.cos(angle) - columns * math.sin(angle)) * pitch)
    grain = make_noise(rng, (width, height), (60, 60)) - 0.5
    pixels = base * (1 + rng.uniform(0.08, 0.3) * waves + 0.3 * grain)[:, :, None]
    easel.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def _fill(easel: Easel, colour: Rgb, contrast: float) -> None:
    noise = 1 + contrast * (
        make_noise(easel.rng, easel.image.size, (7, 9)) * 0.7
        + make_noise(easel.rng, easel.image.size, (90, 12)) * 0.3
        - 0.5
    )
    pixels = np.array(easel.light.tint(colour, 0.1)) * noise[:, :, None]
    easel.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
