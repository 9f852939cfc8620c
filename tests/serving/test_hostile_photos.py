"""Photos that are broken, unusual or meant to do harm, against the application and the served process."""

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from colours import Client, find_worker, make_photo, pack, serve, write_workspace
from hostile_photos import LARGE, MAKERS, NAMED

from landmarks.params import ServiceParams

pytestmark = pytest.mark.slow

MOST_BYTES = 400_000_000  # above what the worker has at start; a recognizer of 44 landmarks takes under 300 MB
RED = make_photo((255, 0, 0))


@pytest.mark.parametrize("name", MAKERS)
def test_a_hostile_photo_is_answered_or_refused(client: Client, name: str) -> None:
    photo = MAKERS[name]()
    ways = [
        client.post("/classify", files={"image": ("photo.jpg", photo, "image/jpeg")}),
        client.post("/classify", content=photo, headers={"content-type": "image/png"}),
        client.post("/classify", json={"image": base64.b64encode(photo).decode()}),
        client.post("/search", files={"image": photo}),
        client.post("/embed", files={"image": photo}),
    ]
    assert {answer.status_code for answer in ways} == {200 if name in NAMED else 400}
    if name in NAMED:
        assert {answer.json()["predictions"][0]["name"] for answer in ways[:3]} == {"Red Tower"}
        return
    (error,) = {answer.json()["error"] for answer in ways}
    assert len(error) < 200
    for leak in ("Traceback", "File ", ".py", "/tmp", "site-packages", "PIL", "Error", "object at 0x"):
        assert leak not in error


def test_a_batch_of_all_of_them(client: Client, limits: ServiceParams) -> None:
    names = [name for name in MAKERS if name not in ("huge-icc", "png-huge-text")]  # too large together
    for start in range(0, len(names), limits.max_batch_photos):
        part = names[start : start + limits.max_batch_photos]
        files = [("images", (name, MAKERS[name]())) for name in part]
        results = client.post("/classify_batch", files=files, data={"k": "1"}).json()["results"]
        assert [("error" in result) for result in results] == [name not in NAMED for name in part]


@pytest.fixture(scope="module")
def generous(model_tag: str, limits: ServiceParams, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the shipped limit of pixels."""
    changes = {"max_pixels": 50_000_000, "max_body_bytes": 20_000_000, "max_batch_photos": len(LARGE)}
    receipt = pack(model_tag, limits.model_copy(update=changes))
    with serve([], write_workspace(tmp_path_factory.mktemp("generous"), receipt)) as address:
        yield address


def test_large_photos_at_once_stay_within_memory(generous: str) -> None:
    worker = find_worker(generous)
    for _ in range(5):
        httpx.post(f"{generous}/classify", files={"image": RED})
    before = worker.memory_info().rss
    files = [("images", (name, make())) for name, make in LARGE.items()]
    results = httpx.post(f"{generous}/classify_batch", files=files, data={"k": "1"}, timeout=60).json()["results"]
    assert {name for name, result in zip(LARGE, results, strict=True) if "error" in result} == {"jpeg-cmyk", "webp"}
    assert read_peak(worker) - before < MOST_BYTES
    assert worker.memory_info().rss - before < 50_000_000


def read_peak(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        pytest.skip("the system does not tell the peak of a process's memory")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
