"""The command line explains itself, and its errors are one message without a traceback."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from landmarks.cli import main
from landmarks.files.parsing import read_json
from landmarks.files.writing import hold_lock
from landmarks.params import write_experiment
from landmarks.shards.format import encode_png
from tiny_recognizers import COLOURS, Photo, write_tiny_bundle, write_tiny_index

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", [*sorted(main.commands), ""])
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4
    assert "\\b" not in result.output  # else click would not keep the lines of an example apart


def test_help_lists_the_stages_in_order() -> None:
    printed = CliRunner().invoke(main, ["--help"]).output
    verbs = ["acquire", "validate", "select", "prepare", "train", "index", "evaluate", "register", "package"]
    places = [printed.index(f"\n  {verb} ") for verb in verbs]
    assert places == sorted(places)


def test_one_process_at_a_time_runs_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiment(["default"], ROOT / "experiments")
    with hold_lock(Path(".work/train-plain.lock"), "running `landmarks train plain`"):
        refused = CliRunner().invoke(main, ["train", "plain"])
        other = CliRunner().invoke(main, ["index", "plain"])
    assert refused.exit_code == other.exit_code == 1
    assert "Another landmarks process is running `landmarks train plain`" in refused.stderr
    assert "Another" not in other.stderr


def test_a_fault_of_the_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiment(["default"], ROOT / "experiments")
    done = CliRunner().invoke(main, ["acquire", "params.yaml/raw"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: The path params.yaml cannot be used: File exists. Name another one, or move away what is there.\n"
    )


def test_a_user_without_a_home_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    write_experiment(["default"], ROOT / "experiments")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_nobody)
    done = CliRunner().invoke(main, ["package"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: This user has no home folder")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_name_that_is_no_utf8_does_not_stop_the_other_photos(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "model" / "bundle")
    gallery = [Photo("0" * 15 + "0", 0, COLOURS[0])]
    write_tiny_index(tmp_path / "model" / "index", read_json(bundle / "bundle.json")["fingerprint"], gallery, 0.5)
    photo = encode_png(np.full((16, 16, 3), COLOURS[0], np.uint8))
    names = [b"a-caf\xe9.png", b"b.png", b"c-caf\xe9.png"]
    for name, content in zip(names, (photo, photo, b"no photo"), strict=True):
        Path(os.fsdecode(os.fsencode(tmp_path / "photos-") + name)).write_bytes(content)
    photos = [os.fsdecode(os.fsencode(tmp_path / "photos-") + name) for name in names]
    command = [sys.executable, "-m", "landmarks.cli", "classify", "--model", "model", *photos]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    for extra in ((), ("--json",)):
        done = subprocess.run([*command, *extra], cwd=tmp_path, env=strict, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert (done.stdout + done.stderr).count("caf\\udce9.png") == 2
        assert "photos-b.png" in done.stdout
        if extra:
            paths = [json.loads(line)["path"] for line in done.stdout.splitlines()]
            assert paths == photos


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "landmarks.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("select",), "Error: params.yaml is missing. Run from the project's root"),
        (("params", "nothing"), "Error: There is no experiment 'nothing'"),
        (("summary",), "registration.json is missing"),
        (("classify", "photo.jpg"), "registration.json is missing"),
        (("classify", "photo.jpg", "--model", "none"), "bundle.json is missing"),
    ],
)
def test_errors_have_no_traceback_and_exit_one(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_params_typo_stops_a_stage_before_it_writes(tmp_path: Path) -> None:
    default = (ROOT / "experiments" / "default.yaml").read_text()
    (tmp_path / "params.yaml").write_text(default.replace("  epochs:", "  epoch:"))
    done = run(tmp_path, "acquire")
    assert done.returncode == 1
    assert "train.epoch: Extra inputs are not permitted" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
