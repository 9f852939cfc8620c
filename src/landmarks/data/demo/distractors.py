"""Photos that show no landmark: people, food, animals, rooms, flowers, cars, countryside, houses, textures, signs."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFont

from landmarks.data.demo.cameras import Viewpoint, place_camera
from landmarks.data.demo.figures import CLOTHES, Easel, draw_bush, draw_car, draw_house, draw_person, draw_tree
from landmarks.data.demo.geometry import Paint, Solid, block, gable, move
from landmarks.data.demo.lights import Rgb
from landmarks.data.demo.structures import build_structure, draw_structure
from landmarks.data.demo.surroundings import draw_surroundings, make_noise

_WOODS: tuple[Rgb, ...] = ((150, 104, 66), (186, 146, 100), (110, 78, 56), (226, 222, 214), (90, 94, 100))
_WALLPAPERS: tuple[Rgb, ...] = ((226, 216, 196), (190, 204, 206), (214, 190, 170), (170, 180, 150), (236, 234, 230))
_FOODS: tuple[Rgb, ...] = ((200, 60, 40), (236, 190, 70), (96, 150, 60), (160, 96, 50), (244, 224, 180), (120, 50, 70))
_PETALS: tuple[Rgb, ...] = (
    (220, 60, 90),
    (240, 200, 60),
    (230, 230, 240),
    (150, 90, 190),
    (240, 140, 60),
    (220, 130, 180),
)
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
    """Fill the picture with a scene of the category."""
    _SCENES[category](easel)


def _stand_outdoors(easel: Easel, low: float = 0.35, high: float = 0.65) -> float:
    horizon = easel.image.height * easel.rng.uniform(low, high)
    draw_surroundings(easel, horizon)
    return horizon


def _draw_people(easel: Easel) -> None:
    _stand_outdoors(easel)
    count = int(easel.rng.integers(1, 5))
    tall = easel.short * easel.rng.uniform(0.55, 1.3)
    for k in range(count):
        x = easel.image.width * ((k + 0.5) / count + easel.rng.normal(0, 0.04))
        draw_person(easel, x, easel.image.height * 0.55 + tall * 0.5, tall * easel.rng.uniform(0.85, 1.1), 0.3)


def _draw_food(easel: Easel) -> None:
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


def _draw_room(easel: Easel) -> None:
    (width, height), rng, tint = easel.image.size, easel.rng, easel.light.tint
    _fill(easel, easel.pick(_WALLPAPERS), 0.08)
    floor = height * rng.uniform(0.62, 0.8)
    easel.box(width / 2, height, width, height - floor, tint(easel.pick(_WOODS), 0.1))
    corner = width * rng.uniform(-0.2, 0.4)
    easel.draw.polygon(
        [(0, 0), (corner, 0), (corner, floor), (0, height)], fill=tint(np.array(easel.pick(_WALLPAPERS)) * 0.85, 0.1)
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


def _draw_flowers(easel: Easel) -> None:
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
        horizon = _stand_outdoors(easel)
        for k in range(int(easel.rng.integers(1, 4))):
            x = easel.image.width * (0.25 + 0.3 * k + easel.rng.normal(0, 0.05))
            draw_house(easel, x, horizon + easel.short * 0.2, easel.short * easel.rng.uniform(0.4, 0.8), 0.7)
        return
    structure = build_structure(
        [solid for k in range(int(easel.rng.integers(1, 4))) for solid in _build_house(easel, k * 1.9)]
    )
    view = Viewpoint(
        easel.rng.uniform(-1, 1), easel.rng.uniform(0, 0.3), 2.5, 0.2, easel.rng.uniform(0.6, 1.1), (0.0, 0.08)
    )
    camera = place_camera(structure.points, view, easel.image.size, easel.short)
    draw_surroundings(easel, camera.horizon)
    draw_structure(easel.draw, structure, camera, easel.light)


def _build_house(easel: Easel, x: float) -> list[Solid]:
    rng = easel.rng
    walls = Paint(
        easel.pick(_WALLPAPERS), "windows", (74, 84, 98), int(rng.integers(1, 4)), int(rng.integers(2, 4)), glows=True
    )
    roof = Paint(easel.pick(((150, 70, 50), (92, 88, 92), (110, 76, 56))))
    width, depth, height = rng.uniform(1.1, 1.8), rng.uniform(1.0, 1.8), rng.uniform(0.7, 1.6)
    top = gable((width + 0.2, depth + 0.2, rng.uniform(0.4, 0.9)), roof, (0, 0, height))
    return move([block((width, depth, height), walls), top], x=x)


def _draw_texture(easel: Easel) -> None:
    """Cloth, bark, ripples or tiles, close up."""
    (width, height), rng = easel.image.size, easel.rng
    base = np.array(easel.light.tint(easel.pick((*_WOODS, *_COATS, *_WALLPAPERS)), 0.1), float)
    rows, columns = np.mgrid[0:height, 0:width] / easel.short
    angle, pitch = rng.uniform(0, 3.14), rng.uniform(30, 110)
    bend = make_noise(rng, (width, height), (5, 5)) * rng.choice((0, 4, 25))
    waves = np.sin((columns * math.cos(angle) + rows * math.sin(angle)) * pitch + bend)
    if rng.random() < 0.5:
        waves = waves * np.sin((rows * math.cos(angle) - columns * math.sin(angle)) * pitch)
    grain = make_noise(rng, (width, height), (60, 60)) - 0.5
    pixels = base * (1 + rng.uniform(0.08, 0.3) * waves + 0.3 * grain)[:, :, None]
    easel.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


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
    font = ImageFont.load_default(tall / lines * 0.6)
    for line in range(lines):
        word = "".join(rng.choice(list("AEIOURSTLNMKP"), int(rng.integers(3, 8))))
        easel.draw.text((x, top + tall * (line + 0.5) / lines), word, fill=contrast, font=font, anchor="mm")


def _fill(easel: Easel, colour: Rgb, contrast: float) -> None:
    noise = 1 + contrast * (
        make_noise(easel.rng, easel.image.size, (7, 9)) * 0.7
        + make_noise(easel.rng, easel.image.size, (90, 12)) * 0.3
        - 0.5
    )
    pixels = np.array(easel.light.tint(colour, 0.1)) * noise[:, :, None]
    easel.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


_SCENES: dict[str, Callable[[Easel], None]] = {
    "people": _draw_people,
    "food": _draw_food,
    "animals": _draw_animals,
    "rooms": _draw_room,
    "flowers": _draw_flowers,
    "cars": _draw_cars,
    "countryside": _draw_countryside,
    "houses": _draw_houses,
    "textures": _draw_texture,
    "signs": _draw_sign,
}
CATEGORIES = tuple(_SCENES)
INDOORS = frozenset(("food", "rooms", "textures"))
