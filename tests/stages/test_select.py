import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from landmarks.errors import DataError
from landmarks.files.digests import compute_tree_sha256
from landmarks.params import write_experiment
from landmarks.plotting.canvas import make_drawable
from landmarks.plotting.selection import draw_photos_per_landmark, draw_sample_photos
from landmarks.schema.vocabulary import Landmark, read_vocabulary
from landmarks.stages.acquire import acquire
from landmarks.stages.select import select
from landmarks.stages.validate import validate
from landmarks.tables.photo_set import read_photo_set
from photo_sets import make_folder, make_id, make_select_params, make_validate_params, put_photo

pytestmark = pytest.mark.slow

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def prepare(root: Path, counts: dict[int, int], distractors: dict[str, int] | None = None) -> Path:
    raw = acquire(root / "raw", make_folder(root, counts, distractors))
    return validate(raw, root / "validated", root / "reports", make_validate_params(sample_photos=0))


def run(root: Path, name: str = "selected", **changes: Any) -> Path:
    return select(root / "validated", root / name, root / f"reports/{name}", make_select_params(**changes))


def test_a_selection_holds_all_that_prepare_needs(tmp_path: Path) -> None:
    prepare(tmp_path, {9: 12, 7: 10, 2: 3}, {"animal": 2, "food": 2})
    out = run(tmp_path, min_images=10)
    photo_set, validated = read_photo_set(out), read_photo_set(tmp_path / "validated")
    assert set(photo_set.images["image_id"]) == {
        *(make_id(f"9/{number}") for number in range(12)), *(make_id(f"7/{number}") for number in range(10)),
    }  # fmt: skip
    assert photo_set.images["label"].dtype == np.int32
    assert photo_set.images.groupby("landmark_id")["label"].unique().map(list).to_dict() == {7: [0], 9: [1]}
    assert photo_set.sources == validated.sources
    vocabulary = read_vocabulary(out / "vocabulary.csv")
    assert [(one.landmark_id, one.name) for one in vocabulary] == [(7, "Place No. 7"), (9, "Place No. 9")]
    assert [one.train + one.val + one.test for one in vocabulary] == [10, 12]
    kinds = photo_set.distractors.groupby("split")["category"].unique().map(list)
    assert sorted(kinds["distractors_val"] + kinds["distractors_test"]) == ["animal", "food"]
    assert set(photo_set.attributions["image_id"]) == {
        *photo_set.images["image_id"],
        *photo_set.distractors["image_id"],
    }
    assert photo_set.attributions["author"].tolist() == [f"Author of {i}" for i in photo_set.attributions["image_id"]]
    places = ["image_id", "offset", "compressed_bytes", "method", "stamp"]
    merged = photo_set.images[places].merge(validated.images[places], on=places)
    assert len(merged) == 22


def test_the_report_counts_and_lists_loans(tmp_path: Path) -> None:
    prepare(tmp_path, dict.fromkeys(range(12), 1), {"animal": 1})
    images = read_photo_set(run(tmp_path, val_fraction=0.3, test_fraction=0.3)).images
    report = json.loads((tmp_path / "reports/selected/selection.json").read_text())
    assert images["split"].tolist() == ["train"] * 12
    assert report["splits"] == {"train": 12, "distractors_test": 1}
    assert report["borrowed"] == len(report["borrowed_photos"]) > 0
    for loan in report["borrowed_photos"]:
        assert loan["image_id"] == make_id(f"{loan['landmark_id']}/0")
        assert loan["split"] in ("val", "test")
    assert report["rules"] == [{"rule": "all", "landmarks": 12, "photos": 12}]


def test_equal_input_gives_equal_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    prepare(tmp_path, {9: 12, 7: 10}, {"animal": 2})
    first, second, other = run(tmp_path, "a"), run(tmp_path, "b"), run(tmp_path, "c", seed=1)
    assert compute_tree_sha256(first) == compute_tree_sha256(second) != compute_tree_sha256(other)
    assert compute_tree_sha256(tmp_path / "reports/a") == compute_tree_sha256(tmp_path / "reports/b")


def test_too_small_a_selection_writes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, {9: 3, 7: 3})
    before = {path.name for path in tmp_path.rglob("*")}
    with pytest.raises(DataError, match="The rule min_images=4 removed the rest"):
        run(tmp_path, min_images=4)
    assert {path.name for path in tmp_path.rglob("*")} == before


def test_the_grid_leaves_out_photos_that_cannot_be_read(tmp_path: Path) -> None:
    prepare(tmp_path, {9: 6, 7: 6})
    run(tmp_path, "whole")
    for number in range(6):
        put_photo(tmp_path / "photos", make_id(f"7/{number}"), b"no photo")
    run(tmp_path, "damaged")
    whole, damaged = (read_pixels(tmp_path / f"reports/{name}/sample_photos.png") for name in ("whole", "damaged"))
    assert count_coloured(damaged) < 0.7 * count_coloured(whole)


def make_landmarks(count: int) -> list[Landmark]:
    names = [
        "Price $5 & $6",
        "東京タワー",
        "A name much longer than there is room for in a chart of bars",
        "Petra",
    ]
    return [Landmark(n, n, f"{names[n % 4]} {n}", 1 + 6000 // (n + 1), n % 3, n % 5) for n in range(count)]


def read_pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(path).convert("RGB"))


def count_coloured(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    return int((np.ptp(pixels.astype(int), axis=2) > 40).sum())


@pytest.mark.parametrize("count", [2, 24, 81, 121, 81_313])
def test_the_chart_keeps_a_size_one_can_read(tmp_path: Path, count: int) -> None:
    pixels = read_pixels(draw_photos_per_landmark(tmp_path / "chart.png", make_landmarks(count)))
    height, width = pixels.shape[:2]
    assert 800 < width < 1200
    assert height < 3000
    assert height > 15 * count or count > 120  # a line of text for every name that is shown
    assert count_coloured(pixels) > 1000


def test_longer_bars_belong_to_more_photos(tmp_path: Path) -> None:
    landmarks = [
        Landmark(0, 1, "small", 10, 0, 0),
        Landmark(1, 2, "large", 80, 0, 0),
        Landmark(2, 3, "middle", 40, 0, 0),
    ]
    pixels = read_pixels(draw_photos_per_landmark(tmp_path / "chart.png", landmarks)).astype(int)
    blue = (pixels == (0x44, 0x77, 0xAA)).all(axis=2).sum(axis=1)
    rows = np.flatnonzero(blue > 50)  # more than the legend's
    bars = [int(np.median(blue[rows])) for rows in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)]
    assert bars[0] / bars[2] == pytest.approx(8, rel=0.05)
    assert bars[1] / bars[2] == pytest.approx(4, rel=0.05)


def test_a_grid_of_uneven_rows_is_drawn_whole(tmp_path: Path) -> None:
    red, green = (np.full((96, 96, 3), color, np.uint8) for color in ((200, 0, 0), (0, 200, 0)))
    rows = [(landmark, [red] * (index % 6)) for index, landmark in enumerate(make_landmarks(7))]
    rows[6] = (rows[6][0], [green])
    pixels = read_pixels(draw_sample_photos(tmp_path / "grid.png", rows)).astype(int)
    reds, greens = ((pixels == color).all(axis=2).sum() for color in ((200, 0, 0), (0, 200, 0)))
    assert reds / greens == pytest.approx(15, rel=0.05)


def test_letters_without_a_glyph_and_long_names_can_be_drawn() -> None:
    assert make_drawable("Petra 東") == "Petra □"
    assert make_drawable("Göttingen Žižkov Αθήνα") == "Göttingen Žižkov Αθήνα"
    assert make_drawable("a" * 40, 10) == "aaaaaaaaa…"


@pytest.mark.skipif("LANDMARKS_SAMPLES" not in os.environ, reason="LANDMARKS_SAMPLES names no folder of real photos")
@pytest.mark.parametrize(("name", "labels", "photos"), [("landmarks81", 81, 5312), ("landmarks10_64px", 10, 3655)])
def test_real_photo_sets_pass(tmp_path: Path, name: str, labels: int, photos: int) -> None:
    params = write_experiment([name], EXPERIMENTS, tmp_path / "params.yaml")
    assert (params.register_.model_name, params.tracking.experiment) == (name, name)
    raw = acquire(tmp_path / "raw", params.acquire)
    validated = validate(raw, tmp_path / "validated", tmp_path / "reports", params.validate_)
    out = select(validated, tmp_path / "selected", tmp_path / "reports/selection", params.select)
    vocabulary = read_vocabulary(out / "vocabulary.csv")
    assert (len(vocabulary), sum(one.train + one.val + one.test for one in vocabulary)) == (labels, photos)
    assert not any(one.name.startswith("landmark ") for one in vocabulary)
    assert len(read_photo_set(out).distractors) == 1290
