"""The README's blocks: every command exists, and the example experiment is valid. In all documents: links and names."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from landmarks.cli import main
from landmarks.params import write_experiment
from test_architecture import ROOMS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/landmarks"
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
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
    assert {"classify", "search", "init"} <= called <= set(main.commands)


def test_the_nine_verbs_are_headings_in_the_pipelines_order() -> None:
    headings = re.findall(r"^### (\w+)$", README, re.MULTILINE)
    assert headings == re.findall(r"^  (\w+):$", (ROOT / "dvc.yaml").read_text().split("\nmetrics:")[0], re.MULTILINE)


def test_the_example_experiments_are_valid(tmp_path: Path) -> None:
    for name in ("default.yaml", "photos.yaml"):
        (tmp_path / name).write_text((ROOT / "experiments" / name).read_text())
    examples = [text for language, text in BLOCKS if language == "yaml"]
    for number, example in enumerate(examples):
        (tmp_path / f"mine{number}.yaml").write_text(example)
    mine, published = (write_experiment([f"mine{number}"], tmp_path, tmp_path / "params.yaml") for number in (0, 1))
    assert (mine.acquire.source, mine.register_.model_name) == ("folder", "mine")
    assert (mine.prepare.image_size, mine.train.epochs) == (128, 40)
    assert (published.train.initial_weights, published.network.stem) == ("imagenet", "standard")


def list_anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_local_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text()):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


def test_the_readme_links_to_the_documents() -> None:
    assert {"docs/architecture.md", "docs/pipeline.md", "docs/results.md", "docs/deployment.md"} <= set(
        re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    )


def list_definitions(file: Path) -> set[str]:
    """The functions, classes and methods of a module: `name`, and `Class.name`."""
    tree = ast.parse(file.read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return names | {f"{kind.name}.{node.name}" for kind in classes for node in kind.body if hasattr(node, "name")}


def test_every_file_and_name_in_the_architecture_exists() -> None:
    named = re.findall(r"`((?:\w+/)?\w+\.py)(?:::([\w.]+))?`", ARCHITECTURE)
    files = {file for file, _ in named if "/" in file and not file.startswith("tests/")}
    assert len(files) > 30
    assert {file for file in files if not (PACKAGE / file).is_file()} == set()
    found = [(file, name) for file, name in named if name]
    assert len(found) > 50
    assert [(file, name) for file, name in found if name not in list_definitions(PACKAGE / file)] == []


def test_the_architecture_shows_the_graph_of_folders() -> None:
    [graph] = re.findall(r"```text\n(.*?)```", ARCHITECTURE, re.DOTALL)
    shown = {
        folder: set(re.findall(r"\w+", rest)) for folder, rest in re.findall(r"^(\w+) +imports (.+)$", graph, re.M)
    }
    expected = {folder: allowed or {"nothing"} for folder, allowed in ROOMS.items() if folder != "stages"}
    assert shown == expected | {"stages": {"every", "folder", "above"}}
    assert set(re.findall(r"^\*\*`(\w+)/`\*\*", ARCHITECTURE, re.MULTILINE)) == {*ROOMS, "files"}


def test_ci_runs_the_command_the_readme_gives() -> None:
    assert "make test" in list_commands()
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_make_alone_explains_every_target() -> None:
    printed = subprocess.run(["make", "-s"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {line.split()[1] for line in printed.splitlines()} == TARGETS
