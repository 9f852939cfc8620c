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
from landmarks.photos.walk import read_photo, show_path
from landmarks.processors import count_processors
from landmarks.recognizer.answers import format_apart
from landmarks.schema.network_format import ImageFormat
from landmarks.terminal import show_progress

_MOST_PHOTOS = 5_000  # of each kind; a page with more takes minutes to open
_SIDE, _QUALITY = 176, 72
_THUMBNAIL = ImageFormat(_SIDE, "crop", 200_000_000)
_BLOCK = 64
_NAMED = "named"
# the groups of photos without a tag, in order: their headings, and what the page's filter calls them
_HEADINGS = {
    "unsure": ("Not sure enough", "rejected"),
    "none": ("No landmark", "rejected"),
    "failed": ("Could not be tagged", "failed"),
}
_Group = tuple[str, str]  # a kind and, of photos with a landmark, its name


class Report:
    """Collects the photos of a run and writes the page."""

    def __init__(self, names: Names, min_confidence: float) -> None:
        self._names = names
        self._min_confidence = min_confidence
        self._groups: dict[_Group, list[Tagged]] = defaultdict(list)
        self._links: dict[str, str | None] = {}
        self._kept: dict[str, int] = defaultdict(int)  # by kind
        self._counts: dict[_Group, int] = defaultdict(int)
        self._named = 0

    def add(self, tagged: Tagged) -> None:
        """Take a photo."""
        if tagged.error:
            self._keep(("failed", ""), tagged)
        elif not tagged.landmarks:
            self._keep(("unsure" if tagged.answer.is_landmark else "none", ""), tagged)
        else:
            self._named += 1
            for landmark_id, name, _ in tagged.landmarks:
                self._links[name] = self._names.find_link(landmark_id)
                self._keep((_NAMED, name), tagged)

    def _keep(self, group: _Group, tagged: Tagged) -> None:
        self._counts[group] += 1
        if self._kept[group[0]] < _MOST_PHOTOS:
            self._kept[group[0]] += 1
            self._groups[group].append(tagged)

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
        landmarks = sum(kind == _NAMED for kind, _ in self._counts)
        unsure, none, failed = (self._counts[kind, ""] for kind in _HEADINGS)
        return (
            f"{self._named:,} with one of {landmarks:,} landmarks, {unsure:,} not sure enough, {none:,} without a "
            f"landmark, {failed:,} failed"
        )

    def _draw(self, folder: Path) -> Iterator[str]:
        """Yield the page's sections in pieces."""
        named = sorted((group for group in self._counts if group[0] == _NAMED), key=lambda group: group[1].casefold())
        for group in [*named, *((kind, "") for kind in _HEADINGS)]:
            if self._counts[group]:
                yield from self._draw_group(group, folder)

    def _draw_group(self, group: _Group, folder: Path) -> Iterator[str]:
        kind, name = group
        heading, filtered = _HEADINGS.get(kind, (name, _NAMED))
        link, escaped = self._links.get(name), html.escape(heading)
        title = f'<a href="{html.escape(link)}" rel="noreferrer">{escaped}</a>' if link else escaped
        photos = sorted(self._groups[group], key=lambda tagged: -_rate(tagged, name))
        yield f'<section data-kind="{filtered}"><h2>{title} <span>{self._counts[group]:,}</span></h2><ul>\n'
        with ThreadPoolExecutor(count_processors(), "thumbnails") as pool:
            waiting = iter(photos)
            while block := [*islice(waiting, _BLOCK)]:
                for tagged, picture in zip(block, pool.map(_make_thumbnail, (one.path for one in block)), strict=True):
                    yield self._draw_photo(tagged, name, picture, folder)
        if (left := self._counts[group] - len(photos)) > 0:
            yield f"<li class=more>and {left:,} more, which --csv and --json list</li>"
        yield "</ul></section>\n"

    def _draw_photo(self, tagged: Tagged, landmark: str, picture: str, folder: Path) -> str:
        name = html.escape(show_path(tagged.path.name))
        note = self._explain(tagged, landmark)
        try:
            target = os.path.relpath(tagged.path, folder)
        except ValueError:  # another drive of Windows
            target = os.fspath(tagged.path)
        href = html.escape(urllib.parse.quote(os.fsencode(target)))
        words = html.escape(show_path(f"{tagged.path} {landmark} {note}"))
        shown = html.escape(note)
        return f'<li data-words="{words}"><a href="{href}">{picture}<b>{name}</b></a><small>{shown}</small></li>\n'

    def _explain(self, tagged: Tagged, landmark: str) -> str:
        answer = tagged.answer
        if tagged.error:
            return tagged.error
        if tagged.landmarks:
            return f"{_rate(tagged, landmark):.0%}"
        if not answer.is_landmark:
            return "landmark score {}, below {}".format(*format_apart(answer.landmark_score, answer.threshold))
        confidence, least = format_apart(answer.confidence, self._min_confidence)
        return f"{self._names.find(answer.landmarks[0][0])}? Confidence {confidence}, below {least}"


def _rate(tagged: Tagged, landmark: str) -> float:
    """Return the confidence that a photo shows a landmark that it is tagged with, or of its first guess."""
    return next((confidence for _, name, confidence in tagged.landmarks if name == landmark), tagged.answer.confidence)


def _make_thumbnail(path: Path) -> str:
    try:
        pixels = decode_image(read_photo(path), _THUMBNAIL)
    except ImageError:
        return '<i aria-hidden="true"></i>'
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=_QUALITY)
    data = base64.b64encode(encoded.getvalue()).decode()
    return f'<img loading="lazy" width="{_SIDE}" height="{_SIDE}" alt="" src="data:image/jpeg;base64,{data}">'
