"""Where the metrics of a service lie, and who removes them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_KEEP = """
import sys
from pathlib import Path
from landmarks.serving import metrics
metrics.use_own_folder()
from bentoml._internal.configuration.containers import BentoMLContainer
folder = Path(BentoMLContainer.prometheus_multiproc_dir.get())
folder.mkdir()
metrics.keep_folder()
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def start() -> tuple["subprocess.Popen[str]", Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", _KEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def age(folder: Path) -> None:
    os.utime(folder, (1e9, 1e9))


def test_folders_of_running_services_are_kept_and_those_of_killed_ones_removed(temporary: Path) -> None:
    first, kept = start()
    killed, left = start()
    young = temporary / "landmarks-metrics-young"
    young.mkdir()
    killed.kill()
    killed.communicate()
    for folder in (kept, left):
        age(folder)
    assert len({kept, left}) == 2
    second, own = start()
    try:
        assert {path.name for path in temporary.glob("landmarks-metrics-*")} == {kept.name, own.name, young.name}
    finally:
        for process in (first, second):
            process.communicate("")
    assert {path.name for path in temporary.glob("landmarks-metrics-*")} == {young.name}
