"""Admission control: slots, and bytes that the latest upload has to give up."""

import pytest

from landmarks.params import ServiceParams
from landmarks.serving.admission import AdmissionControl
from landmarks.serving.problems import RequestError

LIMITS = ServiceParams(
    max_body_bytes=100,
    max_pixels=1,
    default_k=1,
    max_k=1,
    max_batch_photos=1,
    max_waiting=2,
    max_waiting_bytes=100,
    receive_seconds=1,
    answer_seconds=1,
)


@pytest.fixture
def admission() -> AdmissionControl:
    return AdmissionControl(LIMITS)


def test_slots_are_given_back_even_after_an_error(admission: AdmissionControl) -> None:
    with admission.acquire():
        with pytest.raises(ValueError, match="ours"), admission.acquire():
            raise ValueError("ours")
        with admission.acquire(), pytest.raises(RequestError, match="busy") as refused, admission.acquire():
            pass
    assert refused.value.status == 503
    with admission.acquire(), admission.acquire():
        pass


def test_an_upload_is_kept_whole(admission: AdmissionControl) -> None:
    with admission.open_upload() as upload:
        upload.add(b"a" * 60)
        upload.add(b"b" * 40)
        assert upload.take_body() == b"a" * 60 + b"b" * 40


def test_the_latest_upload_has_to_go(admission: AdmissionControl) -> None:
    with admission.open_upload() as first, admission.open_upload() as second, admission.open_upload() as third:
        for upload in (first, second, third):
            upload.add(bytes(30))
        first.add(bytes(50))  # 20 more than the third gives back
        assert (len(first.body), len(second.body), len(third.body)) == (80, 0, 0)
        second.add(b"more of what is lost")
        for lost in (second, third):
            with pytest.raises(RequestError, match="busy"):
                lost.take_body()
        assert len(first.take_body()) == 80


def test_the_latest_gives_way_to_nobody_older_by_asking(admission: AdmissionControl) -> None:
    with admission.open_upload() as first, admission.open_upload() as second:
        first.add(bytes(90))
        second.add(bytes(20))
        with pytest.raises(RequestError):
            second.take_body()
        assert len(first.take_body()) == 90


def test_what_is_being_answered_keeps_its_bytes(admission: AdmissionControl) -> None:
    with admission.open_upload() as first, admission.open_upload() as second:
        second.add(bytes(90))
        assert len(second.take_body()) == 90
        first.add(bytes(20))
        with pytest.raises(RequestError):
            first.take_body()
    with admission.open_upload() as later:
        later.add(bytes(100))
        assert len(later.take_body()) == 100


def test_a_dropped_upload_gives_its_bytes_back_once(admission: AdmissionControl) -> None:
    with admission.open_upload() as first:
        with admission.open_upload() as second:
            second.add(bytes(60))
            first.add(bytes(50))  # drops the second, which is released again when its block ends
            assert (second.body, second.counted, first.counted) == (bytearray(), 0, 50)
        first.add(bytes(50))
        assert first.counted == 100
        first.add(b"1")
        with pytest.raises(RequestError):
            first.take_body()
    with admission.open_upload() as later:
        later.add(bytes(100))
        later.add(b"1")
        with pytest.raises(RequestError):
            later.take_body()
