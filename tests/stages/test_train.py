"""Training refuses shards it cannot use before it begins: nothing is written, and no run is opened."""

import shutil
from pathlib import Path

import pytest

import landmarks
from landmarks.errors import ArtifactError, DataError
from landmarks.params import read_params
from landmarks.schema.columns import Split
from landmarks.schema.vocabulary import Landmark
from landmarks.stages.train import _name_work, _open_work, compute_work_fingerprint, train
from landmarks.tracking import provenance
from tiny_recognizers import COLOURS, LANDMARKS, Photo, make_photos, write_tiny_shards

pytestmark = pytest.mark.slow

DEFAULTS = Path(__file__).parents[2] / "experiments" / "default.yaml"
TRAIN = [photo for label, colour in enumerate(COLOURS) for photo in make_photos(label * 16, label, [colour] * 2)]
VAL = [photo for label, colour in enumerate(COLOURS) for photo in make_photos(256 + label, label, [colour])]
PHOTOS = {Split.TRAIN: TRAIN, Split.VAL: VAL}


def run(folder: Path) -> None:
    network, reports = folder / "models/plain/network", folder / "reports"
    train("plain", folder / "shards", network, reports, read_params(DEFAULTS), work=folder / "work")


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
    with pytest.raises(ArtifactError, match=rf"{path.name} is damaged"):
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
    package = Path(shutil.copytree(Path(landmarks.__file__).parent, tmp_path / "landmarks"))
    monkeypatch.setattr(provenance, "_PACKAGE", package)
    weights = tmp_path / "start.h5"
    weights.write_bytes(b"one")
    params = read_params(DEFAULTS)
    params = params.model_copy(update={"train": params.train.model_copy(update={"initial_weights": str(weights)})})

    def compute() -> str:
        return compute_work_fingerprint("plain", manifest, params)

    def edit(name: str) -> str:
        with (package / name).open("a") as stream:
            stream.write("# changed\n")
        return compute()

    first = compute()
    assert compute() == first
    weights.write_bytes(b"two")
    second = compute()
    assert len({first, second, edit("network/losses.py"), edit("shards/tfrecord.py"), edit("stages/train.py")}) == 5
    last = compute()
    assert [edit(name) for name in ("recognizer/pca.py", "plotting/canvas.py", "tracking/runs.py")] == [last] * 3


def test_work_of_another_kind_of_machine_is_left_alone_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machines = [{"devices": "one", "environment": ""}, {"devices": "other", "environment": ""}]
    names = [_name_work(tmp_path, "f" * 64, machine) for machine in machines]
    assert len({*names, _name_work(tmp_path, "0" * 64, machines[0])}) == 3
    assert not caplog.messages
    folder, _ = _open_work(names[0], read_params(DEFAULTS))
    assert _name_work(tmp_path, "f" * 64, machines[0]) == names[0]
    assert not caplog.messages
    assert _name_work(tmp_path, "f" * 64, machines[1]) == names[1]
    assert [message for message in caplog.messages if str(folder) in message and "devices other." in message]


def test_a_resumed_training_keeps_its_precision(tmp_path: Path) -> None:
    """The second time `auto` would choose otherwise, as it might on a busy machine."""
    params = read_params(DEFAULTS)
    fixed = params.model_copy(update={"train": params.train.model_copy(update={"precision": "bfloat16"})})
    folder, precision = _open_work(tmp_path / "work", fixed)
    assert (folder.is_dir(), precision) == (True, "bfloat16")
    other = params.model_copy(update={"train": params.train.model_copy(update={"precision": "float32"})})
    assert _open_work(tmp_path / "work", other) == (folder, "bfloat16")


def test_nothing_to_validate_on_is_refused(tmp_path: Path) -> None:
    write_tiny_shards(tmp_path / "shards", {Split.TRAIN: TRAIN})
    with pytest.raises(DataError, match="6 training and 0 validation photos"):
        run(tmp_path)
    assert_untouched(tmp_path)
