"""Synthetic landmarks that are tall: towers, a pagoda, a lighthouse, a windmill."""

from itertools import pairwise

import numpy as np

from landmarks.demo.geometry import Paint, Solid, ball, bar, block, lean, loft, rectangle, ring, turned


def build_pagoda() -> list[Solid]:
    """Build a pagoda: five red storeys with wide dark roofs."""
    red = Paint((196, 44, 34), "windows", (250, 226, 170), 1, 3, glows=True)
    roof = Paint((48, 66, 60))
    solids = [block((2.6, 2.6, 0.3), Paint((170, 164, 150)))]
    for storey in range(5):
        z, width = 0.3 + storey, 1.7 - storey * 0.22
        solids.append(loft(rectangle(width, width, z), rectangle(width, width, z + 0.65), red))
        solids.append(
            loft(rectangle(width + 1.1, width + 1.1, z + 0.6), rectangle(width * 0.8, width * 0.8, z + 1), roof)
        )
    return solids + turned([(0.1, 5.3), (0.06, 6.2), (0.0, 6.5)], Paint((220, 180, 60)), 6)


def build_lighthouse() -> list[Solid]:
    """Build a red and white striped lighthouse on a dark rock."""
    white, red = Paint((240, 240, 236)), Paint((206, 38, 44))
    heights = np.linspace(0.5, 4.5, 7)
    profile = [(0.85 - 0.1 * float(z), float(z)) for z in heights]
    solids = turned([(1.9, 0), (1.5, 0.3), (1.0, 0.5)], Paint((78, 72, 68)), 9)
    solids += turned(profile, [red, white] * 3, 12)
    solids += turned([(0.62, 4.5), (0.62, 4.65)], Paint((50, 52, 58)), 12)
    solids += turned(
        [(0.34, 4.65), (0.34, 5.15)], Paint((90, 110, 120), "windows", (255, 244, 190), 1, 1, glows=True), 8
    )
    return solids + turned([(0.46, 5.15), (0.0, 5.6)], red, 8)


def build_windmill() -> list[Solid]:
    """Build a white windmill with a brown cap and four sails."""
    solids = turned([(1.1, 0), (0.7, 2.6)], Paint((236, 230, 214), "windows", (70, 90, 110), 4, 1), 8)
    solids += turned([(0.85, 2.6), (0.75, 2.9), (0.0, 3.5)], Paint((120, 72, 40)), 8)
    wood, cloth = Paint((92, 58, 36)), Paint((214, 178, 128))
    for angle in np.pi / 5 + np.arange(4) * np.pi / 2:
        along, aside = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        tip = along * 2.1
        solids.append(bar((0, -0.95, 2.85), (tip[0], -0.95, 2.85 + tip[1]), 0.1, wood))
        spots = [along * 0.5, along * 0.5 + aside * 0.45, tip + aside * 0.45, tip]
        sail = np.array([(x, -1.0, 2.85 + z) for x, z in spots])
        solids.append(loft(sail, sail - (0, 0.05, 0), wood, cloth))
    return solids


def build_lattice_tower() -> list[Solid]:
    """Build an iron tower on four slanting legs."""
    iron = Paint((104, 78, 60))
    levels = [(0.0, 1.25), (1.1, 0.8), (2.2, 0.5), (3.4, 0.3), (5.2, 0.12)]
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    solids = []
    for (low, wide), (high, narrow) in pairwise(levels):
        for here, there in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            solids.append(bar((*here * wide, low), (*here * narrow, high), 0.2 if low < 2 else 0.12, iron))
            solids.append(bar((*here * wide, low), (*there * narrow, high), 0.07, iron))
            solids.append(bar((*there * wide, low), (*here * narrow, high), 0.07, iron))
    for z, width in ((1.1, 2.0), (2.2, 1.35), (5.2, 0.4)):
        solids.append(block((width, width, 0.14), Paint((136, 104, 78)), (0, 0, z)))
    return [*solids, bar((0, 0, 5.3), (0, 0, 6.2), 0.06, iron)]


def build_needle() -> list[Solid]:
    """Build a slim concrete shaft with a turquoise ball and a red and white mast."""
    concrete = Paint((196, 194, 190))
    solids = turned([(1.2, 0), (0.46, 0.7), (0.28, 4.2)], concrete, 10)
    solids += ball(0.9, Paint((32, 164, 172), "windows", (220, 250, 250), 1, 1, glows=True), (0, 0, 4.7), 12)
    solids += turned([(1.15, 4.6), (1.15, 4.84)], Paint((228, 232, 236)), 12)
    mast = [(0.1 - 0.012 * k, 5.4 + 0.3 * k) for k in range(6)]
    return solids + turned(mast, [Paint((214, 50, 44)), Paint((244, 244, 244))] * 2 + [Paint((214, 50, 44))], 6)


def build_clock_tower() -> list[Solid]:
    """Build a clock tower of yellow brick with white dials and a green spire."""
    brick = Paint((204, 162, 86), "windows", (86, 60, 40), 5, 3, glows=True)
    dial = Paint((186, 142, 72), "clock", (250, 250, 244), 1, 1, glows=True)
    solids = [block((1.7, 1.7, 0.4), Paint((150, 120, 80)))]
    solids.append(block((1.2, 1.2, 3.0), brick, (0, 0, 0.4)))
    solids.append(block((1.45, 1.45, 1.3), dial, (0, 0, 3.4)))
    solids.append(loft(rectangle(1.6, 1.6, 4.7), rectangle(0.02, 0.02, 6.6), Paint((70, 140, 104))))
    for x, y in ((-0.65, -0.65), (0.65, -0.65), (0.65, 0.65), (-0.65, 0.65)):
        solids += turned([(0.14, 4.7), (0.0, 5.4)], Paint((70, 140, 104)), 4, (x, y))
    return solids


def build_leaning_tower() -> list[Solid]:
    """Build a leaning white cylinder ringed by arcades."""
    arcade = Paint((238, 230, 214), "arches", (150, 138, 122), 1, 2)
    solids: list[Solid] = []
    for storey in range(6):
        z = storey * 0.75
        solids += turned([(0.9, z), (0.9, z + 0.62)], arcade, 14)
        solids += turned([(1.0, z + 0.62), (1.0, z + 0.75)], Paint((216, 204, 184)), 14)
    solids += turned([(0.62, 4.5), (0.62, 5.2)], arcade, 12)
    return lean(solids, 0.17)


def build_twisted_tower() -> list[Solid]:
    """Build a glass tower that twists as it rises."""
    glass = Paint((52, 132, 150), "grid", (170, 226, 232), 2, 3, glows=True)
    dark = Paint((34, 96, 116), "grid", (150, 210, 220), 2, 3, glows=True)
    floors = 12
    solids = []
    for floor in range(floors):
        low, high = (ring(4, 1.0 - 0.025 * k, 0.5 * k, turn=0.5 + 0.12 * k) for k in (floor, floor + 1))
        solids.append(loft(low, high, glass if floor % 2 else dark))
    return solids
