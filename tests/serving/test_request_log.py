"""The request log: what stands in a line, and that it neither blocks nor breaks."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from landmarks.errors import ArtifactError
from landmarks.recognizer.recognizer import Prediction, Recognition
from landmarks.serving import request_log
from landmarks.serving.request_log import RequestLog

RECOGNITION = Recognition(
    predictions=(Prediction(11, "Grüne Brücke", 0.75), Prediction(7, "Red Tower", 0.2)),
    is_landmark=True,
    landmark_score=0.625,
    confidence=0.5,
    threshold=0.5,
    nearest=None,
    agreement=0.0,
    distractor_similarity=0.0,
)
EMBEDDING = np.array([0.123456, -0.98767, 1e-9], np.float32)


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_says_what_was_served(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "served.jsonl"
    log = RequestLog(path, "3")
    log.add("/classify", RECOGNITION, EMBEDDING)
    log.close()
    (line,) = read(path)
    time = datetime.fromisoformat(str(line.pop("time")))
    assert timedelta(seconds=-1) < datetime.now(UTC) - time < timedelta(minutes=1)
    assert time.utcoffset() == timedelta()
    assert line == {
        "model_version": "3",
        "endpoint": "/classify",
        "landmark_id": 11,
        "name": "Grüne Brücke",
        "score": 0.75,
        "landmark_score": 0.625,
        "is_landmark": True,
        "embedding": [0.1235, -0.9877, 0.0],
    }


def test_lines_are_added_to_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "served.jsonl"
    for version in ("1", "2"):
        log = RequestLog(path, version)
        for _ in range(50):
            log.add("/search", RECOGNITION, EMBEDDING)
        log.close()
    assert [line["model_version"] for line in read(path)] == ["1"] * 50 + ["2"] * 50


def test_the_file_may_be_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "served.jsonl"
    log = RequestLog(path, "3")
    log.add("/classify", RECOGNITION, EMBEDDING)
    wait_for(path, lines=1)
    path.rename(tmp_path / "served.1.jsonl")
    log.add("/embed", RECOGNITION, EMBEDDING)
    log.close()
    assert [line["endpoint"] for line in read(tmp_path / "served.1.jsonl")] == ["/classify"]
    assert [line["endpoint"] for line in read(path)] == ["/embed"]


def wait_for(path: Path, lines: int) -> None:
    end = datetime.now(UTC) + timedelta(seconds=5)
    while len(read(path)) < lines:
        assert datetime.now(UTC) < end


def test_what_is_too_much_is_lost_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_log, "_MOST_WAITING", 10)
    pipe = tmp_path / "pipe"
    path = tmp_path / "served.jsonl"
    log = RequestLog(path, "3")
    path.unlink()
    os.mkfifo(pipe)
    path.symlink_to(pipe)  # opening it waits for a reader: a disk that does not answer
    for _ in range(100):
        log.add("/classify", RECOGNITION, EMBEDDING)  # and yet none of these waits
    with pipe.open("rb") as stream:
        log.close()
        os.set_blocking(stream.fileno(), False)
        written = (stream.read() or b"").count(b"\n")
    assert 10 <= written < 100
    assert f"{100 - written} photos were dropped" in caplog.text


def test_a_disk_that_fails_does_not_end_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "logs" / "served.jsonl"
    log = RequestLog(path, "3")
    path.unlink()
    path.parent.rmdir()
    log.add("/classify", RECOGNITION, EMBEDDING)
    while "cannot be written" not in caplog.text:
        pass
    path.parent.mkdir()
    log.add("/search", RECOGNITION, EMBEDDING)
    log.close()
    assert [line["endpoint"] for line in read(path)] == ["/search"]


@pytest.fixture(name="small_disk")
def make_small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 kB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_whole_lines_and_the_log_goes_on(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_disk / "served.jsonl"
    log = RequestLog(path, "3")
    for _ in range(100):
        log.add("/classify", RECOGNITION, EMBEDDING)
    while "photos were dropped" not in caplog.text:
        time.sleep(0.01)
    full = len(read(path))
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    log.add("/search", RECOGNITION, EMBEDDING)
    log.close()
    assert "the request log cannot be written: No space left on device" in caplog.text
    assert f"{100 - full} photos were dropped" in caplog.text
    assert [line["endpoint"] for line in read(path)] == ["/classify"] * full + ["/search"]


def test_what_a_kill_left_of_a_line_damages_no_other(tmp_path: Path) -> None:
    path = tmp_path / "served.jsonl"
    path.write_text('{"time": "2026-11-2')
    log = RequestLog(path, "3")
    log.add("/classify", RECOGNITION, EMBEDDING)
    log.close()
    half, whole = path.read_text(encoding="utf-8").splitlines()
    assert half == '{"time": "2026-11-2'
    assert json.loads(whole)["endpoint"] == "/classify"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"LANDMARKS_REQUEST_LOG"):
        RequestLog(tmp_path / "file" / "served.jsonl", "3")
    with pytest.raises(ArtifactError, match=r"cannot be written"):
        RequestLog(tmp_path, "3")
