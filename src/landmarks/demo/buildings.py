"""Synthetic landmarks that are wide: domes, temples, castles, bridges, arches."""

from itertools import pairwise

import numpy as np

from landmarks.demo.geometry import Paint, Solid, arcade, bar, block, gable, loft, rectangle, slab, turned

_DOME = [(float(np.cos(a)), float(np.sin(a))) for a in np.linspace(0, np.pi / 2, 6)]


def _make_dome(
    radius: float, z: float, paint: Paint, height: float = 1.0, at: tuple[float, float] = (0, 0)
) -> list[Solid]:
    return turned([(radius * r, z + radius * height * up) for r, up in _DOME], paint, 14, at)


def _make_onion(radius: float, z: float, paint: Paint, at: tuple[float, float]) -> list[Solid]:
    profile = [(0.7, 0), (1.0, 0.35), (0.95, 0.75), (0.55, 1.2), (0.2, 1.55), (0.0, 2.1)]
    return turned([(radius * r, z + radius * up) for r, up in profile], paint, 10, at)


def build_white_dome() -> list[Solid]:
    """Build a marble tomb: one great dome between four minarets."""
    marble = Paint((240, 236, 228), "arches", (140, 136, 150), 2, 3)
    plain = Paint((244, 241, 235))
    solids = [block((6.4, 6.4, 0.4), Paint((206, 190, 172)))]
    solids.append(block((3.2, 3.2, 1.9), marble, (0, 0, 0.4)))
    solids += turned([(1.15, 2.3), (1.15, 2.75)], plain, 14) + _make_dome(1.3, 2.75, plain, 1.25)
    solids += turned([(0.08, 4.37), (0.0, 4.9)], Paint((222, 184, 72)), 6)
    for x, y in ((-2.7, -2.7), (2.7, -2.7), (2.7, 2.7), (-2.7, 2.7)):
        solids += turned([(0.26, 0.4), (0.19, 3.4)], plain, 8, (x, y))
        solids += _make_dome(0.3, 3.4, plain, 1.4, (x, y))
    return solids


def build_onion_cathedral() -> list[Solid]:
    """Build a brick cathedral under five onion domes of five colours."""
    brick = Paint((158, 62, 48), "arches", (236, 220, 190), 1, 3)
    solids = [block((3.6, 2.6, 1.5), brick)]
    domes = [
        (-1.4, -0.9, (46, 122, 70)),
        (1.4, -0.9, (40, 86, 170)),
        (-1.4, 0.9, (190, 60, 60)),
        (1.4, 0.9, (66, 150, 160)),
    ]
    for x, y, colour in domes:
        stripes = Paint(colour, "stripes", (236, 214, 120), 1, 1)
        solids += turned([(0.38, 1.5), (0.38, 2.5)], Paint((206, 110, 84)), 8, (x, y))
        solids += _make_onion(0.55, 2.5, stripes, (x, y))
    solids += turned([(0.62, 1.5), (0.55, 3.3)], Paint((214, 120, 92), "windows", (60, 40, 40), 3, 1), 8)
    return solids + _make_onion(0.85, 3.3, Paint((238, 186, 44)), (0, 0))


def build_castle() -> list[Solid]:
    """Build a castle: grey walls between four round towers with pointed blue roofs, and a keep."""
    stone = Paint((158, 155, 150), "blocks", (134, 131, 127), 5, 5)
    roof = Paint((44, 70, 132))
    solids = [block((3.2, 0.4, 1.5), Paint((164, 161, 156), "door", (52, 36, 28)), (0, y, 0)) for y in (-1.6, 1.6)]
    solids += [block((0.4, 2.4, 1.5), stone, (x, 0, 0)) for x in (-1.6, 1.6)]
    for x, y in ((-1.9, -1.9), (1.9, -1.9), (1.9, 1.9), (-1.9, 1.9)):
        solids += turned([(0.55, 0), (0.5, 2.3), (0.66, 2.35), (0.0, 3.7)], [stone, roof, roof], 10, (x, y))
    solids.append(block((1.3, 1.3, 2.9), Paint((154, 152, 150), "windows", (54, 50, 56), 4, 3, glows=True)))
    return [*solids, loft(rectangle(1.5, 1.5, 2.9), rectangle(0.02, 0.02, 4.6), roof)]


def build_triumphal_arch() -> list[Solid]:
    """Build a sandstone arch with a heavy attic."""
    stone = Paint((222, 192, 140), "blocks", (198, 166, 116), 6, 2)
    solids = arcade((-1.6, 1.6), (0, 2.7), 1.3, 1, stone, pier=0.44)
    solids.append(block((4.9, 1.5, 0.25), Paint((236, 212, 166)), (0, 0, 2.7)))
    attic = Paint((226, 198, 148), "windows", (170, 134, 92), 1, 5)
    return [
        *solids,
        block((4.5, 1.35, 0.9), attic, (0, 0, 2.95)),
        block((4.8, 1.5, 0.15), Paint((236, 212, 166)), (0, 0, 3.85)),
    ]


def build_suspension_bridge() -> list[Solid]:
    """Build a bridge of two orange towers, a long deck and hanging cables."""
    steel = Paint((214, 84, 38))
    solids = [block((10, 0.8, 0.22), Paint((176, 66, 34)), (0, 0, 1.0))]
    for x in (-2.6, 2.6):
        solids.append(block((0.9, 1.5, 0.5), Paint((150, 146, 140)), (x, 0, 0)))
        solids += [block((0.34, 0.24, 3.6), steel, (x, y, 0.5)) for y in (-0.55, 0.55)]
        solids += [block((0.3, 0.86, 0.24), steel, (x, 0, z)) for z in (0.7, 2.2, 3.2, 3.8)]
    for y in (-0.55, 0.55):
        xs = np.linspace(-5, 5, 21)
        zs = np.where(np.abs(xs) < 2.6, 1.4 + 2.6 * (xs / 2.6) ** 2, 4.0 - 2.8 * (np.abs(xs) - 2.6) / 2.4)
        tips = list(zip(xs.tolist(), [y] * 21, zs.tolist(), strict=True))
        solids += [bar(a, b, 0.12, steel) for a, b in pairwise(tips)]
        solids += [bar((x, y, 1.1), (x, y, z), 0.05, steel) for x, _, z in tips if z > 1.35]
    return solids


def build_aqueduct() -> list[Solid]:
    """Build an aqueduct: two tiers of arches with red and cream bands."""
    stone = Paint((186, 92, 66), "bands", (232, 206, 172), 4, 1)
    lower = arcade((-4, 4), (0, 1.9), 0.9, 4, stone, pier=0.24)
    upper = arcade((-4, 4), (2.05, 3.3), 0.65, 8, stone, pier=0.3)
    ledges = [block((8.6, depth, 0.15), Paint((150, 74, 56)), (0, 0, z)) for depth, z in ((1.0, 1.9), (0.8, 3.3))]
    return lower + upper + ledges


def build_step_pyramid() -> list[Solid]:
    """Build a stepped temple with stairs at the front and the back."""
    ochre = Paint((186, 148, 84), "blocks", (158, 122, 66), 2, 8)
    solids = []
    for step in range(6):
        wide = 5.2 - 0.75 * step
        solids.append(
            loft(rectangle(wide, wide, 0.5 * step), rectangle(wide - 0.35, wide - 0.35, 0.5 * (step + 1)), ochre)
        )
    shrine = Paint((196, 160, 98), "arches", (60, 44, 34), 1, 2)
    solids += [block((1.1, 1.1, 0.7), shrine, (0, 0, 3.0)), block((1.3, 1.3, 0.25), Paint((120, 132, 66)), (0, 0, 3.7))]
    stair = Paint((218, 188, 128), "bands", (160, 130, 84), 12, 1)
    foot = np.array([(-0.45, -2.75, 0), (0.45, -2.75, 0), (0.45, -2.3, 0), (-0.45, -2.3, 0)])
    head = np.array([(-0.45, -0.75, 3.05), (0.45, -0.75, 3.05), (0.45, -0.55, 3.0), (-0.45, -0.55, 3.0)])
    return solids + [loft(foot * (1, side, 1), head * (1, side, 1), stair) for side in (1, -1)]


def build_glass_pyramid() -> list[Solid]:
    """Build a glass pyramid with two small ones beside it."""
    glass = Paint((96, 150, 206), "grid", (222, 238, 250), 7, 7, glows=True)
    small = Paint((96, 150, 206), "grid", (222, 238, 250), 3, 3, glows=True)
    solids = [loft(rectangle(4.4, 4.4, 0.1), rectangle(0.02, 0.02, 3.3), glass)]
    sides = [(rectangle(1.5, 1.5, 0.1, (x, -0.6)), rectangle(0.02, 0.02, 1.2, (x, -0.6))) for x in (-3.1, 3.1)]
    return [block((8.2, 5.0, 0.1), Paint((150, 152, 160))), *solids, *(loft(*rings, small) for rings in sides)]


def build_opera_house() -> list[Solid]:
    """Build an opera house: white tiled sails on a brown terrace."""
    tile = Paint((246, 244, 236))
    inner = Paint((214, 208, 196))
    solids = [block((6.6, 3.0, 0.6), Paint((160, 116, 88), "windows", (90, 62, 50), 1, 12, glows=True))]
    for x, y, size, way in (
        (-1.9, 0.3, 1.6, 1),
        (-0.6, 0.3, 2.3, 1),
        (0.9, 0.3, 1.5, 1),
        (1.9, 0.3, 1.1, -1),
        (-2.2, -0.8, 0.9, 1),
        (0.4, -0.9, 1.2, 1),
    ):
        outline = [(0.0, 0.0), (1.15, 0.0), (1.0, 0.35), (0.72, 0.75), (0.3, 1.1), (-0.25, 1.35)]
        spots = [(x + way * size * (along - 0.5), 0.6 + size * up) for along, up in outline]
        low = np.array([(sx, y - size * 0.42 * (1 - (sz - 0.6) / size / 1.4), sz) for sx, sz in spots])
        high = low * (1, -1, 1) + (0, 2 * y, 0)
        solids.append(loft(low, high, inner, tile))
    return solids


def build_temple() -> list[Solid]:
    """Build a marble colonnade under a low gable."""
    marble = Paint((232, 222, 198))
    column = Paint((238, 230, 208), "stripes", (204, 192, 166), 1, 1)
    solids = [block((6.4 - 0.4 * k, 3.8 - 0.4 * k, 0.2), Paint((204, 194, 172)), (0, 0, 0.2 * k)) for k in range(3)]
    solids.append(block((3.8, 1.4, 2.0), Paint((150, 132, 110)), (0, 0, 0.6)))
    spots = [(x, y) for x in np.linspace(-2.5, 2.5, 7) for y in (-1.25, 1.25)] + [(x, 0) for x in (-2.5, 2.5)]
    for x, y in spots:
        solids += turned([(0.23, 0.6), (0.18, 2.6)], column, 8, (float(x), float(y)))
    solids.append(block((5.7, 3.1, 0.4), Paint((226, 214, 188), "windows", (180, 84, 60), 1, 14), (0, 0, 2.6)))
    return [*solids, gable((5.9, 3.3, 0.95), Paint((194, 104, 72)), (0, 0, 3.0)), *_pediments(marble)]


def _pediments(marble: Paint) -> list[Solid]:
    outline = np.array([(-1.65, 3.0), (1.65, 3.0), (0, 3.98)])
    low = np.column_stack([np.full(3, 2.95), outline])
    high = np.column_stack([np.full(3, 3.03), outline])
    return [loft(low * (side, 1, 1), high * (side, 1, 1), marble) for side in (-1, 1)]


def build_torii() -> list[Solid]:
    """Build a vermilion gate with a curved black lintel."""
    vermilion, black = Paint((226, 72, 36)), Paint((40, 36, 38))
    solids: list[Solid] = []
    for x in (-1.5, 1.5):
        solids += turned([(0.32, 0), (0.32, 0.3), (0.2, 0.3), (0.16, 3.2)], [black, black, vermilion], 10, (x, 0))
    solids.append(block((3.7, 0.22, 0.28), vermilion, (0, 0, 2.4)))
    solids.append(block((0.3, 0.16, 0.5), Paint((240, 200, 70)), (0, 0, 2.68)))
    for side in (-1, 1):
        top = [(0.0, 3.2), (side * 2.4, 3.35), (side * 2.5, 3.6), (0.0, 3.42)]
        crest = [(0.0, 3.42), (side * 2.5, 3.6), (side * 2.65, 3.85), (0.0, 3.6)]
        solids += [slab(top, -0.2, 0.2, vermilion), slab(crest, -0.28, 0.28, black)]
    return solids
