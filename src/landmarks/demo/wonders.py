"""Synthetic mountains, statues and a Ferris wheel, and the catalogue of all landmarks of the demo."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landmarks.demo import buildings, towers
from landmarks.demo.geometry import Paint, Solid, ball, bar, block, loft, move, ring, turned


def build_torchbearer() -> list[Solid]:
    """Build a green copper statue with a raised torch on a stone pedestal."""
    copper, stone = Paint((92, 170, 146)), Paint((186, 170, 144), "blocks", (160, 144, 120), 4, 3)
    solids = [block((2.2, 2.2, 0.4), Paint((160, 148, 130))), block((1.5, 1.5, 1.3), stone, (0, 0, 0.4))]
    solids += turned([(0.85, 1.7), (0.64, 2.6), (0.48, 3.3), (0.6, 3.9), (0.25, 4.1)], copper, 9)
    solids += ball(0.33, copper, (0, 0, 4.4), 8)
    for angle in np.linspace(0.3, np.pi - 0.3, 5):
        tip = (0.6 * float(np.cos(angle)), 0, 4.45 + 0.6 * float(np.sin(angle)))
        solids.append(bar((0.2 * np.cos(angle), 0, 4.45 + 0.2 * np.sin(angle)), tip, 0.1, copper, 0.3))
    solids += [
        bar((0.35, 0, 3.8), (0.75, -0.1, 4.5), 0.24, copper),
        bar((0.75, -0.1, 4.5), (0.7, -0.1, 5.3), 0.2, copper),
    ]
    solids += turned([(0.12, 5.3), (0.26, 5.5), (0.0, 6.0)], [copper, Paint((250, 200, 60))], 7, (0.7, -0.1))
    return [
        *solids,
        bar((-0.4, 0, 3.75), (-0.6, -0.35, 3.1), 0.24, copper),
        block((0.5, 0.16, 0.7), copper, (-0.55, -0.45, 2.9)),
    ]


def build_golden_sage() -> list[Solid]:
    """Build a seated golden statue on a lotus."""
    gold, dark = Paint((226, 172, 40)), Paint((192, 136, 30))
    solids = turned([(1.7, 0), (2.0, 0.5)], Paint((196, 86, 96), "arches", (240, 190, 190), 1, 1), 14)
    solids += turned([(1.75, 0.5), (1.5, 0.95), (0.8, 1.1)], dark, 12)
    solids += turned([(0.95, 1.1), (0.85, 1.7), (1.0, 2.3), (0.4, 2.65)], gold, 10)
    solids += ball(0.55, gold, (0, 0, 3.1), 10) + turned([(0.3, 3.5), (0.16, 3.8), (0.0, 3.95)], Paint((40, 50, 90)), 8)
    for side in (-1, 1):
        solids.append(bar((side * 0.95, 0, 2.3), (side * 1.15, -0.3, 1.5), 0.4, gold))
        solids.append(bar((side * 1.15, -0.3, 1.5), (side * 0.3, -0.95, 1.25), 0.34, gold))
    return solids


def build_peak() -> list[Solid]:
    """Build a crooked grey peak, its upper half under snow, between lower shoulders."""
    rock, snow = (
        Paint((104, 104, 116), "stripes", (84, 84, 96), 1, 2),
        Paint((240, 244, 250), "stripes", (196, 206, 222), 1, 2),
    )
    paints = [Paint((88, 100, 80)), rock, rock, snow, snow]
    solids = _pile(
        [(2.8, 0, 0.0), (2.1, 1.0, 0.1), (1.4, 2.3, 0.0), (0.95, 3.3, 0.2), (0.5, 4.3, 0.45), (0.0, 5.2, 0.95)], paints
    )
    for x, y, scale in ((-2.0, 0.6, 0.55), (2.2, 0.3, 0.45), (0.6, -1.9, 0.3)):
        side = _pile([(2.8, 0, 0), (1.9, 1.4, -0.1), (1.0, 2.8, -0.2), (0.0, 4.2, 0.1)], [*paints[:2], snow])
        solids += move(side, x, y, 0, scale)
    return solids


def build_volcano() -> list[Solid]:
    """Build a broad dark cone with a glowing crater and red streams."""
    lava = Paint((74, 52, 50), "stripes", (246, 96, 30), 1, 1, glows=True)
    solids = _pile(
        [(4.2, 0, 0), (2.5, 1.2, 0), (1.5, 2.3, 0), (0.95, 3.0, 0)], [Paint((64, 60, 52)), Paint((74, 52, 50)), lava]
    )
    solids += turned([(0.8, 3.0), (0.9, 3.12)], Paint((255, 140, 40)), 9)
    for k, (x, z) in enumerate(((0.1, 3.6), (0.4, 4.1), (0.9, 4.6))):
        solids += ball(0.42 + 0.13 * k, Paint((150, 142, 140)), (x, 0, z), 8)
    return solids


def _pile(levels: list[tuple[float, float, float]], paints: list[Paint]) -> list[Solid]:
    """Build a mountain from irregular rings, given as (radius, z, x)."""
    bumps = (1 + 0.13 * np.sin(np.arange(9) * 2.4))[:, None] * (1, 1, 0) + (0, 0, 1)
    rings = [ring(9, max(radius, 1e-3), z) * bumps + (x, 0, 0) for radius, z, x in levels]
    return [loft(low, high, paint) for low, high, paint in zip(rings[:-1], rings[1:], paints, strict=True)]


def build_wheel() -> list[Solid]:
    """Build a violet Ferris wheel with sixteen bright cabins."""
    steel, rim = Paint((236, 236, 242)), Paint((132, 62, 168))
    colours = ((240, 200, 50), (230, 70, 90), (60, 170, 220), (110, 200, 90))
    angles = np.arange(16) * np.pi / 8
    tips = [(2.2 * float(np.cos(a)), 2.7 + 2.2 * float(np.sin(a))) for a in angles]
    solids = [bar((0, 0, 2.7), (x, 0, z), 0.06, steel) for x, z in tips[::2]]
    for rank, ((x, z), (x_next, z_next)) in enumerate(zip(tips, tips[1:] + tips[:1], strict=True)):
        solids.append(bar((x, 0, z), (x_next, 0, z_next), 0.2, rim))
        solids.append(block((0.36, 0.4, 0.4), Paint(colours[rank % 4]), (x * 1.14, 0, 2.7 + (z - 2.7) * 1.14 - 0.2)))
    for y in (-0.5, 0.5):
        solids += [bar((side * 1.3, y * 2, 0), (0, y, 2.7), 0.2, rim) for side in (-1, 1)]
    return [*solids, bar((0, -0.6, 2.7), (0, 0.6, 2.7), 0.4, rim)]


@dataclass(frozen=True)
class InventedLandmark:
    """A landmark of the demo; `turns` is the largest yaw of its photos to either side, in radians."""

    landmark_id: int
    name: str
    build: Callable[[], list[Solid]]
    turns: float = 0.9


CATALOGUE = (
    InventedLandmark(1207, "Vermilion Pagoda of Keshmarin", towers.build_pagoda),
    InventedLandmark(4410, "Gullwick Lighthouse", towers.build_lighthouse),
    InventedLandmark(9083, "Alba Mausoleum", buildings.build_white_dome),
    InventedLandmark(12650, "Castle Drumholt", buildings.build_castle),
    InventedLandmark(17331, "Halden Strait Bridge", buildings.build_suspension_bridge, 0.75),
    InventedLandmark(21904, "Arch of Veradine", buildings.build_triumphal_arch, 0.75),
    InventedLandmark(26178, "Skarnhorn", build_peak, 0.7),
    InventedLandmark(33465, "Torchbearer of Maren", build_torchbearer, 0.7),
    InventedLandmark(38812, "Cathedral of Saint Orlow", buildings.build_onion_cathedral),
    InventedLandmark(45029, "Oosterveen Mill", towers.build_windmill, 0.7),
    InventedLandmark(51746, "Sarrano Aqueduct", buildings.build_aqueduct, 0.7),
    InventedLandmark(58293, "Temple of Ixtan", buildings.build_step_pyramid, 0.7),
    InventedLandmark(64917, "Ferrand Tower", towers.build_lattice_tower),
    InventedLandmark(70358, "Aster Needle", towers.build_needle),
    InventedLandmark(79624, "Lorne Glass Pyramid", buildings.build_glass_pyramid, 0.7),
    InventedLandmark(86105, "Golden Sage of Tavoy", build_golden_sage, 0.8),
    InventedLandmark(93570, "Quillon Clock Tower", towers.build_clock_tower),
    InventedLandmark(104238, "Brightwater Wheel", build_wheel, 0.65),
    InventedLandmark(113861, "Leaning Tower of Pendra", towers.build_leaning_tower, 0.6),
    InventedLandmark(125497, "Selkie Opera House", buildings.build_opera_house, 0.6),
    InventedLandmark(139082, "Helix Tower", towers.build_twisted_tower),
    InventedLandmark(154776, "Temple of Anthea", buildings.build_temple),
    InventedLandmark(171329, "Mount Pyra", build_volcano, 0.9),
    InventedLandmark(188640, "Floating Gate of Imari", buildings.build_torii, 0.7),
)
