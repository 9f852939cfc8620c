"""Charts of training, evaluation and drift: what they show, with names and values that are hard to draw."""

import ast
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from landmarks import plotting
from landmarks.drift.two_sample import Comparison
from landmarks.plotting.canvas import make_drawable, wrap_text
from landmarks.plotting.drift import draw_drift
from landmarks.plotting.evaluation import MAX_LANDMARKS, draw_confusion_matrix, draw_gallery, draw_reliability
from landmarks.plotting.ood import ShownPhoto, draw_neighbours
from landmarks.plotting.training import draw_augmented, draw_learning_curves

HARD_NAMES = [
    "",
    "50 % of $x^2$ \\frac{",
    "天安門 Gate",
    "Ἀκρόπολις",
    "a" * 300,
    "line\nbreak",
    "_under_{score}",
    "مسجد",
]


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def count_dark_blue(path: Path) -> int:
    """Count the pixels in the colour of cells near 1; the colour bar adds the same few to every picture."""
    red, green, blue = read_picture(path).astype(int).transpose(2, 0, 1)
    return int(((red < 30) & (green < 70) & (blue > 80)).sum())


def make_history(epochs: int) -> pd.DataFrame:
    numbers = np.arange(1, epochs + 1)
    columns = ("train_loss", "val_loss", "train_accuracy", "train_inference_accuracy", "val_accuracy")
    return pd.DataFrame({"epoch": numbers, **dict.fromkeys(columns, 1 / numbers)})


def test_the_confusion_matrix_of_right_predictions_is_darker_than_of_scattered_ones(tmp_path: Path) -> None:
    actual = np.repeat(np.arange(8), 8)
    scattered = np.tile(np.arange(8), 8)
    draw_confusion_matrix(tmp_path / "right.png", actual, actual, HARD_NAMES)
    draw_confusion_matrix(tmp_path / "scattered.png", actual, scattered, HARD_NAMES)
    assert count_dark_blue(tmp_path / "right.png") > 3 * count_dark_blue(tmp_path / "scattered.png") + 1000


def test_a_landmark_without_test_photos_is_grey_not_blue(tmp_path: Path) -> None:
    draw_confusion_matrix(tmp_path / "matrix.png", np.array([0, 0]), np.array([0, 0]), ["asked", "not asked"])
    assert (read_picture(tmp_path / "matrix.png") == 237).all(axis=2).mean() > 0.05


@pytest.mark.slow
def test_of_very_many_landmarks_those_with_most_wrong_predictions_are_drawn(tmp_path: Path) -> None:
    labels = 20_000
    actual = np.repeat(np.arange(labels), 2)
    wrong = np.where(actual < MAX_LANDMARKS, (actual + 1) % MAX_LANDMARKS, actual)
    names = [f"name {label}" for label in range(labels)]
    draw_confusion_matrix(tmp_path / "many.png", actual, wrong, names)
    draw_confusion_matrix(tmp_path / "few.png", actual[: 2 * MAX_LANDMARKS], wrong[: 2 * MAX_LANDMARKS], names[:100])
    many, few = (read_picture(tmp_path / f"{name}.png") for name in ("many", "few"))
    assert many.shape == few.shape
    title_rows = 60
    assert np.array_equal(many[title_rows:], few[title_rows:])


def test_reliability_with_one_filled_bin(tmp_path: Path) -> None:
    edges = np.arange(6) / 5
    bins = pd.DataFrame(
        {
            "confidence_above": edges[:-1],
            "confidence_to": edges[1:],
            "photos": [0, 0, 7, 0, 0],
            "confidence": [np.nan, np.nan, 0.5, np.nan, np.nan],
            "accuracy": [np.nan, np.nan, 1.0, np.nan, np.nan],
        }
    )
    metrics = {"ece": 0.5, "ece_if_calibrated_low": 0.01, "ece_if_calibrated_high": 0.3, "softmax_ece": 0.6}
    picture = read_picture(draw_reliability(tmp_path / "reliability.png", bins, metrics))
    bar = (picture == (0x44, 0x77, 0xAA)).all(axis=2)
    columns = np.flatnonzero(bar.sum(axis=0) > picture.shape[0] * 0.3)
    assert 0.10 < len(columns) / picture.shape[1] < 0.20


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_a_gallery_frames_each_photo_by_correctness(tmp_path: Path, count: int) -> None:
    photos = [np.full((16, 16, 3), (0, 200, 0), np.uint8)] * count
    answers = pd.DataFrame(
        {
            "predicted": [HARD_NAMES[number % 8] for number in range(count)],
            "actual": [HARD_NAMES[number % 8 if number % 2 else 7] for number in range(count)],
            "confidence": np.linspace(0, 1, count),
        }
    )
    picture = read_picture(draw_gallery(tmp_path / "gallery.png", "Title with $", photos, answers))
    green = (picture == (0, 200, 0)).all(axis=2).sum()
    assert count * 150**2 < green < count * 250**2 or green == count == 0
    red, blue = ((picture == color).all(axis=2).any() for color in ((0xEE, 0x66, 0x77), (0x44, 0x77, 0xAA)))
    is_right = (answers["predicted"] == answers["actual"]).to_numpy()
    assert (red, blue) == ((~is_right).any(), is_right.any())


@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_learning_curves_show_training_and_validation(tmp_path: Path, epochs: int) -> None:
    path = draw_learning_curves(tmp_path / "curves.png", make_history(epochs), best_epoch=1, title="plain")
    colors = {tuple(pixel) for pixel in read_picture(path).reshape(-1, 3)}
    assert {(0x44, 0x77, 0xAA), (0xEE, 0x66, 0x77), (0xCC, 0xBB, 0x44)} <= colors


def test_augmented_versions_are_drawn_beside_the_photo(tmp_path: Path) -> None:
    original = np.full((16, 16, 3), (0, 200, 0), np.uint8)
    versions = np.full((7, 16, 16, 3), (200, 0, 200), np.uint8)
    picture = read_picture(draw_augmented(tmp_path / "augmented.png", original, versions))
    green, violet = ((picture == color).all(axis=2).sum() for color in ((0, 200, 0), (200, 0, 200)))
    assert violet / green == pytest.approx(7, rel=0.05)


def test_equal_figures_have_identical_bytes(tmp_path: Path) -> None:
    pictures = [draw_learning_curves(tmp_path / f"{n}.png", make_history(5)).read_bytes() for n in range(2)]
    assert pictures[0] == pictures[1]


def test_long_or_undrawable_texts_are_shortened() -> None:
    assert make_drawable("天 Gate") == "□ Gate"
    assert make_drawable("a" * 40, 10) == "a" * 9 + "…"
    assert wrap_text("Predicted " + "a" * 300, 26, 2).count("\n") == 1


def test_the_drift_chart_shows_both_samples_even_if_all_values_are_equal(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((2, 100))
    comparisons = {
        "score": Comparison(0.5, 0.4, 0.6, 0.001, 0.1, True, scores[0], scores[1] / 2),
        "embedding": Comparison(0.0, 0.0, 0.0, 1.0, 0.1, False, np.ones(50), np.ones(60)),
    }
    picture = read_picture(draw_drift(tmp_path / "drift.png", comparisons)).astype(int)
    red, green, blue = picture.transpose(2, 0, 1)
    for half in (np.s_[:, : picture.shape[1] // 2], np.s_[:, picture.shape[1] // 2 :]):
        assert ((red - blue > 60) & (red - green > 60))[half].sum() > 100
    assert ((blue - red > 60) & (blue - green > 30)).sum() > 100


def test_the_page_of_neighbours_has_lines_for_credits(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    heights = []
    for credit in ("", "Ada, CC BY 4.0", "Ada Lovelace of London, CC BY-SA 4.0"):
        row = [ShownPhoto(pixels, "Alba"), ShownPhoto(pixels, "Alba", 0.9, True, credit)]
        with Image.open(draw_neighbours(tmp_path / "neighbours.png", "Neighbours", [row])) as picture:
            heights.append(picture.height)
    none, one_line, two_lines = heights
    assert none < one_line < two_lines


def test_a_chart_does_not_depend_on_the_style_of_the_caller_and_keeps_it(tmp_path: Path) -> None:
    history = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [2, 1], "val_loss": [3, 2], "train_accuracy": [0.1, 0.5]}
        | {"train_inference_accuracy": [0.1, 0.5], "val_accuracy": [0.1, 0.4]}
    )
    odd: Any = {"font.size": 30.0, "axes.facecolor": "black", "savefig.bbox": "tight", "lines.linewidth": 9.0}
    plain = draw_learning_curves(tmp_path / "plain.png", history, 2).read_bytes()
    with mpl.rc_context(odd):
        before = dict(mpl.rcParams)
        assert draw_learning_curves(tmp_path / "odd.png", history, 2).read_bytes() == plain
        assert dict(mpl.rcParams) == before


def test_all_that_draws_a_file_has_the_default_style() -> None:
    for path in Path(plotting.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and "save_figure(" in ast.unparse(node) and node.name != "save_figure":
                assert "default_style()" in map(ast.unparse, node.decorator_list), f"{path.name}: {node.name}"
