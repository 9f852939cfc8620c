"""Where landmarks stand: a table that people bring along."""

from pathlib import Path

from landmarks.albums.xmp import Place
from landmarks.errors import DataError
from landmarks.files.parsing import parse_integer, read_rows

_COLUMNS = ("landmark_id", "latitude", "longitude")
_MOST_LATITUDE, _MOST_LONGITUDE = 90, 180


def read_places(path: Path) -> dict[int, Place]:
    """Read a table landmark_id,latitude,longitude, in degrees; rows without a place are left out.

    Raises:
        DataError: a number is none, or no place on Earth.
        ArtifactError: it is no such table.
    """
    found: dict[int, Place] = {}
    for number, row in enumerate(read_rows(path, _COLUMNS), start=2):
        if not row["latitude"] and not row["longitude"]:
            continue
        try:
            place = Place(float(row["latitude"]), float(row["longitude"]))
            found[parse_integer(row["landmark_id"])] = _check(place)
        except ValueError as error:
            raise DataError(
                f"Row {number} of {path} is not landmark_id,latitude,longitude in degrees: {error}."
            ) from error
    return found


def _check(place: Place) -> Place:
    # not a number is not within, either
    if not (abs(place.latitude) <= _MOST_LATITUDE and abs(place.longitude) <= _MOST_LONGITUDE):
        raise ValueError("there is no such place on Earth")
    return place
