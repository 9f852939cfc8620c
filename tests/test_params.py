"""Params: typos, wrong types and values out of range are refused by name; experiments merge over the defaults."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from landmarks.errors import ParamsError
from landmarks.params import build_params, flatten_params, list_experiments, read_params, write_experiment

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"


def change(tmp_path: Path, section: str, **values: object) -> Path:
    yaml = YAML()
    content = yaml.load((EXPERIMENTS / "default.yaml").read_text())
    content[section].update(values)
    path = tmp_path / "params.yaml"
    with path.open("w") as stream:
        yaml.dump(content, stream)
    return path


def test_default_experiment_reads_as_written() -> None:
    params = read_params(EXPERIMENTS / "default.yaml")
    assert params.train.learning_rate == 1e-3
    assert params.select.min_images is None
    assert params.acquire.source == "demo"


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("train", {"epoch": 3}, r"train\.epoch: Extra inputs are not permitted \(received 3\)"),
        ("train", {"epochs": "many"}, r"train\.epochs: .*valid integer.*received 'many'"),
        ("train", {"epochs": "12"}, r"train\.epochs: .*valid integer.*received '12'"),
        ("train", {"epochs": True}, r"train\.epochs: .*valid integer.*received True"),
        ("train", {"learning_rate": "0.1"}, r"train\.learning_rate: .*valid number.*received '0.1'"),
        ("augmentation", {"flip": "off"}, r"augmentation\.flip: .*valid boolean.*received 'off'"),
        ("augmentation", {"brightness": True}, r"augmentation\.brightness: .*valid number.*received True"),
        ("select", {"landmark_ids": ["7"]}, r"select\.landmark_ids\.0: .*valid integer.*received '7'"),
        ("train", {"seed": 2**32}, r"train\.seed: .*less than 4294967296"),
        ("train", {"epochs": 0}, r"train\.epochs: .*greater than or equal to 1.*received 0"),
        ("train", {"learning_rate": float("nan")}, r"train\.learning_rate"),
        ("prepare", {"image_size": 8}, r"prepare\.image_size: .*greater than or equal to 32"),
        ("select", {"val_fraction": 0.6, "test_fraction": 0.4}, r"must be below 1, received 0\.6 \+ 0\.4"),
        ("select", {"min_images": 9, "max_images": 3}, r"min_images 9 is above max_images 3"),
        ("network", {"head": "arcface", "pooling": "flatten"}, r"arcface needs pooling: average or gem.*flatten"),
        (
            "acquire",
            {"source": "bucket"},
            r"acquire\.source: .*'demo', .* or 'huggingface'.*received 'bucket'",
        ),
        ("train", {"batch_size": 2}, r"distractor_fraction 0\.125 leaves no landmarks among the 1 photos of a part"),
        (
            "train",
            {"initial_weights": "imagenet"},
            r"needs the published layout, network\.stem: standard .* received deep and pooled",
        ),
        ("register", {"model_name": "No Such"}, r"register\.model_name"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, section: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        read_params(change(tmp_path, section, **values))


def test_lists_and_whole_numbers_are_taken_where_they_fit(tmp_path: Path) -> None:
    steps = [{"until": 0.5, "image_size": 32}]
    params = read_params(change(tmp_path, "train", resizing=steps, learning_rate=1, weight_decay=0))
    assert (params.train.learning_rate, params.train.resizing[0].image_size) == (1.0, 32)
    assert read_params(change(tmp_path, "select", landmark_ids=[7, 9])).select.landmark_ids == (7, 9)


def test_an_anchor_changes_no_value(tmp_path: Path) -> None:
    text = (EXPERIMENTS / "default.yaml").read_text()
    text = text.replace("  flip_tta: true", "  flip_tta: &both true").replace("  flip: true", "  flip: *both")
    (tmp_path / "params.yaml").write_text(text)
    params = read_params(tmp_path / "params.yaml")
    assert (params.augmentation.flip, params.network.flip_tta) == (True, True)
    assert "&both" in text
    assert "*both" in text


def test_a_missing_section_is_named() -> None:
    with pytest.raises(ParamsError, match="acquire: Field required"):
        build_params({"train": {}})


@pytest.mark.parametrize("text", ["a: [1", "just words", "\x00"])
def test_a_file_that_is_no_yaml_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        read_params(tmp_path / "params.yaml")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="landmarks params default"):
        read_params(tmp_path / "params.yaml")


def test_an_experiment_changes_what_it_names_and_keeps_the_comments(tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "default.yaml").write_text((EXPERIMENTS / "default.yaml").read_text())
    (folder / "short.yaml").write_text("train:\n  epochs: 2\n")
    out = tmp_path / "params.yaml"
    changed = write_experiment(["short"], folder, out)
    default = read_params(folder / "default.yaml")
    assert changed == read_params(out)
    assert changed.train == default.train.model_copy(update={"epochs": 2})
    assert changed.model_copy(update={"train": default.train}) == default
    assert "# sgd | adam | adamw" in out.read_text()
    write_experiment(["default"], folder, out)
    assert out.read_text() == (folder / "default.yaml").read_text()


def test_an_experiment_finds_its_data_through_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDMARKS_SAMPLES", raising=False)
    out = tmp_path / "params.yaml"
    with pytest.raises(ParamsError, match=r"environment variable that is not set: \$\{LANDMARKS_SAMPLES\}"):
        write_experiment(["landmarks81"], EXPERIMENTS, out)
    assert not out.exists()
    monkeypatch.setenv("LANDMARKS_SAMPLES", str(tmp_path))
    assert write_experiment(["landmarks81"], EXPERIMENTS, out).acquire.photos == str(tmp_path / "landmarks81")


def test_an_experiment_begins_with_its_base_and_those_named_after_it_come_last(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text((EXPERIMENTS / "default.yaml").read_text())
    (tmp_path / "long.yaml").write_text("train: {epochs: 30, batch_size: 64, label_smoothing: 0.1}\n")
    (tmp_path / "mine.yaml").write_text("base: long\ntrain: {batch_size: 16, label_smoothing: 0.2}\n")
    (tmp_path / "smooth.yaml").write_text("train: {label_smoothing: 0.3}\n")
    out = tmp_path / "params.yaml"
    mine = write_experiment(["mine"], tmp_path, out).train
    assert (mine.epochs, mine.batch_size, mine.label_smoothing) == (30, 16, 0.2)
    both = write_experiment(["mine", "smooth"], tmp_path, out).train
    assert (both.epochs, both.batch_size, both.label_smoothing) == (30, 16, 0.3)
    assert "base" not in out.read_text()


@pytest.mark.parametrize(
    ("base", "message"), [("nothing", "no experiment 'nothing'"), ("b", "its own base: a, b, a"), ("[c]", "no experim")]
)
def test_a_base_that_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path, base: str, message: str) -> None:
    (tmp_path / "default.yaml").write_text((EXPERIMENTS / "default.yaml").read_text())
    (tmp_path / "a.yaml").write_text(f"base: {base}\n")
    (tmp_path / "b.yaml").write_text("base: a\n")
    with pytest.raises(ParamsError, match=message):
        write_experiment(["a"], tmp_path, tmp_path / "params.yaml")
    assert not (tmp_path / "params.yaml").exists()


def test_an_unknown_experiment_lists_the_known_ones() -> None:
    with pytest.raises(ParamsError, match=r"Known experiments: .*default.*landmarks81"):
        write_experiment(["nothing"], EXPERIMENTS)
    assert "default" in list_experiments(EXPERIMENTS)


def test_flat_names_follow_the_sections() -> None:
    flat = flatten_params(read_params(EXPERIMENTS / "default.yaml").acquire, "acquire")
    assert flat["acquire.source"] == "demo"
    assert flat["acquire.demo.seed"] == 0
