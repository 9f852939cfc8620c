"""Daylight, dusk, night and weather: the colours that light gives to everything in a photo."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rgb = tuple[int, int, int]
Weather = Literal["dry", "rain", "snow"]

_GLOW = np.array([255.0, 214.0, 130.0])


@dataclass(frozen=True)
class Light:
    """The light of one photo.

    Attributes:
        sun_direction: unit vector towards the sun, float64 (3,).
        sun: its colour as factors, float64 (3,).
        ambient: light from everywhere, as factors, float64 (3,).
        zenith: colour of the sky above, 0 to 255, float64 (3,).
        horizon: colour of the sky and the mist at the horizon, 0 to 255, float64 (3,).
        mist: part of the landmark's light that mist swallows.
        clouds: part of the sky they cover.
        lamps: how bright lit windows shine, 0 by day, 1 at night.
        weather: what falls.
    """

    sun_direction: Array
    sun: Array
    ambient: Array
    zenith: Array
    horizon: Array
    mist: float
    clouds: float
    lamps: float
    weather: Weather

    def shade(self, colours: Array, normals: Array, glows: NDArray[np.bool_]) -> Array:
        """Colours (n, 3) of surfaces with these unit normals (n, 3), as seen at the landmark's distance."""
        facing = np.maximum(normals @ self.sun_direction, 0)[:, None]
        sky = 0.8 + 0.2 * normals[:, 2:]
        lit = colours * (self.ambient * sky + self.sun * facing)
        if self.weather == "snow":
            lit = lit + (225 * (self.ambient + self.sun * facing) - lit) * 0.8 * np.clip(normals[:, 2:] * 2 - 0.5, 0, 1)
        lit = np.where(glows[:, None], lit + (_GLOW - lit) * self.lamps, lit)
        return lit + (self.horizon - lit) * self.mist

    def tint(self, colour: tuple[float, float, float] | Array, depth: float = 1.0) -> Rgb:
        """A colour under this light, at a depth counted in distances of the landmark."""
        lit = np.array(colour, float) * (self.ambient * 0.9 + self.sun * 0.5)
        veil = 1 - (1 - self.mist) ** depth
        red, green, blue = np.clip(lit + (self.horizon - lit) * veil, 0, 255).astype(int).tolist()
        return red, green, blue


def pick_light(rng: np.random.Generator, fair: bool = False) -> Light:
    """Choose the light of a photo; a fair one is a clear day with the sun behind the photographer's left shoulder."""
    name = "day" if fair else _NAMES[rng.choice(len(_NAMES), p=_SHARES)]
    zenith, horizon, sun, ambient = (np.array(part, float) for part in _COLOURS[name])
    mist, clouds, lamps = (rng.uniform(low, high) for low, high in _RANGES[name])
    cast = 1 + rng.normal(0, 0.035, 3)
    weather: Weather = "rain" if name == "rain" else "snow" if name == "snow" else "dry"
    angle, height = (4.0, 0.7) if fair else (rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.1))
    level = np.array([np.cos(angle), np.sin(angle) * 0.6 - 0.35])
    direction = np.append(level / np.linalg.norm(level) * np.cos(height), np.sin(height))
    if fair:
        mist, clouds = 0.03, 0.2
    return Light(direction, sun * cast, ambient * cast, zenith * cast, horizon * cast, mist, clouds, lamps, weather)


_NAMES = ("day", "overcast", "fog", "rain", "snow", "dusk", "night")
_SHARES = (0.44, 0.13, 0.07, 0.07, 0.07, 0.14, 0.08)
_Factors = tuple[float, float, float]
_Range = tuple[float, float]
# zenith, horizon, sun, ambient
_COLOURS: dict[str, tuple[_Factors, _Factors, _Factors, _Factors]] = {
    "day": ((70, 130, 205), (188, 214, 235), (0.66, 0.63, 0.56), (0.5, 0.53, 0.57)),
    "overcast": ((150, 158, 168), (200, 205, 210), (0.12, 0.12, 0.12), (0.76, 0.77, 0.79)),
    "fog": ((180, 186, 192), (205, 208, 212), (0.05, 0.05, 0.05), (0.8, 0.8, 0.8)),
    "rain": ((105, 115, 128), (160, 168, 178), (0.05, 0.05, 0.05), (0.62, 0.65, 0.69)),
    "snow": ((165, 172, 182), (215, 219, 225), (0.1, 0.1, 0.1), (0.78, 0.79, 0.83)),
    "dusk": ((72, 70, 128), (250, 165, 105), (0.62, 0.4, 0.22), (0.46, 0.41, 0.47)),
    "night": ((12, 16, 40), (48, 52, 84), (0.46, 0.42, 0.34), (0.42, 0.42, 0.48)),
}
# of mist, clouds and lamps
_RANGES: dict[str, tuple[_Range, _Range, _Range]] = {
    "day": ((0, 0.12), (0, 0.7), (0, 0)),
    "overcast": ((0.05, 0.2), (0.6, 1), (0, 0.1)),
    "fog": ((0.3, 0.5), (0, 0.3), (0, 0.3)),
    "rain": ((0.15, 0.35), (0.6, 1), (0.1, 0.5)),
    "snow": ((0.1, 0.35), (0.4, 1), (0, 0.4)),
    "dusk": ((0.03, 0.15), (0.1, 0.8), (0.3, 0.9)),
    "night": ((0, 0.1), (0, 0.5), (0.8, 1)),
}
