"""A page of what was found: thumbnails by landmark, and what was rejected and why. One file, which needs no network."""

import base64
import html
import io
import os
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from itertools import islice
from pathlib import Path

from PIL import Image

from landmarks.albums.names import Names
from landmarks.albums.tagging import Tagged
from landmarks.errors import ImageError
from landmarks.files.writing import replace_file
from landmarks.photos.decoding import decode_image
from landmarks.photos.walk import read_photo
from landmarks.processors import count_processors
from landmarks.schema.network_format import ImageFormat
from landmarks.terminal import show_progress

_MOST_PHOTOS = 5_000  # of each kind; a page with more takes minutes to open
_SIDE, _QUALITY = 176, 72
_THUMBNAIL = ImageFormat(_SIDE, "crop", 200_000_000)
_BLOCK = 64
_REJECTED, _FAILED = "No landmark", "Could not be tagged"


class Report:
    """Collects the photos of a run and writes the page."""

    def __init__(self, names: Names, min_confidence: float) -> None:
        self._names = names
        self._min_confidence = min_confidence
        self._groups: dict[str, list[Tagged]] = defaultdict(list)  # by heading
        self._links: dict[str, str | None] = {}
        self._kept = 0
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, tagged: Tagged) -> None:
        """Take a photo."""
        for landmark_id, name, _ in tagged.landmarks if not tagged.error else ():
            self._links[name] = self._names.find_link(landmark_id)
            self._keep(name, tagged)
        if tagged.error:
            self._keep(_FAILED, tagged)
        elif not tagged.landmarks:
            self._keep(_REJECTED, tagged)

    def _keep(self, heading: str, tagged: Tagged) -> None:
        self._counts[heading] += 1
        is_named = heading not in (_REJECTED, _FAILED)
        if len(self._groups[heading]) < (_MOST_PHOTOS if not is_named else _MOST_PHOTOS - self._kept):
            self._groups[heading].append(tagged)
            self._kept += is_named

    def write(self, path: Path, title: str) -> Path:
        """Write the page; thumbnails are made meanwhile."""
        page = resources.files("landmarks.albums").joinpath("report.html").read_text(encoding="utf-8")
        head, _, tail = page.partition("<!-- photos -->")
        with (
            replace_file(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="xmlcharrefreplace") as stream,
        ):
            stream.write(head.replace("<!-- title -->", html.escape(title)).replace("<!-- counts -->", self._sum_up()))
            for part in show_progress(
                self._draw(path.parent), description="report", total=None, unit="part", keep=False
            ):
                stream.write(part)
            stream.write(tail)
        return path

    def _sum_up(self) -> str:
        landmarks = [heading for heading in self._counts if heading not in (_REJECTED, _FAILED)]
        photos = sum(self._counts[heading] for heading in landmarks)
        return (
            f"{photos:,} photos of {len(landmarks):,} landmarks, {self._counts[_REJECTED]:,} without a landmark, "
            f"{self._counts[_FAILED]:,} failed"
        )

    def _draw(self, folder: Path) -> Iterator[str]:
        """Yield the page's sections in pieces."""
        named = sorted((heading for heading in self._groups if heading not in (_REJECTED, _FAILED)), key=str.casefold)
        for heading in [*named, *(last for last in (_REJECTED, _FAILED) if last in self._groups)]:
            yield from self._draw_group(heading, folder)

    def _draw_group(self, heading: str, folder: Path) -> Iterator[str]:
        kind = {_REJECTED: "rejected", _FAILED: "failed"}.get(heading, "named")
        link = self._links.get(heading)
        escaped = html.escape(heading)
        title = f'<a href="{html.escape(link)}" rel="noreferrer">{escaped}</a>' if link else escaped
        photos = sorted(self._groups[heading], key=lambda tagged: -self._rate(tagged, heading))
        yield f'<section data-kind="{kind}"><h2>{title} <span>{self._counts[heading]:,}</span></h2><ul>\n'
        with ThreadPoolExecutor(count_processors(), "thumbnails") as pool:
            waiting = iter(photos)
            while block := [*islice(waiting, _BLOCK)]:
                for tagged, picture in zip(block, pool.map(_make_thumbnail, (one.path for one in block)), strict=True):
                    yield self._draw_photo(tagged, heading, picture, folder)
        if (left := self._counts[heading] - len(photos)) > 0:
            yield f"<li class=more>and {left:,} more, which --csv lists</li>"
        yield "</ul></section>\n"

    def _rate(self, tagged: Tagged, heading: str) -> float:
        return next(
            (confidence for _, name, confidence in tagged.landmarks if name == heading), tagged.answer.confidence
        )

    def _draw_photo(self, tagged: Tagged, heading: str, picture: str, folder: Path) -> str:
        name = html.escape(_show(tagged.path.name))
        note = html.escape(self._explain(tagged, heading))
        try:
            target = os.path.relpath(tagged.path, folder)
        except ValueError:  # another drive of Windows
            target = os.fspath(tagged.path)
        href = html.escape(urllib.parse.quote(os.fsencode(target)))
        words = html.escape(_show(f"{tagged.path} {heading}").casefold())
        return f'<li data-words="{words}"><a href="{href}">{picture}<b>{name}</b></a><small>{note}</small></li>\n'

    def _explain(self, tagged: Tagged, heading: str) -> str:
        answer = tagged.answer
        if tagged.error:
            return tagged.error
        if tagged.landmarks:
            return f"{self._rate(tagged, heading):.0%}"
        if not answer.is_landmark:
            return f"landmark score {answer.landmark_score:.2f}, below {answer.threshold:.2f}"
        guess = self._names.find(answer.landmarks[0][0])
        return f"{guess}? {answer.confidence:.0%}, below {self._min_confidence:.0%}"


def _make_thumbnail(path: Path) -> str:
    try:
        pixels = decode_image(read_photo(path), _THUMBNAIL)
    except ImageError:
        return '<i aria-hidden="true"></i>'
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY)
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img loading="lazy" width="{_SIDE}" height="{_SIDE}" alt="" src="data:image/jpeg;base64,{data}">'


def _show(text: str) -> str:
    """Return a text with what is no character escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]
