"""A user's own photos: `landmarks init` and `dvc repro` are all it takes, whatever the photos are called."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from workspaces import Workspace, copy_project

from tiny_params import TINY

pytestmark = pytest.mark.slow

LANDMARKS = 37
NAMES = ("Eiffel Tower", "Sagrada Família", "برج خليفة", "東京タワー", "O'Connell, “Bridge” 🌉", "[a] (b) 50 %_#&?")
KINDS = 6


def paint(path: Path, random: np.random.Generator, colour: np.ndarray) -> None:
    pixels = random.normal(colour, 25, (56, 64, 3)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_tree(root: Path) -> None:
    """37 folders of photos with a colour each, and photos of nothing known."""
    random = np.random.default_rng(0)
    names = [*NAMES, *(f"Castle No. {number}" for number in range(LANDMARKS - len(NAMES)))]
    suffixes = (".JPG", ".jpeg", ".png", ".webp")
    for name in names:
        colour = random.integers(0, 256, 3)
        for number in range(14):
            paint(root / "photos" / name / f"IMG ({number}) é{suffixes[number % 4]}", random, colour)
    for kind in range(KINDS):
        for number in range(8):
            paint(root / "others" / f"kind {kind}" / f"{number}.jpg", random, np.array([128, 128, 128]))
    (root / "photos/notes.txt").write_text("none")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("own")
    workspace = copy_project(folder / "landmarks")
    (workspace.root / "dvc.lock").unlink(missing_ok=True)
    make_tree(folder / "My Städte (2019)")
    return workspace


def test_own_photos_go_all_the_way(own: Workspace) -> None:
    root = own.root.parent / "My Städte (2019)"
    photos, others = root / "photos", root / "others"
    said = own.run("landmarks", "init", str(photos), "--distractors", str(others), "--yes")
    assert "37 landmarks with 518 photos, 14 to 14 each" in said
    assert "Left out: 1 not a photo" in said
    assert "Distractors (photos of no landmark): 48." in said
    assert "Wrote experiments/my_stadte_2019.yaml" in said
    own.change_params({key: values for key, values in TINY.items() if key != "acquire"})
    own.change_params({"train": {"resizing": []}})
    own.commit("Begin")
    said = own.run("dvc", "repro", "package")
    assert "All 29 expectations hold: 518 photos of 37 landmarks, 48 distractors. Wrote data/validated" in said
    for variant in ("plain", "augmented"):
        assert re.search(rf"Trained {variant}: val top-1 0\.\d+ at epoch 1 of 1, \d+\.\d min, \d+ photos/s", said)
        assert re.search(rf"Evaluated {variant}: top-1 0\.\d+ \(0\.\d+ to [01]\.\d+\) on \d+ test photos", said)
    noise = re.compile(r"oneDNN|cudart|absl|XNNPACK|TensorFlow", re.IGNORECASE)
    assert not [line for line in said.splitlines() if noise.search(line)]

    vocabulary = pd.read_csv(own.root / "models/plain/bundle/vocabulary.csv")
    assert set(NAMES) < set(vocabulary["name"])
    photo = photos / NAMES[3] / "IMG (0) é.JPG"
    answer = json.loads(own.run("landmarks", "classify", "--json", str(photo)).splitlines()[-1])
    assert {guess["name"] for guess in answer["predictions"]} <= set(vocabulary["name"])

    # photos that are added are seen after `init`, and only then
    shutil.copy2(photo, photo.with_name("new.jpg"))
    assert "up to date" in own.run("dvc", "repro", "acquire")
    said = own.run("landmarks", "init", str(photos), "--distractors", str(others))
    assert "37 landmarks with 519 photos" in said
    assert "Kept experiments/my_stadte_2019.yaml" in said
    assert "Kept params.yaml" in said
    assert "Running stage 'acquire'" in own.run("dvc", "repro", "acquire")
    assert len(pd.read_parquet(own.root / "data/raw/images.parquet")) == 519
