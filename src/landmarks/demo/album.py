"""Render the whole demo data set in several processes: photos, tables, archive and samples."""

import hashlib
import multiprocessing
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from landmarks.demo.distractors import CATEGORIES
from landmarks.demo.photographs import draw_distractor_photo, draw_landmark_photo
from landmarks.demo.structures import Structure, build_structure
from landmarks.demo.wonders import CATALOGUE
from landmarks.errors import DataError
from landmarks.files.writing import replace_file, replace_folder
from landmarks.params import DemoParams
from landmarks.photos.places import build_photo_path
from landmarks.processors import count_processors
from landmarks.terminal import show_progress

ARCHIVE_FILE = "photos.zip"
SAMPLES_FOLDER = "samples"
DISTRACTORS_ROOT = "distractors"
_TIMESTAMP = (2020, 1, 1, 0, 0, 0)
_PHOTOS_PER_WORKER = 60  # with fewer, starting a process takes longer than drawing
_SAMPLE_SCALE = 3
_SAMPLES = 4
_SAMPLE_CATEGORY = "food"
_SAMPLE_NUMBER = 1_000_000_000  # seeds the samples; photos of the data set have smaller numbers


class DemoPhoto(NamedTuple):
    """A row of the table of photos."""

    image_id: str
    landmark_id: int


class DemoName(NamedTuple):
    """A row of the table of names."""

    landmark_id: int
    name: str


class DemoDistractor(NamedTuple):
    """A row of the table of distractors."""

    image_id: str
    category: str


@dataclass(frozen=True)
class DemoTables:
    """The tables of the archive, each sorted by its first column."""

    photos: tuple[DemoPhoto, ...]
    names: tuple[DemoName, ...]
    distractors: tuple[DemoDistractor, ...]


class _Sheet(NamedTuple):
    """One photo to draw; `subject` is the index of a landmark in the catalogue, or a category of distractors."""

    path: str
    subject: int | str
    number: int
    seed: int
    short_side: int
    fair: bool = False


def draw_demo(params: DemoParams, folder: Path, workers: int | None = None) -> DemoTables:
    """Render the demo into `folder`: `photos.zip` in Kaggle's layout and `samples/*.jpg`.

    The same params give identical bytes, whatever the number of workers.

    Args:
        params: the section `acquire.demo`.
        folder: the output folder.
        workers: number of processes; None for one per processor.

    Raises:
        DataError: a worker process was killed.
    """
    photos = [
        (_make_id(params.seed, rank, number), rank, number)
        for rank in range(params.landmarks)
        for number in range(params.photos_per_landmark)
    ]
    distractors = [
        (_make_id(params.seed, CATEGORIES[k % len(CATEGORIES)], k), CATEGORIES[k % len(CATEGORIES)], k)
        for k in range(params.distractor_photos)
    ]
    sheets = [_Sheet(str(build_photo_path(i)), rank, n, params.seed, params.image_size) for i, rank, n in photos]
    sheets += [
        _Sheet(f"{DISTRACTORS_ROOT}/{build_photo_path(i)}", c, n, params.seed, params.image_size)
        for i, c, n in distractors
    ]
    _write_archive(folder / ARCHIVE_FILE, sorted(sheets), workers)
    _write_samples(folder / SAMPLES_FOLDER, params)
    return DemoTables(
        tuple(sorted(DemoPhoto(image_id, CATALOGUE[rank].landmark_id) for image_id, rank, _ in photos)),
        tuple(sorted(DemoName(landmark.landmark_id, landmark.name) for landmark in CATALOGUE[: params.landmarks])),
        tuple(sorted(DemoDistractor(image_id, category) for image_id, category, _ in distractors)),
    )


def _make_id(seed: int, subject: int | str, number: int) -> str:
    return hashlib.sha256(f"{seed}/{subject}/{number}".encode()).hexdigest()[:16]


@cache
def _build(rank: int) -> Structure:
    return build_structure(CATALOGUE[rank].build())


def _draw_sheet(sheet: _Sheet) -> bytes:
    if isinstance(sheet.subject, str):
        rng = np.random.default_rng([sheet.seed, 1, CATEGORIES.index(sheet.subject), sheet.number])
        return draw_distractor_photo(sheet.subject, sheet.short_side, rng, sheet.fair)
    # Seeded per photo, so that the bytes do not depend on the order or the number of workers.
    rng = np.random.default_rng([sheet.seed, 0, sheet.subject, sheet.number])
    turns = CATALOGUE[sheet.subject].turns
    return draw_landmark_photo(_build(sheet.subject), turns, sheet.short_side, rng, sheet.fair)


def _write_archive(path: Path, sheets: list[_Sheet], workers: int | None) -> None:
    with replace_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        drawn = show_progress(_draw_all(sheets, workers), description="drawing the demo", total=len(sheets))
        for sheet, data in zip(sheets, drawn, strict=True):
            entry = zipfile.ZipInfo(sheet.path, _TIMESTAMP)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every operating system
            archive.writestr(entry, data)


def _draw_all(sheets: list[_Sheet], workers: int | None) -> Iterator[bytes]:
    count = workers or min(count_processors(), 1 + len(sheets) // _PHOTOS_PER_WORKER)
    if count == 1:
        yield from map(_draw_sheet, sheets)
        return
    # spawn, because forking a process with threads, such as tqdm's, is unsafe
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(_draw_sheet, sheets, chunksize=16)
        except BrokenProcessPool as error:
            raise DataError(
                "A process that draws demo photos was killed, perhaps for lack of memory. Try again."
            ) from error


def _write_samples(folder: Path, params: DemoParams) -> None:
    with replace_folder(folder) as temporary:
        for name, subject in _list_samples(params):
            sheet = _Sheet(name, subject, _SAMPLE_NUMBER, params.seed, params.image_size * _SAMPLE_SCALE, fair=True)
            (temporary / f"{name}.jpg").write_bytes(_draw_sheet(sheet))


def _list_samples(params: DemoParams) -> Iterable[tuple[str, int | str]]:
    for rank in range(min(_SAMPLES, params.landmarks)):
        yield CATALOGUE[rank].name.lower().replace(" ", "-"), rank
    yield f"no-landmark-{_SAMPLE_CATEGORY}", _SAMPLE_CATEGORY
