"""Training refuses shards it cannot use before it begins: nothing is written, and no run is opened."""

from pathlib import Path

import pytest

from landmarks.data.schema import Split
from landmarks.data.vocabulary import Landmark
from landmarks.errors import ArtifactError, DataError
from landmarks.modeling import losses
from landmarks.params import read_params
from landmarks.stages.train import _compute_work_fingerprint, train
from tiny_recognizers import COLOURS, LANDMARKS, Photo, make_photos, write_tiny_shards

DEFAULTS = Path(__file__).parents[2] / "experiments" / "default.yaml"
TRAIN = [photo for label, colour in enumerate(COLOURS) for photo in make_photos(label * 16, label, [colour] * 2)]
VAL = [photo for label, colour in enumerate(COLOURS) for photo in make_photos(256 + label, label, [colour])]
PHOTOS = {Split.TRAIN: TRAIN, Split.VAL: VAL}


def run(folder: Path) -> None:
    bundle, reports = folder / "models/plain/bundle", folder / "reports"
    train("plain", folder / "shards", bundle, reports, read_params(DEFAULTS), work=folder / "work")


def assert_untouched(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["shards"]


def test_missing_shards_are_named(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    with pytest.raises(ArtifactError, match=r"shards\.json is missing"):
        run(tmp_path)
    assert_untouched(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_shard_is_named(tmp_path: Path, damage: str) -> None:
    write_tiny_shards(tmp_path / "shards", PHOTOS)
    path = next((tmp_path / "shards").glob("train-*.tfrecord"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data[:-7] if damage == "cut" else data)
    with pytest.raises(ArtifactError, match=rf"{path.name} is damaged or incomplete"):
        run(tmp_path)
    assert_untouched(tmp_path)


def test_a_landmark_without_training_photos_is_named(tmp_path: Path) -> None:
    landmarks = (*LANDMARKS, Landmark(3, 99, "Forgotten Gate", 0, 1, 0))
    write_tiny_shards(
        tmp_path / "shards", {**PHOTOS, Split.VAL: [*VAL, Photo("0" * 15 + "f", 3, COLOURS[0])]}, landmarks
    )
    with pytest.raises(DataError, match="without a training photo: Forgotten Gate"):
        run(tmp_path)
    assert_untouched(tmp_path)


def test_a_landmark_that_the_shards_lack_is_named_whatever_the_vocabulary_says(tmp_path: Path) -> None:
    without_blue = [photo for photo in TRAIN if photo.label != 2]
    write_tiny_shards(tmp_path / "shards", {**PHOTOS, Split.TRAIN: without_blue})
    assert LANDMARKS[2].train == 2
    with pytest.raises(DataError, match="without a training photo: Blue Dome"):
        run(tmp_path)
    assert_untouched(tmp_path)


def test_work_in_progress_depends_on_weights_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_tiny_shards(tmp_path / "shards", PHOTOS)
    weights, code = tmp_path / "start.h5", tmp_path / "losses.py"
    weights.write_bytes(b"one")
    code.write_text("one")
    monkeypatch.setattr(losses, "__file__", str(code))

    def compute() -> str:
        return _compute_work_fingerprint("plain", manifest, {"train.epochs": 3}, str(weights))

    first = compute()
    assert compute() == first
    weights.write_bytes(b"two")
    second = compute()
    code.write_text("two")
    assert len({first, second, compute()}) == 3


def test_nothing_to_validate_on_is_refused(tmp_path: Path) -> None:
    write_tiny_shards(tmp_path / "shards", {Split.TRAIN: TRAIN})
    with pytest.raises(DataError, match="6 training and 0 validation photos"):
        run(tmp_path)
    assert_untouched(tmp_path)
