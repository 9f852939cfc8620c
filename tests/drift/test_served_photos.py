"""Reading request logs: which entries are read, skipped, or refused with their line number."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landmarks.drift.served_photos import LoggedPhotos, read_request_log
from landmarks.errors import DataError


def make_entry(**changes: Any) -> dict[str, Any]:
    entry = {
        "time": "2026-11-24T10:00:00+00:00",
        "model_version": "3",
        "endpoint": "classify",
        "landmark_id": 7,
        "name": "Grüne Brücke",
        "score": 0.75,
        "landmark_score": 0.5,
        "is_landmark": True,
        "embedding": [0.6, 0.8],
    }
    return entry | changes


def write(path: Path, *lines: Any) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def read(path: Path, version: str | None = "3", most: int = 100) -> LoggedPhotos:
    return read_request_log(path, version, most, 0)


def test_entries_of_the_version_are_read(tmp_path: Path) -> None:
    log = write(
        tmp_path / "log.jsonl",
        make_entry(time="2026-11-24T11:00:00+01:00"),
        "",
        make_entry(score=0.25, landmark_score=None, time="2026-11-24T12:00:00Z"),
        make_entry(model_version="2"),
    )
    kept = read(log)
    assert (kept.scores.tolist(), kept.landmark_scores.tolist()) == ([0.75, 0.25], [0.5])
    np.testing.assert_allclose(kept.embeddings, [[0.6, 0.8]] * 2, rtol=1e-6)
    assert [kept.first.isoformat(), kept.last.isoformat()] == ["2026-11-24T11:00:00+01:00", "2026-11-24T12:00:00+00:00"]
    assert kept.other_versions == {"2": 1}
    assert len(read(log, None).scores) == 3


def test_entries_without_embeddings_are_read(tmp_path: Path) -> None:
    entry = make_entry()
    del entry["embedding"], entry["landmark_score"]
    kept = read(write(tmp_path / "log.jsonl", entry))
    assert len(kept.embeddings) == len(kept.landmark_scores) == 0


def test_a_random_sample_of_many_embeddings_is_kept(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", *[make_entry(embedding=[float(number), 0]) for number in range(2000)])
    kept = read(log, most=200).embeddings[:, 0]
    assert len(set(kept.tolist())) == 200
    # The mean of a uniform sample is within four standard errors of the mean of all.
    assert abs(kept.mean() - 999.5) < 4 * 2000 / np.sqrt(12 * 200)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "is empty: no photo was served"),
        (["a photo", make_entry(time="noon")], r"damaged lines only, the first is line 1 \(Invalid JSON"),
        ([make_entry(), make_entry(embedding=[1.0])], "Line 2 of .* has an embedding of 1 numbers.* before it have 2"),
        ([make_entry(model_version="1"), make_entry(model_version="2")], "has no entries of version 3, only of 1, 2"),
    ],
)
def test_logs_that_cannot_be_used_are_refused(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "log.jsonl", *lines))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"time": "2026-11-2', r"line 2 \(Invalid JSON"),
        (json.dumps(make_entry())[:90] + json.dumps(make_entry()), r"line 2 \(Invalid JSON"),
        (make_entry(score="much"), r"line 2 \('score': Input should be a valid number"),
        (make_entry(time="noon"), r"line 2 \('time'"),
        ("[1, 2]", "line 2 "),
        ("\0" * 4096, "line 2 "),
        ('{"time": "2026-11-24T10:00:00Z", "model_version": "3", "score": NaN}', "line 2 "),
        (make_entry(embedding=[1.0, "x"]), r"line 2 \('embedding'"),
    ],
)
def test_damaged_lines_are_skipped_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: Any, problem: str
) -> None:
    kept = read(write(tmp_path / "log.jsonl", make_entry(), line, make_entry(score=0.25), line))
    assert (kept.scores.tolist(), kept.damaged_lines) == ([0.75, 0.25], 2)
    assert re.search(f"2 damaged lines of .* were skipped, the first is {problem}", caplog.messages[0])


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file or directory"):
        read(tmp_path / "log.jsonl")
