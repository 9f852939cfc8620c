"""Light and weather: how daylight, dusk, night, fog, rain and snow change colours."""

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
        sun: colour of direct light, as factors, float64 (3,).
        ambient: colour of diffuse light, as factors, float64 (3,).
        zenith: colour of the sky at the zenith, 0 to 255, float64 (3,).
        horizon: colour of sky and mist at the horizon, 0 to 255, float64 (3,).
        mist: fraction of the landmark's light that mist absorbs.
        clouds: fraction of the sky covered by clouds.
        lamps: brightness of lit windows, 0 by day, 1 at night.
        weather: the precipitation.
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
        """Return the colours (n, 3) of surfaces with unit normals (n, 3) at the distance of the landmark."""
        facing = np.maximum(normals @ self.sun_direction, 0)[:, None]
        sky = 0.8 + 0.2 * normals[:, 2:]
        lit = colours * (self.ambient * sky + self.sun * facing)
        if self.weather == "snow":  # lies on surfaces that face up
            lit = lit + (225 * (self.ambient + self.sun * facing) - lit) * 0.8 * np.clip(normals[:, 2:] * 2 - 0.5, 0, 1)
        lit = np.where(glows[:, None], lit + (_GLOW - lit) * self.lamps, lit)
        return lit + (self.horizon - lit) * self.mist

    def tint(self, colour: tuple[float, float, float] | Array, depth: float = 1.0) -> Rgb:
        """Return a colour under this light at a depth; 1 is the distance of the landmark."""
        lit = np.array(colour, float) * (self.ambient * 0.9 + self.sun * 0.5)
        veil = 1 - (1 - self.mist) ** depth  # exponential attenuation (Beer-Lambert)
        red, green, blue = np.clip(lit + (self.horizon - lit) * veil, 0, 255).astype(int).tolist()
        return red, green, blue


def pick_light(rng: np.random.Generator, fair: bool = False) -> Light:
    """Draw a random light; `fair` gives a clear day with the sun behind the camera's left."""
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
# zenith, horizon, sun, ambient; tuned by eye
_COLOURS: dict[str, tuple[_Factors, _Factors, _Factors, _Factors]] = {
    "day": ((70, 130, 205), (188, 214, 235), (0.66, 0.63, 0.56), (0.5, 0.53, 0.57)),
    "overcast": ((150, 158, 168), (200, 205, 210), (0.12, 0.12, 0.12), (0.76, 0.77, 0.79)),
    "fog": ((180, 186, 192), (205, 208, 212), (0.05, 0.05, 0.05), (0.8, 0.8, 0.8)),
    "rain": ((105, 115, 128), (160, 168, 178), (0.05, 0.05, 0.05), (0.62, 0.65, 0.69)),
    "snow": ((165, 172, 182), (215, 219, 225), (0.1, 0.1, 0.1), (0.78, 0.79, 0.83)),
    "dusk": ((72, 70, 128), (250, 165, 105), (0.62, 0.4, 0.22), (0.46, 0.41, 0.47)),
    "night": ((12, 16, 40), (48, 52, 84), (0.46, 0.42, 0.34), (0.42, 0.42, 0.48)),
}
# mist, clouds, lamps
_RANGES: dict[str, tuple[_Range, _Range, _Range]] = {
    "day": ((0, 0.12), (0, 0.7), (0, 0)),
    "overcast": ((0.05, 0.2), (0.6, 1), (0, 0.1)),
    "fog": ((0.3, 0.5), (0, 0.3), (0, 0.3)),
    "rain": ((0.15, 0.35), (0.6, 1), (0.1, 0.5)),
    "snow": ((0.1, 0.35), (0.4, 1), (0, 0.4)),
    "dusk": ((0.03, 0.15), (0.1, 0.8), (0.3, 0.9)),
    "night": ((0, 0.1), (0, 0.5), (0.8, 1)),
}
