"""The evaluate stage on tiny shards with a real tracking store: every file it writes, and what it refuses."""

import csv
import shutil
import statistics
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from landmarks.errors import ArtifactError, DataError
from landmarks.evaluation.baseline import describe_photos, measure_baseline_auroc
from landmarks.evaluation.measurement import EmbeddingSample, measure_recognizer
from landmarks.evaluation.report import EMBEDDINGS_FILE
from landmarks.export.indexing import build_index
from landmarks.export.predict import predict_split
from landmarks.files.digests import compute_tree_sha256
from landmarks.files.parsing import read_json
from landmarks.params import EvaluateParams, IndexParams, read_params
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.vocabulary import Landmark
from landmarks.stages.evaluate import evaluate
from landmarks.tracking.store import DatasetInfo, start_run, write_receipt
from tiny_recognizers import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    LANDMARKS,
    RED,
    Photo,
    embed,
    make_photos,
    write_tiny_bundle,
    write_tiny_shards,
)

# MLflow's own tables under SQLAlchemy 2.1
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")]

AUGMENTATION = read_params(Path(__file__).parents[2] / "experiments/default.yaml").augmentation
PARAMS = EvaluateParams(bootstrap_samples=100, calibration_bins=10, gallery_photos=4, confusions=5, queries=3, seed=0)
TRAIN = [
    photo for label, colour in enumerate(COLOURS) for photo in make_photos(0x100 * (label + 1), label, [colour] * 5)
]
VAL = [
    photo for label, colour in enumerate(COLOURS) for photo in make_photos(0x1000 * (label + 1), label, [colour] * 3)
]
# two of the red ones are blue, so they are named wrongly
TEST = [
    *make_photos(0x5000, 0, [RED, RED, BLUE, BLUE]),
    *make_photos(0x5100, 1, [GREEN, GREEN]),
    *make_photos(0x5200, 2, [BLUE]),
    Photo("00000000000053ff", 2, BLUE, near_duplicate=True),
]
PHOTOS = {
    Split.TRAIN: TRAIN,
    Split.VAL: VAL,
    Split.TEST: TEST,
    Split.DISTRACTORS_VAL: make_photos(0x6000, -1, [GREY] * 3),
    Split.DISTRACTORS_TEST: make_photos(0x7000, -1, [GREY, GREY, RED]),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards and a recognizer trained on them; `reports` lacks the run."""
    folder = tmp_path_factory.mktemp("evaluate")
    manifest = write_tiny_shards(folder / "shards", PHOTOS)
    write_tiny_bundle(folder / "model/bundle", shards_fingerprint=manifest.fingerprint)
    build_index(
        folder / "shards",
        folder / "model",
        IndexParams(precision_target=0.95, distractor_penalty=True, pca_dimensions=None, thumbnails=True),
    )
    return folder


@pytest.fixture(scope="module")
def evaluated(project: Path) -> Path:
    """The project after its evaluation, logged to a store of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
        reports = project / "reports/train"
        reports.mkdir(parents=True)
        run = start_run("tests", "augmented", {"train.epochs": 1}, {}, DatasetInfo("tiny", "f", len(TRAIN), 3))
        write_history(reports / "history.csv")
        write_receipt(reports / "run.json", run.finish({"best_epoch": 1.0}, reports))
        out = project / "reports/evaluate"
        assert evaluate(project / "shards", project / "model", reports, out, PARAMS, AUGMENTATION) == out
    return project


def write_history(path: Path) -> None:
    path.write_text(
        "epoch,train_loss,val_loss,train_accuracy,train_inference_accuracy,val_accuracy\n1,1.0,1.1,0.5,0.6,0.4\n"
    )


def is_answered(folder: Path, photo: Photo) -> bool:
    return Recognizer.load(folder / "model").classify_pixels(np.stack([photo.pixels]))[0].is_landmark


def test_metrics(evaluated: Path) -> None:
    metrics = read_json(evaluated / "reports/evaluate/metrics.json")
    assert metrics["top1"] == 6 / 8
    assert metrics["top5"] == 1
    assert metrics["macro_recall"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert metrics["top1_without_near_duplicates"] == pytest.approx(5 / 7)
    assert (metrics["near_duplicates"], metrics["test_photos"], metrics["test_distractors"]) == (1, 8, 3)
    assert metrics["threshold"] == read_json(evaluated / "model/index/index.json")["threshold"]
    answers = {photo: is_answered(evaluated, photo) for photo in [*TEST, *PHOTOS[Split.DISTRACTORS_TEST]]}
    assert metrics["answered_distractors_fraction"] == pytest.approx(1 / 3)
    right = sum(answers[photo] and is_right(photo) for photo in TEST)
    # three distractors stand for eight
    answered = sum(answer * (8 / 3 if photo.label < 0 else 1) for photo, answer in answers.items())
    assert metrics["answer_precision"] == pytest.approx(right / answered)
    assert metrics["landmark_precision"] == pytest.approx(sum(answers[photo] for photo in TEST) / answered)
    assert metrics["model_bytes"] == (evaluated / "model/bundle/serving.tflite").stat().st_size
    assert metrics["images_per_second"] > 0
    assert (metrics["parity_photos"], metrics["parity_differing"]) == (len(TEST), 0)
    assert metrics["parity_min_cosine"] == pytest.approx(1, abs=1e-5)


def test_the_search_is_measured_by_its_definition(evaluated: Path) -> None:
    metrics = read_json(evaluated / "reports/evaluate/metrics.json")
    recognizer = Recognizer.load(evaluated / "model")
    averages, firsts = [], []
    for photo in TEST:
        wanted = LANDMARKS[photo.label].landmark_id
        hits = [item.landmark_id == wanted for item in recognizer.search_pixels(np.stack([photo.pixels]), k=100)[0]]
        relevant = sum(other.label == photo.label for other in TRAIN)
        precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
        averages.append(sum(precisions) / min(relevant, 100))
        firsts.append(hits.index(True) + 1 if any(hits) else 101)
    assert metrics["map_at_100"] == pytest.approx(sum(averages) / len(TEST))
    assert metrics["mean_first_hit"] == pytest.approx(sum(firsts) / len(TEST))
    for k in (1, 5, 10):
        assert metrics[f"recall_at_{k}"] == pytest.approx(sum(first <= k for first in firsts) / len(TEST))


def is_right(photo: Photo) -> bool:
    return photo.label >= 0 and COLOURS[photo.label] == photo.colour


def measure_gap_slowly(photos: Sequence[Photo], scores: Mapping[str, float], count: float) -> float:
    """Each right answer adds the part of right ones among those down to it; a distractor counts `count`."""
    total = right = answers = 0.0
    for photo in sorted(photos, key=lambda photo: (-scores[photo.image_id], photo.image_id)):
        answers += 1 if photo.label >= 0 else count
        if is_right(photo):
            right += 1
            total += right / answers
    return total / sum(photo.label >= 0 for photo in photos)


def test_gap_against_a_slow_count(evaluated: Path) -> None:
    metrics = read_json(evaluated / "reports/evaluate/metrics.json")
    recognizer = Recognizer.load(evaluated / "model")
    photos = [*TEST, *PHOTOS[Split.DISTRACTORS_TEST]]
    answers = recognizer.classify_pixels(np.stack([photo.pixels for photo in photos]))
    scores = {photo.image_id: answer.confidence for photo, answer in zip(photos, answers, strict=True)}
    assert metrics["gap_without_distractors"] == pytest.approx(measure_gap_slowly(TEST, scores, 0))
    assert metrics["gap"] == pytest.approx(measure_gap_slowly(photos, scores, 8 / 3))
    assert metrics["gap"] < metrics["gap_without_distractors"]


def test_search_against_a_slow_count(evaluated: Path) -> None:
    metrics = read_json(evaluated / "reports/evaluate/metrics.json")
    gallery, queries = embed(TRAIN), embed(TEST)
    precisions, places = [], []
    for query, photo in zip(queries, TEST, strict=True):
        ranking = sorted(range(len(TRAIN)), key=lambda row: -float(gallery[row] @ query))
        hits = [place for place, row in enumerate(ranking, 1) if TRAIN[row].label == photo.label]
        precisions.append(sum(number / place for number, place in enumerate(hits, 1)) / len(hits))
        places.append(hits[0])
    assert metrics["map_at_100"] == pytest.approx(statistics.mean(precisions))
    assert metrics["mean_first_hit"] == pytest.approx(statistics.mean(places))
    assert metrics["median_first_hit"] == statistics.median(places)
    for k in (1, 5, 10):
        assert metrics[f"recall_at_{k}"] == sum(place <= k for place in places) / len(places)
    assert metrics["recall_at_1"] < metrics["recall_at_10"]  # the blue ones that are called red


def test_the_shortcut_baseline_is_fitted_on_val_and_measured_on_test(evaluated: Path) -> None:
    metrics = read_json(evaluated / "reports/evaluate/metrics.json")
    val, distractors, test, others = (
        describe_photos(photo.pixels for photo in PHOTOS[split])
        for split in (Split.VAL, Split.DISTRACTORS_VAL, Split.TEST, Split.DISTRACTORS_TEST)
    )
    assert metrics["shortcut_baseline_auroc"] == measure_baseline_auroc(val, distractors, test, others)
    assert metrics["shortcut_baseline_auroc"] != measure_baseline_auroc(test, others, val, distractors)


def test_precision_over_coverage_is_written(evaluated: Path) -> None:
    recognizer = Recognizer.load(evaluated / "model")
    curve = pd.read_csv(evaluated / "reports/evaluate/precision_coverage.csv")
    assert curve.columns.tolist() == ["confidence", "coverage", "precision"]
    assert curve["coverage"].iloc[-1] == 1
    middle = curve.iloc[len(curve) // 2]
    photos = [*TEST, *PHOTOS[Split.DISTRACTORS_TEST]]
    answers = recognizer.classify_pixels(np.stack([photo.pixels for photo in photos]))
    answered = [
        photo for photo, answer in zip(photos, answers, strict=True) if answer.confidence >= middle.confidence - 1e-6
    ]
    counts = [8 / 3 if photo.label < 0 else 1 for photo in answered]
    right = sum(is_right(photo) for photo in answered if photo.label >= 0)
    assert middle.coverage == pytest.approx(sum(photo.label >= 0 for photo in answered) / len(TEST), abs=1e-5)
    assert middle.precision == pytest.approx(right / sum(counts), abs=1e-5)


def test_predictions_are_what_the_recognizer_answers(evaluated: Path) -> None:
    recognizer = Recognizer.load(evaluated / "model")
    table = pd.read_csv(evaluated / "reports/evaluate/predictions.csv", dtype={"image_id": str})
    assert table["image_id"].tolist() == [photo.image_id for photo in TEST]
    for row, photo in zip(table.itertuples(), TEST, strict=True):
        answer = recognizer.classify_pixels(np.stack([photo.pixels]))[0]
        best = answer.predictions[0]
        assert row.predicted == best.name
        assert row.actual == LANDMARKS[photo.label].name
        assert row.score == pytest.approx(best.score, rel=1e-5)
        assert row.landmark_score == pytest.approx(answer.landmark_score, rel=1e-5)
        assert row.confidence == pytest.approx(answer.confidence, rel=1e-5)
    assert table["near_duplicate"].tolist() == [photo.near_duplicate for photo in TEST]


def test_embeddings_of_some_test_photos_are_kept_for_drift(evaluated: Path) -> None:
    recognizer = Recognizer.load(evaluated / "model")
    photos = sorted(TEST, key=lambda photo: sha256(photo.image_id.encode()).hexdigest())
    _, expected = recognizer.network.run(np.stack([photo.pixels for photo in photos]))
    kept = np.load(evaluated / "reports/evaluate" / EMBEDDINGS_FILE)
    assert kept.dtype == np.float16
    np.testing.assert_allclose(kept, expected, atol=1e-3)
    few = EmbeddingSample(3)
    for outputs, pixels in predict_split(recognizer.network, evaluated / "shards", Split.TEST):
        few.observe(outputs, pixels)
    np.testing.assert_array_equal(few.collect(), kept[:3])


def test_tables(evaluated: Path) -> None:
    folder = evaluated / "reports/evaluate"
    with (folder / "confusions.csv").open(newline="") as stream:
        rows = [(row["actual"], row["predicted"], row["photos"]) for row in csv.DictReader(stream)]
    assert rows == [("Red Tower", "Blue Dome", "2")]
    per_landmark = pd.read_csv(folder / "per_landmark.csv").set_index("name")
    assert per_landmark["recall"].to_dict() == {"Red Tower": 0.5, "Grüne Brücke": 1, "Blue Dome": 1}
    assert per_landmark["precision"].to_dict() == {"Red Tower": 1, "Grüne Brücke": 1, "Blue Dome": 0.5}
    # distractors weigh as much
    assert pd.read_csv(folder / "reliability.csv")["photos"].sum() == pytest.approx(2 * len(TEST), abs=1e-3)


def test_pictures_are_drawn(evaluated: Path) -> None:
    for name in (
        "confusion_matrix",
        "reliability",
        "gallery_right",
        "gallery_worst",
        "precision_coverage",
        "landmark_scores",
        "neighbours",
        "learning_curves",
        "augmented",
    ):
        with Image.open(evaluated / f"reports/evaluate/{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert min(pixels.shape[:2]) >= 200
        assert (pixels != 255).mean() > 0.02


def test_the_page_of_neighbours_has_a_row_for_each_query(evaluated: Path) -> None:
    with Image.open(evaluated / "reports/evaluate/neighbours.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    # photos are noise of at most 30 around a colour; the lines between them are not
    is_photo = np.any([np.abs(pixels - colour).max(axis=2) <= 31 for colour in (*COLOURS, GREY)], axis=0)
    rows, columns = (np.diff(np.append(0, is_photo.mean(axis=axis) > 0.2)) == 1 for axis in (1, 0))
    assert (rows.sum(), columns.sum()) == (PARAMS.queries, 6)


def test_the_run_that_trained_the_model_gets_the_metrics_and_files(evaluated: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{evaluated}/mlflow.db")
    run = client.get_run(read_json(evaluated / "reports/train/run.json")["run_id"])
    metrics = read_json(evaluated / "reports/evaluate/metrics.json")
    section = {name: "test_intervals" if name.endswith(("_low", "_high")) else "test" for name in metrics}
    assert {name: run.data.metrics[f"{section[name]}/{name}"] for name in metrics} == metrics
    assert {file.path for file in client.list_artifacts(run.info.run_id, "evaluate")} >= {
        f"evaluate/{path.name}" for path in (evaluated / "reports/evaluate").iterdir()
    }


def test_measures_the_same_whatever_other_splits_hold(project: Path, tmp_path: Path) -> None:
    recognizer = Recognizer.load(project / "model")
    expected = measure_recognizer(recognizer, project / "shards", PARAMS)
    others = PHOTOS | {Split.VAL: make_photos(0x9000, 1, [RED] * 9), Split.DISTRACTORS_VAL: []}
    write_tiny_shards(tmp_path / "shards", others)
    found = measure_recognizer(recognizer, tmp_path / "shards", PARAMS)
    # the shortcut baseline alone is fitted on val
    assert found.metrics == {name: expected.metrics[name] for name in expected.metrics if "baseline" not in name}
    assert "shortcut_baseline_auroc" in expected.metrics
    pd.testing.assert_frame_equal(found.tables.predictions, expected.tables.predictions)


def test_all_right_and_no_distractors_still_make_every_file(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        manifest = write_tiny_shards(tmp_path / "shards", {Split.TRAIN: TRAIN, Split.VAL: VAL, Split.TEST: TEST[:2]})
        write_tiny_bundle(tmp_path / "model/bundle", shards_fingerprint=manifest.fingerprint)
        build_index(
            tmp_path / "shards",
            tmp_path / "model",
            IndexParams(precision_target=0.9, distractor_penalty=True, pca_dimensions=None, thumbnails=True),
        )
        run = start_run("tests", "plain", {}, {}, DatasetInfo("tiny", "f", len(TRAIN), 3))
        (tmp_path / "train").mkdir()
        write_history(tmp_path / "train/history.csv")
        write_receipt(tmp_path / "train/run.json", run.finish({}, tmp_path / "train"))
        out = evaluate(
            tmp_path / "shards", tmp_path / "model", tmp_path / "train", tmp_path / "out", PARAMS, AUGMENTATION
        )
    metrics = read_json(out / "metrics.json")
    assert metrics["top1"] == 1
    assert not {"auroc", "gap", "shortcut_baseline_auroc", "answered_distractors_fraction"} & metrics.keys()
    assert metrics["gap_without_distractors"] == metrics["map_at_100"] == 1
    assert pd.read_csv(out / "confusions.csv").empty
    assert {path.suffix for path in out.iterdir()} == {".json", ".csv", ".npy", ".png"}
    assert (out / "gallery_worst.png").is_file()


def test_refuses_shards_it_was_not_trained_on_and_keeps_the_old_report(evaluated: Path, tmp_path: Path) -> None:
    before = compute_tree_sha256(evaluated / "reports/evaluate")
    write_tiny_shards(tmp_path / "shards", PHOTOS | {Split.TEST: TEST[:3]})
    with pytest.raises(ArtifactError, match="shards_fingerprint"):
        evaluate(
            tmp_path / "shards",
            evaluated / "model",
            evaluated / "reports/train",
            evaluated / "reports/evaluate",
            PARAMS,
            AUGMENTATION,
        )
    assert compute_tree_sha256(evaluated / "reports/evaluate") == before


def test_refuses_a_missing_receipt_before_it_works(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"run\.json is missing"):
        evaluate(project / "shards", project / "model", tmp_path, tmp_path / "out", PARAMS, AUGMENTATION)
    assert list(tmp_path.iterdir()) == []


def test_refuses_shards_with_other_landmarks(project: Path, tmp_path: Path) -> None:
    other = (*LANDMARKS[:2], Landmark(2, 41, "Other Dome", 2, 1, 1))
    write_tiny_shards(tmp_path / "shards", PHOTOS, other)
    with pytest.raises(ArtifactError, match="other landmarks than the recognizer"):
        measure_recognizer(Recognizer.load(project / "model"), tmp_path / "shards", PARAMS)


def test_refuses_shards_without_test_photos(project: Path, tmp_path: Path) -> None:
    write_tiny_shards(tmp_path / "shards", PHOTOS | {Split.TEST: []})
    with pytest.raises(DataError, match="no test photos"):
        measure_recognizer(Recognizer.load(project / "model"), tmp_path / "shards", PARAMS)


def test_refuses_a_table_of_photos_that_lacks_some(project: Path, tmp_path: Path) -> None:
    shards = Path(shutil.copytree(project / "shards", tmp_path / "shards"))
    table = pd.read_parquet(shards / "photos.parquet")
    table[table["split"] != "test"].to_parquet(shards / "photos.parquet")
    with pytest.raises(ArtifactError, match="lacks 8 photos of the shards"):
        measure_recognizer(Recognizer.load(project / "model"), shards, PARAMS)
