"""The first rung: the class behind the application, called directly."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colours import GALLERY, ORIGIN, SIZE, THRESHOLD, make_photo

from landmarks.errors import ImageError
from landmarks.params import ServiceParams
from landmarks.photos.headers import read_photo_file
from landmarks.recognizer.recognizer import Recognizer
from landmarks.serving.backend import Backend, Query, QueryResult, Question, run_queries
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.schemas import Page

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (120, 120, 120), (250, 200, 10), (10, 90, 80)]


@pytest.fixture(scope="module")
def recognizer(recognizer_folder: Path) -> Recognizer:
    return Recognizer.load(recognizer_folder)


@pytest.fixture
def backend(recognizer: Recognizer, limits: ServiceParams) -> Iterator[Backend]:
    backend = Backend(recognizer, limits)
    yield backend
    backend.close()


def run(make: Callable[[], Awaitable[Any]]) -> Any:
    async def start() -> Any:
        return await make()

    return asyncio.run(start())


def find(backend: Backend, photo: bytes, **wanted: int) -> QueryResult:
    result = run(lambda: backend.answer(lambda: Question(read_photo_file(photo), **wanted), "/test"))
    assert isinstance(result, QueryResult)
    return result


def test_an_answer_is_the_recognizers(backend: Backend, recognizer: Recognizer) -> None:
    photo = make_photo((200, 30, 90), 61, "JPEG")
    result = find(backend, photo, landmarks=3, neighbours=2)
    assert result.recognition == recognizer.classify([photo], 3)[0]
    assert list(result.neighbours) == recognizer.search([photo], 2)[0]


def test_only_what_is_wanted_is_found(backend: Backend) -> None:
    result = find(backend, make_photo((0, 255, 0)))
    assert (result.recognition, result.neighbours) == (None, ())
    np.testing.assert_allclose(result.embedding, [0, 1, 0], atol=1e-6)


def test_grey_is_no_landmark(backend: Backend) -> None:
    recognition = find(backend, make_photo((120, 120, 120)), landmarks=3).recognition
    assert recognition is not None
    assert not recognition.is_landmark
    assert recognition.threshold == THRESHOLD


def test_many_queries_at_once_give_what_each_gives_alone(backend: Backend) -> None:
    photos = [make_photo(colour, 20 + row) for row, colour in enumerate(COLOURS * 8)]
    wanted = [{"landmarks": row % 4, "neighbours": row % 3} for row in range(len(photos))]

    async def ask() -> list[QueryResult]:
        asked = [Question(read_photo_file(photo), **counts) for photo, counts in zip(photos, wanted, strict=True)]
        return list(await asyncio.gather(*(backend.answer(partial(copy, question), "/test") for question in asked)))

    for together, photo, counts in zip(asyncio.run(ask()), photos, wanted, strict=True):
        alone = find(backend, photo, **counts)
        assert (together.recognition, together.neighbours) == (alone.recognition, alone.neighbours)
        assert together.embedding.tobytes() == alone.embedding.tobytes()


def test_a_photo_that_shows_nothing_spoils_only_its_own_search(recognizer: Recognizer) -> None:
    black, red = np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), (255, 0, 0), np.uint8)
    nothing, found, classified = run_queries(recognizer, [Query(black, 0, 2), Query(red, 0, 2), Query(black, 1, 0)])
    assert isinstance(nothing, ImageError)
    assert isinstance(found, QueryResult)
    assert [neighbour.image_id for neighbour in found.neighbours] == ["r0", "r1"]
    assert isinstance(classified, QueryResult)
    assert classified.recognition is not None
    assert not classified.recognition.is_landmark


def test_the_limit_of_pixels_is_the_services(backend: Backend, recognizer: Recognizer) -> None:
    photo = make_photo((255, 0, 0), 2001)
    assert recognizer.classify([photo], 1)
    with pytest.raises(ImageError, match="pixels"):
        find(backend, photo, landmarks=1)


def test_large_photos_are_answered_like_small_ones(recognizer: Recognizer, limits: ServiceParams) -> None:
    backend = Backend(recognizer, limits.model_copy(update={"max_pixels": 10_000_000}))
    photos = [make_photo((255, 0, 0), 2100, "JPEG"), make_photo((0, 0, 255), 2100), make_photo((0, 255, 0))] * 2

    async def ask() -> list[QueryResult]:
        asked = [Question(read_photo_file(photo), landmarks=1) for photo in photos]
        return list(await asyncio.gather(*(backend.answer(partial(copy, question), "/test") for question in asked)))

    named = [result.recognition.predictions[0].name for result in asyncio.run(ask()) if result.recognition]
    backend.close()
    assert named == ["Red Tower", "Blue Dome", "Grüne Brücke"] * 2


def test_nobody_is_answered_who_no_longer_waits(recognizer: Recognizer, limits: ServiceParams) -> None:
    backend, asked = Backend(recognizer, limits), threading.Event()
    read: list[str] = []

    def ask(name: str) -> Question:
        read.append(name)
        asked.wait(20)
        return Question(read_photo_file(make_photo((255, 0, 0))), landmarks=1)

    async def leave() -> None:
        # more than there are threads, so that the last ones wait
        tasks = [asyncio.create_task(backend.answer(partial(ask, str(number)), "/test")) for number in range(40)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(leave())
    asked.set()
    backend.close()
    assert 0 < len(read) < 40


def test_what_reading_raises_is_raised_where_the_answer_is_awaited(backend: Backend) -> None:
    def ask() -> Question:
        raise ImageError("no photo at all")

    with pytest.raises(ImageError, match="no photo at all"):
        run(lambda: backend.answer(ask, "/test"))


def test_the_model_is_described_back_to_its_run(backend: Backend, receipt: PackageReceipt) -> None:
    described = backend.describe_model(receipt).model_dump()
    assert ORIGIN.model_dump(exclude={"fingerprint"}).items() <= described.items()
    assert described["run_id"] == receipt.run_id
    assert described["bento"] == receipt.tag
    assert (described["landmarks"], described["gallery_photos"], described["image_size"]) == (3, len(GALLERY), SIZE)


def test_landmarks_are_listed_with_their_training_photos(backend: Backend) -> None:
    answer = backend.list_landmarks(Page())
    listed = [(item.landmark_id, item.name, item.training_photos) for item in answer.landmarks]
    assert listed == [(7, "Red Tower", 2), (11, "Grüne Brücke", 1), (40, "Blue Dome", 1)]
    assert answer.total == 3
    for page, total, found in (
        (Page(limit=2), 3, [7, 11]),
        (Page(limit=2, offset=2), 3, [40]),
        (Page(offset=99), 3, []),
        (Page("GRÜNE"), 1, [11]),
        (Page("e", limit=1, offset=1), 3, [11]),
        (Page("40"), 1, [40]),
        (Page("4"), 0, []),
    ):
        answer = backend.list_landmarks(page)
        assert (answer.total, [item.landmark_id for item in answer.landmarks]) == (total, found)
