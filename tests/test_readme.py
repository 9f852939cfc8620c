"""The README's blocks: every command exists, the example experiment is valid, every link leads somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from landmarks.cli import main
from landmarks.params import write_experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def list_commands() -> list[str]:
    lines = (line.split("#")[0].strip() for block in SHELL for line in block.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("block", SHELL)
def test_shell_blocks_are_valid_shell(block: str) -> None:
    subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_every_make_target_and_every_command_named_exists() -> None:
    made = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(list_commands())))
    assert {"repro", "test", "ui", "serve"} <= made <= TARGETS
    called = set(re.findall(r"\blandmarks ([a-z]+)", "\n".join(list_commands())))
    assert {"classify", "search", "params"} <= called <= set(main.commands)


def test_the_nine_verbs_are_headings_in_the_pipelines_order() -> None:
    headings = re.findall(r"^### (\w+)$", README, re.MULTILINE)
    assert headings == re.findall(r"^  (\w+):$", (ROOT / "dvc.yaml").read_text().split("\nmetrics:")[0], re.MULTILINE)


def test_the_example_experiment_is_valid(tmp_path: Path) -> None:
    [example] = [text for language, text in BLOCKS if language == "yaml"]
    (tmp_path / "mine.yaml").write_text(example)
    for name in ("default.yaml", "photos.yaml"):
        (tmp_path / name).write_text((ROOT / "experiments" / name).read_text())
    params = write_experiment(["mine"], tmp_path, tmp_path / "params.yaml")
    assert (params.acquire.source, params.register_.model_name) == ("folder", "mine")
    assert (params.prepare.image_size, params.train.epochs) == (64, 30)


def test_every_local_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_the_command_the_readme_gives() -> None:
    assert "make test" in list_commands()
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_make_alone_explains_every_target() -> None:
    printed = subprocess.run(["make", "-s"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {line.split()[1] for line in printed.splitlines()} == TARGETS
