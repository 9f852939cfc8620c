"""Imports point down only, importing has no effects, and dvc.yaml names the modules its stages run."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "landmarks"
MODULES = sorted(PACKAGE.rglob("*.py"))

# from the top down: a module may import its own layer and those below it
LAYERS = (
    ("cli", "summary"),
    ("stages",),
    ("adapters", "service"),
    ("serving", "model_card"),
    ("figures",),
    ("inference", "evaluation", "submission", "scoring", "drift"),
    ("separation", "trivial"),
    ("recognition",),
    ("modeling",),
    ("rejection", "answers", "serving_network"),
    ("data", "retrieval"),
    ("metrics", "logistic", "parity"),
    ("errors", "params", "files", "data.schema", ""),
)
STAGES = ("acquire", "validate", "select", "prepare", "train", "index", "evaluate", "register", "package")
TOOLS = {
    "great_expectations": {"adapters/expectations.py"},
    "mlflow": {"adapters/tracking.py", "adapters/registry.py"},
    "bentoml": {"adapters/bento.py", "service.py"},
    "dvc": set(),
    "keras": {"modeling/", "stages/train.py", "adapters/registry.py"},
    "tensorflow": {"modeling/", "data/batches.py", "adapters/registry.py"},
    "faiss": {"retrieval/index.py"},
    "streamlit": set(),
}


@cache
def find_imports(path: Path) -> frozenset[str]:
    """Every module that a file imports anywhere in it, dotted; names from a package count where they are modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def find_module_file(dotted: str) -> Path | None:
    path = SOURCE.joinpath(*dotted.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def find_closure(path: Path) -> frozenset[Path]:
    """A module and all modules of the package it imports, directly or not, package markers left out."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        files = (find_module_file(name) for name in find_imports(current) if name.startswith("landmarks"))
        waiting += [file for file in files if file is not None]
    return frozenset(file for file in seen if file.name != "__init__.py")


def find_stage_modules(stage: str) -> frozenset[Path]:
    """What a stage runs; `package` also packs what the service runs."""
    modules = find_closure(PACKAGE / "stages" / f"{stage}.py")
    return modules | find_closure(PACKAGE / "service.py") if stage == "package" else modules


def get_layer(path: Path) -> int:
    dotted = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
    for depth in range(len(LAYERS) - 1, -1, -1):
        if any(dotted == name or (name and dotted.startswith(f"{name}.")) for name in LAYERS[depth]):
            return depth
    raise AssertionError(f"{path} has no layer: give it one here and in the design")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    upward = [
        name
        for name in find_imports(path)
        if name.startswith("landmarks") and (file := find_module_file(name)) and get_layer(file) < get_layer(path)
    ]
    assert not upward


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_lives_in_its_rooms(tool: str) -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name == tool or name.startswith(f"{tool}.") for name in find_imports(path))
    }
    strangers = {user for user in users if not any(user.startswith(room) for room in TOOLS[tool])}
    assert not strangers


def test_importing_a_light_module_has_no_effects(tmp_path: Path) -> None:
    code = (
        "import sys, logging; import landmarks.cli, landmarks.params, landmarks.data.selection;"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'bentoml', 'great_expectations', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy; assert not logging.getLogger().handlers"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_page_knows_the_service_by_http_alone() -> None:
    imported = {name.partition(".")[0] for path in (ROOT / "app").glob("*.py") for name in find_imports(path)}
    assert imported - sys.stdlib_module_names == {"app", "httpx", "PIL", "streamlit"}


def read_stages() -> dict[str, dict[str, list[str]]]:
    stages: dict[str, dict[str, list[str]]] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    return stages


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_the_modules_it_runs(stage: str) -> None:
    named = {dep for dep in read_stages()[stage]["deps"] if dep.startswith("src/")}
    assert named == {str(path.relative_to(ROOT)) for path in find_stage_modules(stage)}


def test_default_params_are_the_default_experiment() -> None:
    committed = subprocess.run(["git", "show", ":params.yaml"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert committed.stdout == (ROOT / "experiments" / "default.yaml").read_text()


def test_every_public_verb_is_a_stage_a_command_and_a_file() -> None:
    assert tuple(read_stages()) == STAGES
    for verb in STAGES:
        assert (PACKAGE / "stages" / f"{verb}.py").is_file()
        assert f"def {verb}(" in (PACKAGE / "cli.py").read_text()
