"""Flat figures seen from the front: trees, people, lampposts, cars, houses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from landmarks.demo.lights import Light, Rgb

CLOTHES: tuple[Rgb, ...] = (
    (190, 40, 50), (40, 80, 160), (230, 190, 60), (60, 130, 80),
    (240, 240, 240), (40, 40, 50), (220, 120, 160), (120, 90, 150),
)  # fmt: skip
SKINS: tuple[Rgb, ...] = ((240, 200, 170), (214, 160, 120), (160, 110, 80), (100, 70, 50))
_WALLS: tuple[Rgb, ...] = (
    (214, 196, 164),
    (190, 120, 96),
    (226, 222, 212),
    (170, 176, 184),
    (224, 190, 120),
    (150, 168, 150),
)
_ROOFS: tuple[Rgb, ...] = ((150, 70, 50), (92, 88, 92), (110, 76, 56), (70, 74, 90))


@dataclass(frozen=True)
class Easel:
    """The canvas and the state of a drawing; `short` is the short side of the finished photo, in canvas pixels."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    light: Light
    rng: np.random.Generator
    short: float

    def pick(self, colours: Sequence[Rgb]) -> Rgb:
        """Pick one of some colours and vary it slightly."""
        colour = np.array(colours[int(self.rng.integers(len(colours)))]) + self.rng.normal(0, 8, 3)
        red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
        return red, green, blue

    def ellipse(self, x: float, y: float, width: float, height: float, fill: Rgb) -> None:
        """Draw an ellipse around a point."""
        half_width, half_height = abs(width) / 2, abs(height) / 2
        self.draw.ellipse((x - half_width, y - half_height, x + half_width, y + half_height), fill=fill)

    def box(self, x: float, y: float, width: float, height: float, fill: Rgb) -> None:
        """Draw a rectangle; the point is the middle of its lower side."""
        self.draw.rectangle((x - width / 2, y - height, x + width / 2, y), fill=fill)


Figure = Callable[[Easel, float, float, float, float], None]


def draw_tree(easel: Easel, x: float, y: float, height: float, depth: float) -> None:
    """Draw a leafy tree or a fir."""
    if easel.rng.random() < 0.35:
        return _draw_fir(easel, x, y, height, depth)
    green = easel.pick(((70, 110, 50), (90, 130, 60), (110, 120, 50), (60, 96, 60), (150, 120, 50)))
    easel.box(x, y, height * 0.07, height * 0.5, easel.light.tint((84, 62, 46), depth))
    for _ in range(9):
        at_x, at_y = x + easel.rng.normal(0, height * 0.15), y - height * (0.65 + easel.rng.normal(0, 0.1))
        size, shade = height * easel.rng.uniform(0.22, 0.4), easel.rng.uniform(0.75, 1.15)
        easel.ellipse(at_x, at_y, size, size * 0.9, easel.light.tint(np.array(green) * shade, depth))
    return None


def _draw_fir(easel: Easel, x: float, y: float, height: float, depth: float) -> None:
    fill = easel.light.tint(easel.pick(((40, 80, 56), (50, 90, 50))), depth)
    easel.box(x, y, height * 0.06, height * 0.2, easel.light.tint((70, 52, 40), depth))
    for k in range(4):
        low, half = y - height * (0.12 + 0.2 * k), height * (0.24 - 0.045 * k)
        easel.draw.polygon([(x - half, low), (x + half, low), (x, low - height * 0.36)], fill=fill)


def draw_bush(easel: Easel, x: float, y: float, height: float, depth: float) -> None:
    """Draw a bush."""
    green = easel.pick(((70, 110, 50), (96, 130, 66), (60, 96, 60)))
    for _ in range(4):
        size = height * easel.rng.uniform(0.6, 1)
        easel.ellipse(
            x + easel.rng.normal(0, height * 0.4), y - size * 0.4, size, size * 0.8, easel.light.tint(green, depth)
        )


def draw_person(easel: Easel, x: float, y: float, height: float, depth: float) -> None:
    """Draw a person, standing or walking."""
    tint, unit = easel.light.tint, height / 8
    skin, top, trousers = (
        tint(easel.pick(SKINS), depth),
        tint(easel.pick(CLOTHES), depth),
        tint(easel.pick(CLOTHES), depth),
    )
    stride = easel.rng.uniform(0.1, 0.7) * unit
    for side in (-1, 1):
        easel.draw.line(
            [(x + side * unit * 0.4, y - 4 * unit), (x + side * stride, y)],
            fill=trousers,
            width=max(1, round(unit * 0.8)),
        )
        hand = (x + side * unit * easel.rng.uniform(0.9, 1.6), y - 3.6 * unit)
        easel.draw.line([(x + side * unit * 0.8, y - 6.4 * unit), hand], fill=top, width=max(1, round(unit * 0.55)))
    shoulders = [
        (x - unit, y - 6.6 * unit),
        (x + unit, y - 6.6 * unit),
        (x + unit * 0.8, y - 3.8 * unit),
        (x - unit * 0.8, y - 3.8 * unit),
    ]
    easel.draw.polygon(shoulders, fill=top)
    easel.ellipse(x, y - 7.3 * unit, unit * 1.1, unit * 1.35, skin)
    easel.draw.chord(
        (x - unit * 0.62, y - 8.1 * unit, x + unit * 0.62, y - 6.8 * unit),
        180,
        360,
        fill=tint(easel.pick(((50, 36, 30), (120, 84, 50), (30, 28, 30))), depth),
    )


def draw_lamppost(easel: Easel, x: float, y: float, height: float, depth: float) -> None:
    """Draw a street lamp, lit at night."""
    iron, thick = easel.light.tint((60, 62, 66), depth), max(2, round(height * 0.02))
    reach = height * 0.12 * easel.rng.choice((-1, 1))
    easel.draw.line([(x, y), (x, y - height), (x + reach, y - height)], fill=iron, width=thick)
    lamp = (255, 236, 180) if easel.light.lamps > 0.3 else easel.light.tint((210, 210, 200), depth)
    easel.ellipse(x + reach, y - height * 0.985, height * 0.07, height * 0.05, lamp)


def draw_car(easel: Easel, x: float, y: float, height: float, depth: float) -> None:
    """Draw a car from the side."""
    tint, way = easel.light.tint, float(easel.rng.choice((-1, 1)))
    paint = easel.pick(CLOTHES)
    body = [(-1.5, 0.25), (-1.5, 0.62), (-1.0, 0.68), (-0.65, 1.0), (0.45, 1.0), (0.9, 0.64), (1.45, 0.52), (1.5, 0.25)]
    glass = [(-0.85, 0.67), (-0.58, 0.92), (0.38, 0.92), (0.72, 0.65)]
    for outline, colour in ((body, paint), (glass, (70, 90, 104))):
        easel.draw.polygon(
            [(x + way * along * height, y - up * height) for along, up in outline], fill=tint(colour, depth)
        )
    easel.box(x - way * 0.05 * height, y - 0.66 * height, 0.07 * height, 0.28 * height, tint(paint, depth))
    for along in (-0.9, 0.92):
        easel.ellipse(
            x + way * along * height, y - 0.24 * height, 0.5 * height, 0.5 * height, tint((34, 34, 38), depth)
        )
        easel.ellipse(
            x + way * along * height, y - 0.24 * height, 0.24 * height, 0.24 * height, tint((170, 172, 176), depth)
        )


def draw_house(easel: Easel, x: float, y: float, height: float, depth: float) -> None:
    """Draw a house or a block of flats from the front."""
    tint, rng = easel.light.tint, easel.rng
    wall, width = easel.pick(_WALLS), height * rng.uniform(0.6, 1.3)
    storeys, windows = int(rng.integers(2, 5)), int(rng.integers(2, 6))
    easel.box(x, y, width, height * 0.75, tint(wall, depth))
    eaves, roof = y - height * 0.75, tint(easel.pick(_ROOFS), depth)
    inset = width * rng.choice((0.0, 0.12, 0.5))
    ridge = height * (0.25 if inset else 0.05)
    easel.draw.polygon(
        [
            (x - width * 0.55, eaves),
            (x + width * 0.55, eaves),
            (x + width * 0.5 - inset, eaves - ridge),
            (x - width * 0.5 + inset, eaves - ridge),
        ],
        fill=roof,
    )
    dark = tint(easel.pick(((70, 80, 96), (90, 100, 110), (60, 50, 46))), depth)
    for row in range(storeys):
        for column in range(windows):
            lit = rng.random() < easel.light.lamps * 0.6
            spot = x + width * ((column + 0.5) / windows - 0.5), y - height * 0.75 * (row + 0.22) / storeys
            easel.box(*spot, width / windows * 0.45, height * 0.4 / storeys, (250, 214, 140) if lit else dark)
