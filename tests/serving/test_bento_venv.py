"""The last rung: the Bento in a clean virtual environment with its own requirements, away from the repository."""

import json
import os
import subprocess
import venv
from pathlib import Path

import bentoml
import httpx
import pytest
from colours import make_photo, serve

from landmarks.recognizer.recognizer import Recognizer
from landmarks.serving.receipt import PackageReceipt

pytestmark = pytest.mark.slow

MOST_BYTES = 400_000_000


@pytest.fixture(scope="module")
def program(receipt: PackageReceipt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    requirements = Path(bentoml.bentos.get(receipt.tag).path) / "env/python/requirements.txt"
    command = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bin/python"


def test_the_bento_serves_without_the_repository(
    program: Path, receipt: PackageReceipt, recognizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    photo = make_photo((20, 240, 30), 90, "JPEG")
    (expected,) = Recognizer.load(recognizer_folder).classify([photo], 3)
    with serve([receipt.tag], tmp_path, program) as address:
        answer = httpx.post(f"{address}/classify", files={"image": photo}, data={"k": "3"})
        assert answer.json()["predictions"] == [vars(prediction) for prediction in expected.predictions]
        assert httpx.post(f"{address}/classify", files={"image": b"no photo"}).status_code == 400
        assert httpx.post(f"{address}/search", files={"image": photo}).json()["neighbours"][0]["image_id"] == "g0"


def test_the_environment_is_small_and_has_no_training_stack(program: Path) -> None:
    listed = subprocess.run(
        [str(program), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert names.isdisjoint({"landmarks", "tensorflow", "keras", "mlflow", "dvc", "great-expectations", "pandas"})
    inside = program.parents[1].rglob("*")
    assert sum(os.lstat(path).st_blocks * 512 for path in inside if not path.is_symlink()) < MOST_BYTES
