"""`landmarks drift` end to end: output, files and exit code."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from landmarks.cli import main
from landmarks.evaluation.receipt import EvaluationReceipt, write_evaluation_receipt
from landmarks.files.parsing import read_json
from landmarks.files.seals import write_sealed

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(2, 4, 16))

Floats = npt.NDArray[np.float64]


def make_photos(photos: int, kind: int = 0) -> tuple[Floats, Floats, Floats]:
    """Draw scores, landmark scores and embeddings; photos of kind 1 show other things."""
    vectors = CENTRES[kind][RNG.integers(4, size=photos)] + 0.3 * RNG.normal(size=(photos, 16))
    scores, landmark_scores = RNG.beta(5 - 3 * kind, 2, photos), RNG.beta(6 - 4 * kind, 3, photos)
    return scores, landmark_scores, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text((ROOT / "experiments" / "default.yaml").read_text())
    evaluation = folder / "reports/evaluate/augmented"
    evaluation.mkdir(parents=True)
    scores, landmark_scores, embeddings = make_photos(300)
    rows = [
        f"x{row},{score:.6g},{other:.6g}"
        for row, (score, other) in enumerate(zip(scores, landmark_scores, strict=True))
    ]
    (evaluation / "predictions.csv").write_text("\n".join(["image_id,score,landmark_score", *rows]) + "\n")
    np.save(evaluation / "test_embeddings.npy", embeddings.astype(np.float16))
    write_evaluation_receipt(evaluation, EvaluationReceipt("recognizer", "shards", {}))
    registration = {"champion": "augmented", "versions": {"augmented": {"version": "3"}}}
    write_sealed(folder / "reports/registration.json", registration)
    return folder


def write_log(path: Path, photos: tuple[Floats, Floats, Floats], **changes: Any) -> Path:
    lines = [
        {
            "time": "2026-11-24T10:00:00.000+00:00",
            "model_version": "3",
            "score": score,
            "landmark_score": landmark_score,
            "embedding": [round(float(value), 4) for value in embedding],
        }
        | changes
        for score, landmark_score, embedding in zip(*photos, strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(project: Path, *arguments: object) -> Result:
    with contextlib.chdir(project):
        return CliRunner().invoke(main, ["drift", *map(str, arguments)])


def test_similar_traffic_is_no_drift(project: Path, tmp_path: Path) -> None:
    done = run(project, write_log(tmp_path / "log", make_photos(200)))
    assert done.stdout.splitlines()[0] == "The traffic looks like the test photos."
    assert (done.exit_code, done.stderr) == (0, "")
    report = read_json(project / "reports/drift/drift.json")
    assert (report["drifted"], report["photos"], report["photos_of_other_versions"]) == (False, 200, {})
    assert [found["drifted"] for found in report["comparisons"].values()] == [False] * 3
    with Image.open(project / "reports/drift/drift.png") as image:
        assert image.width > 1000


def test_a_damaged_line_is_skipped_and_said(project: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", make_photos(200))
    with log.open("a") as stream:
        stream.write('{"time": "2026-')
    done = run(project, log, "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert read_json(tmp_path / "out/drift.json")["damaged_lines"] == 1


def test_drifted_traffic_exits_with_3(project: Path, tmp_path: Path) -> None:
    done = run(project, write_log(tmp_path / "log", make_photos(200, kind=1)), "--out", tmp_path / "out")
    assert done.stdout.splitlines()[0] == (
        "The traffic no longer looks like the test photos: score and landmark_score and embedding changed."
    )
    assert (done.exit_code, done.stderr) == (3, "")
    report = read_json(tmp_path / "out/drift.json")
    assert report["drifted"]
    assert report["comparisons"]["embedding"]["effect_size"] > 0.9


@pytest.mark.parametrize(
    ("photos", "changes", "message"),
    [
        (0, {}, "is empty"),
        (20, {}, "Only 20 served photos have a score, at least 50 are needed"),
        (60, {"embedding": [1.0, 0.0]}, "The embeddings in the log have 2 numbers, those of the evaluation 16"),
        (60, {"model_version": "2"}, "has no entries of version 3, only of 2"),
        (60, {"score": None}, "damaged lines only, the first is line 1"),
    ],
)
def test_logs_that_cannot_be_compared_exit_with_1(
    project: Path, tmp_path: Path, photos: int, changes: dict[str, Any], message: str
) -> None:
    done = run(project, write_log(tmp_path / "log", make_photos(photos), **changes), "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_reference_names_another_evaluation(project: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", make_photos(200), model_version="2")
    assert run(project, log, "--reference", "reports/evaluate/augmented", "--out", tmp_path / "out").exit_code == 0
    done = run(project, log, "--reference", "reports/evaluate/none")
    assert done.exit_code == 1
    assert "reports/evaluate/none/evaluation.json is missing" in done.stderr


def test_the_help_lists_the_exit_codes(project: Path) -> None:
    shown = " ".join(run(project, "--help").stdout.split())
    assert "The exit code is 0 without drift, 3 with drift, and 1 if they cannot be compared." in shown
