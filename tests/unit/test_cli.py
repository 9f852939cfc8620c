"""The command line explains itself, and its errors are one message without a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from landmarks.cli import main

ROOT = Path(__file__).parents[2]


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
