"""`landmarks score`: the published conventions end to end, from files to printed metrics."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from landmarks.cli import main
from landmarks.errors import ScoringError
from landmarks.kaggle.score import score_submission

SOLUTION = """id,landmarks,Usage
0123456789abcd01,0 12,Public
0123456789abcd02,100 200 300,Public
0123456789abcd03,1,Private
0123456789abcd04,,Private
0123456789abcd05,,Ignored
"""
SUBMISSION = """id,landmarks
0123456789abcd02,0 0.01
0123456789abcd03,1 10.0
0123456789abcd04,150 15
0123456789abcd05,150 99
"""
RETRIEVAL_SOLUTION = """id,images,Usage
q1,fedcba9876543210 fedcba9876543220,Public
q2,fedcba9876543210,Public
q3,fedcba9876543230 fedcba9876543240 fedcba9876543250,Private
q4,fedcba9876543230,Private
q5,None,Ignored
"""
RETRIEVAL = """id,images
q2,fedcba9876543200 fedcba9876543210
q3,fedcba9876543240
q4,fedcba9876543230 fedcba9876543240
"""


def put(folder: Path, submission: str, solution: str) -> tuple[Path, Path]:
    (folder / "submission.csv").write_text(submission)
    (folder / "solution.csv").write_text(solution)
    return folder / "submission.csv", folder / "solution.csv"


def test_recognition_is_scored_by_usage(tmp_path: Path) -> None:
    scores = score_submission(*put(tmp_path, SUBMISSION, SOLUTION)).as_json()
    assert scores["task"] == "recognition"
    parts = scores["scores"]
    assert list(parts) == ["Public", "Private", "all"]
    assert parts["all"] == {
        "gap": pytest.approx(1 / 6),
        "gap_without_distractors": pytest.approx(1 / 3),
        "top1": pytest.approx(1 / 3),
        "photos": 4,
        "landmark_photos": 3,
        "predictions": 3,
    }
    assert (parts["Public"]["gap"], parts["Public"]["photos"]) == (0.0, 2)
    assert (parts["Private"]["gap"], parts["Private"]["gap_without_distractors"]) == (0.5, 1.0)


def test_retrieval_is_scored_by_usage(tmp_path: Path) -> None:
    scores = score_submission(*put(tmp_path, RETRIEVAL, RETRIEVAL_SOLUTION)).as_json()
    assert scores["task"] == "retrieval"
    everything, public = scores["scores"]["all"], scores["scores"]["Public"]
    assert everything["map_at_100"] == pytest.approx(0.458333, abs=1e-6)
    assert (everything["mean_first_hit"], everything["median_first_hit"]) == (26.25, 1.5)
    assert everything["mean_precisions"][:2] == [0.5, 0.375]
    assert len(everything["mean_precisions"]) == len(everything["recalls"]) == 100
    assert (everything["queries"], everything["answered_queries"]) == (4, 3)
    assert (public["map_at_100"], public["queries"]) == (0.25, 2)


def test_a_part_without_landmark_photos_has_no_gap_and_a_part_without_rows_no_column(tmp_path: Path) -> None:
    scores = score_submission(*put(tmp_path, "id,landmarks\n", "id,landmarks,Usage\na,1,Private\nb,,Public\n"))
    assert scores.parts["Public"] == {"photos": 1, "landmark_photos": 0, "predictions": 0}
    assert scores.parts["all"]["gap"] == 0.0
    lines = scores.describe().splitlines()
    assert lines[0].split() == ["Public", "Private", "all"]
    assert next(line for line in lines if line.startswith("GAP ")).split()[-3:] == ["-", "0.000000", "0.000000"]
    only = score_submission(*put(tmp_path, "id,landmarks\n", "id,landmarks,Usage\na,1,Private\n"))
    assert list(only.parts) == ["Private", "all"]


def test_a_solution_with_nothing_to_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="received 0"):
        score_submission(*put(tmp_path, "id,landmarks\n", "id,landmarks,Usage\na,,Private\n"))
    with pytest.raises(ScoringError, match="no queries"):
        score_submission(*put(tmp_path, "id,images\n", "id,images,Usage\nq,None,Ignored\n"))


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    paths = [str(path) for path in put(tmp_path, SUBMISSION, SOLUTION)]
    printed = CliRunner().invoke(main, ["score", *paths])
    assert printed.exit_code == 0
    assert [line.split()[-3:] for line in printed.output.splitlines()[:3]] == [
        ["Public", "Private", "all"],
        ["0.000000", "0.500000", "0.166667"],
        ["0.000000", "1.000000", "0.333333"],
    ]
    as_json = CliRunner().invoke(main, ["score", "--json", *paths])
    assert json.loads(as_json.output) == score_submission(*map(Path, paths)).as_json()
    retrieval = [str(path) for path in put(tmp_path, RETRIEVAL, RETRIEVAL_SOLUTION)]
    lines = CliRunner().invoke(main, ["score", *retrieval]).output.splitlines()
    assert lines[1].split() == ["mAP@100", "0.250000", "0.666667", "0.458333"]
    assert any(line.split() == ["recall@1", "0.000000", "1.000000", "0.500000"] for line in lines)


def test_the_command_refuses_a_submission_of_the_other_task_in_one_line(tmp_path: Path) -> None:
    paths = [str(path) for path in put(tmp_path, RETRIEVAL, SOLUTION)]
    refused = CliRunner().invoke(main, ["score", *paths])
    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [
        f"Error: {paths[0]}, line 1: expected the header id,landmarks, received 'id,images'."
    ]
