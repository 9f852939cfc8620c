"""The first rung: the class that answers, called directly."""

from pathlib import Path

import pytest
from colours import THRESHOLD, make_photo

from landmarks.errors import ImageError
from landmarks.params import ServiceParams
from landmarks.recognition import Recognizer
from landmarks.service import PhotoService
from landmarks.serving.answers import Problem
from landmarks.serving.requests import PhotoRequest


@pytest.fixture(scope="module")
def recognizer(recognizer_folder: Path) -> Recognizer:
    return Recognizer.load(recognizer_folder)


@pytest.fixture(scope="module")
def service(recognizer: Recognizer, limits: ServiceParams) -> PhotoService:
    return PhotoService(recognizer, limits)


def test_classify_is_the_recognizers_answer(service: PhotoService, recognizer: Recognizer) -> None:
    photo = make_photo((200, 30, 90), 61, "JPEG")
    assert service.classify(PhotoRequest((photo,), 3)) == recognizer.classify([photo], 3)[0]


def test_classify_names_the_colour(service: PhotoService) -> None:
    answer = service.classify(PhotoRequest((make_photo((0, 255, 0)),), 1))
    assert [(found.landmark_id, found.name) for found in answer.predictions] == [(11, "Grüne Brücke")]
    assert answer.is_landmark
    assert answer.threshold == THRESHOLD


def test_classify_says_that_grey_is_no_landmark(service: PhotoService) -> None:
    assert not service.classify(PhotoRequest((make_photo((120, 120, 120)),), 3)).is_landmark


def test_batch_answers_the_good_photos_in_their_places(service: PhotoService, recognizer: Recognizer) -> None:
    red, blue = make_photo((255, 0, 0)), make_photo((0, 0, 255))
    results = service.classify_batch(PhotoRequest((b"not a photo", red, b"", blue), 2)).results
    assert [type(result) is Problem for result in results] == [True, False, True, False]
    assert [results[1], results[3]] == recognizer.classify([red, blue], 2)


def test_batch_of_bad_photos_only(service: PhotoService) -> None:
    results = service.classify_batch(PhotoRequest((b"one", b"two"), 2)).results
    assert [isinstance(result, Problem) for result in results] == [True, True]


def test_search_finds_the_closest_first(service: PhotoService, recognizer: Recognizer) -> None:
    photo = make_photo((255, 50, 0))
    neighbours = service.search(PhotoRequest((photo,), 2)).neighbours
    assert [found.image_id for found in neighbours] == ["r1", "r0"]
    assert list(neighbours) == recognizer.search([photo], 2)[0]


def test_the_limit_of_pixels_is_the_services(service: PhotoService, recognizer: Recognizer) -> None:
    photo = make_photo((255, 0, 0), 2001)
    assert recognizer.classify([photo], 1)
    with pytest.raises(ImageError, match="pixels"):
        service.classify(PhotoRequest((photo,), 1))
