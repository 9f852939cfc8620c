"""Distractors: people, food, animals, rooms, flowers, cars, countryside, houses, textures, signs."""

from collections.abc import Callable

import numpy as np
from PIL import ImageFont

from landmarks.demo.cameras import Viewpoint, place_camera
from landmarks.demo.closeups import WALLPAPERS, draw_flowers, draw_food, draw_room, draw_texture
from landmarks.demo.figures import Easel, draw_bush, draw_car, draw_house, draw_person, draw_tree
from landmarks.demo.geometry import Paint, Solid, block, gable, move
from landmarks.demo.lights import Rgb
from landmarks.demo.structures import build_structure, draw_structure
from landmarks.demo.surroundings import draw_surroundings, pick_ground

_COATS: tuple[Rgb, ...] = (
    (120, 84, 54),
    (60, 52, 50),
    (200, 170, 130),
    (226, 222, 216),
    (150, 140, 136),
    (180, 110, 60),
)
_PLATES: tuple[Rgb, ...] = ((30, 90, 160), (30, 120, 70), (180, 40, 40), (240, 240, 236), (240, 200, 50))


def draw_distractor(easel: Easel, category: str) -> None:
    """Draw a scene of the category over the whole image."""
    _SCENES[category](easel)


def _stand_outdoors(easel: Easel, low: float = 0.35, high: float = 0.65) -> float:
    horizon = easel.image.height * easel.rng.uniform(low, high)
    draw_surroundings(easel, horizon, pick_ground(easel.light, easel.rng))
    return horizon


def _draw_people(easel: Easel) -> None:
    _stand_outdoors(easel)
    count = int(easel.rng.integers(1, 5))
    tall = easel.short * easel.rng.uniform(0.55, 1.3)
    for k in range(count):
        x = easel.image.width * ((k + 0.5) / count + easel.rng.normal(0, 0.04))
        draw_person(easel, x, easel.image.height * 0.55 + tall * 0.5, tall * easel.rng.uniform(0.85, 1.1), 0.3)


def _draw_animals(easel: Easel) -> None:
    _stand_outdoors(easel, 0.2, 0.6)
    for _ in range(int(easel.rng.integers(1, 4))):
        x, y = easel.image.width * easel.rng.uniform(0.25, 0.75), easel.image.height * easel.rng.uniform(0.65, 0.9)
        _draw_animal(easel, x, y, easel.short * easel.rng.uniform(0.3, 0.65))


def _draw_animal(easel: Easel, x: float, y: float, size: float) -> None:
    coat, way = easel.pick(_COATS), float(easel.rng.choice((-1, 1)))
    fill, dark = easel.light.tint(coat, 0.3), easel.light.tint(np.array(coat) * 0.8, 0.3)
    legs, neck = size * easel.rng.uniform(0.25, 0.5), size * easel.rng.uniform(0.1, 0.4)
    back = y - legs - size * 0.2
    for along in (-0.32, -0.22, 0.22, 0.32):
        easel.box(x + along * size, y, size * 0.08, legs + size * 0.15, dark)
    easel.ellipse(x, back, size * 0.9, size * 0.42, fill)
    head = x + way * size * 0.55, back - neck
    easel.draw.line([(x + way * size * 0.34, back), head], fill=fill, width=round(size * 0.2))
    easel.draw.line(
        [(x - way * size * 0.42, back), (x - way * size * 0.62, back + size * easel.rng.uniform(-0.3, 0.3))],
        fill=dark,
        width=round(size * 0.05),
    )
    easel.ellipse(*head, size * 0.3, size * 0.24, fill)
    easel.ellipse(head[0] + way * size * 0.14, head[1] + size * 0.04, size * 0.2, size * 0.13, dark)
    for shift in (-0.08, 0.06):
        ear = head[0] + shift * size, head[1] - size * 0.08
        easel.draw.polygon(
            [(ear[0] - size * 0.05, ear[1]), (ear[0] + size * 0.05, ear[1]), (ear[0], ear[1] - size * 0.14)], fill=dark
        )
    easel.ellipse(head[0] + way * size * 0.04, head[1] - size * 0.03, size * 0.04, size * 0.04, (20, 18, 18))


def _draw_cars(easel: Easel) -> None:
    horizon = _stand_outdoors(easel, 0.3, 0.55)
    (width, height), rng = easel.image.size, easel.rng
    easel.box(
        width / 2, height, width, (height - horizon) * rng.uniform(0.5, 0.9), easel.light.tint((104, 104, 108), 0.4)
    )
    for _ in range(int(rng.integers(1, 4))):
        draw_car(
            easel,
            width * rng.uniform(0.15, 0.85),
            height * rng.uniform(0.72, 0.9),
            easel.short * rng.uniform(0.2, 0.42),
            0.4,
        )


def _draw_countryside(easel: Easel) -> None:
    horizon = _stand_outdoors(easel, 0.25, 0.75)
    for _ in range(int(easel.rng.integers(2, 10))):
        near = easel.rng.random()
        y = horizon + (easel.image.height - horizon) * near * 0.8
        figure = (draw_tree, draw_bush)[int(easel.rng.random() < 0.3)]
        figure(easel, easel.image.width * easel.rng.uniform(0, 1), y, easel.short * (0.08 + 0.4 * near), 1.2 - near)


def _draw_houses(easel: Easel) -> None:
    if easel.rng.random() < 0.5:
        _draw_street(easel)
    else:
        _draw_hamlet(easel)


def _draw_street(easel: Easel) -> None:
    horizon = _stand_outdoors(easel)
    for k in range(int(easel.rng.integers(1, 4))):
        x = easel.image.width * (0.25 + 0.3 * k + easel.rng.normal(0, 0.05))
        draw_house(easel, x, horizon + easel.short * 0.2, easel.short * easel.rng.uniform(0.4, 0.8), 0.7)


def _draw_hamlet(easel: Easel) -> None:
    rng = easel.rng
    houses = [_build_house(easel, k * 1.9) for k in range(int(rng.integers(1, 4)))]
    structure = build_structure([solid for house in houses for solid in house])
    view = Viewpoint(rng.uniform(-1, 1), rng.uniform(0, 0.3), 2.5, 0.2, rng.uniform(0.6, 1.1), (0.0, 0.08))
    camera = place_camera(structure.points, view, easel.image.size, easel.short)
    draw_surroundings(easel, camera.horizon, pick_ground(easel.light, rng))
    draw_structure(easel.draw, structure, camera, easel.light)


def _build_house(easel: Easel, x: float) -> list[Solid]:
    rng = easel.rng
    walls = Paint(
        easel.pick(WALLPAPERS), "windows", (74, 84, 98), int(rng.integers(1, 4)), int(rng.integers(2, 4)), glows=True
    )
    roof = Paint(easel.pick(((150, 70, 50), (92, 88, 92), (110, 76, 56))))
    width, depth, height = rng.uniform(1.1, 1.8), rng.uniform(1.0, 1.8), rng.uniform(0.7, 1.6)
    top = gable((width + 0.2, depth + 0.2, rng.uniform(0.4, 0.9)), roof, (0, 0, height))
    return move([block((width, depth, height), walls), top], x=x)


def _draw_sign(easel: Easel) -> None:
    _stand_outdoors(easel)
    (width, height), rng = easel.image.size, easel.rng
    x, size = width * rng.uniform(0.35, 0.65), easel.short * rng.uniform(0.45, 0.8)
    top, tall = height * rng.uniform(0.12, 0.45), size * rng.uniform(0.35, 0.8)
    plate = easel.pick(_PLATES)
    ink: Rgb = (30, 30, 34) if sum(plate) > 420 else (244, 244, 240)
    colour, contrast = easel.light.tint(plate, 0.2), easel.light.tint(ink, 0.2)
    easel.box(x, height, size * 0.05, height - top, easel.light.tint((120, 120, 122), 0.2))
    corners = (x - size / 2, top, x + size / 2, top + tall)
    easel.draw.rounded_rectangle(corners, size * 0.06, fill=colour, outline=contrast, width=round(size * 0.02))
    lines = int(rng.integers(1, 5))
    font = ImageFont.load_default(min(tall / lines * 0.6, size * 0.17))
    for line in range(lines):
        word = "".join(rng.choice(list("AEIOURSTLNMKP"), int(rng.integers(3, 8))))
        easel.draw.text((x, top + tall * (line + 0.5) / lines), word, fill=contrast, font=font, anchor="mm")


_SCENES: dict[str, Callable[[Easel], None]] = {
    "people": _draw_people,
    "food": draw_food,
    "animals": _draw_animals,
    "rooms": draw_room,
    "flowers": draw_flowers,
    "cars": _draw_cars,
    "countryside": _draw_countryside,
    "houses": _draw_houses,
    "textures": draw_texture,
    "signs": _draw_sign,
}
CATEGORIES = tuple(_SCENES)
INDOORS = frozenset(("food", "rooms", "textures"))
