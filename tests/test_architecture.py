"""Imports point down only, importing has no effects, and dvc.yaml names the code that its stages run."""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from landmarks.tracking.provenance import find_code

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "landmarks"
MODULES = sorted(PACKAGE.rglob("*.py"))
BASE = {"errors", "params", "files", "processors", "terminal"}

# each folder, and the folders that it may import from; all may import from BASE
ROOMS: dict[str, set[str]] = {
    "schema": set(),
    "photos": {"schema"},
    "demo": {"photos"},
    "tables": {"schema", "photos"},
    "shards": {"schema", "photos", "tables"},
    "network": {"schema", "shards"},
    "recognizer": {"schema", "photos"},
    "export": {"schema", "shards", "network", "recognizer"},
    "evaluation": {"schema", "photos", "shards", "network", "recognizer", "export"},
    "plotting": {"schema", "evaluation"},
    "albums": {"schema", "photos", "recognizer"},
    "drift": {"evaluation", "plotting"},
    "kaggle": {"schema", "recognizer", "evaluation"},
    "serving": {"schema", "photos", "recognizer"},
    "tracking": {"schema", "recognizer", "evaluation"},
}
ROOMS["stages"] = set(ROOMS)
STAGES = ("acquire", "validate", "select", "prepare", "train", "index", "evaluate", "register", "package")
TOOLS = {
    "great_expectations": {"tables/expectations.py"},
    "mlflow": {"tracking/store.py", "tracking/registry.py", "tracking/pages.py"},
    "bentoml": {"serving/metrics.py", "serving/model_metrics.py", "serving/packaging.py", "serving/service.py"},
    "dvc": set(),
    "keras": {"network/", "schema/library_settings.py"},
    "tensorflow": {"network/", "export/litert.py"},
    "sklearn": {"export/"},
    "faiss": {"recognizer/similarity_index.py"},
    "ai_edge_litert": {"recognizer/serving_network.py"},
    "matplotlib": {"plotting/"},
    "lxml": {"albums/xmp.py"},
    "rawpy": {"photos/raw.py", "albums/doctor.py"},
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


def find_room(path: Path) -> str:
    """The folder of a module; modules beside the folders are rooms of their own."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def find_imported_rooms(path: Path) -> set[str]:
    files = (find_module_file(name) for name in find_imports(path) if name.split(".")[0] == "landmarks")
    return {find_room(file) for file in files if file is not None} - {find_room(path), "__init__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_the_rooms_it_may(path: Path) -> None:
    room, imported = find_room(path), find_imported_rooms(path)
    if room in ("cli", "__init__"):
        assert imported <= {*ROOMS, *BASE}
    elif room in BASE:
        assert imported <= BASE
    else:
        assert imported - BASE <= ROOMS[room], f"{room} may not import {imported - BASE - ROOMS[room]}"


def test_the_graph_of_folders_has_no_cycle_and_every_arrow_is_used() -> None:
    graph: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in MODULES:
        if (room := find_room(path)) in graph:
            graph[room] |= find_imported_rooms(path) & ROOMS.keys()
    assert {*TopologicalSorter(graph).static_order()} == {*ROOMS}
    unused = {room: ROOMS[room] - graph[room] for room in ROOMS if room != "stages" and ROOMS[room] - graph[room]}
    assert unused == {}


def test_every_folder_says_what_it_holds() -> None:
    for room in ROOMS:
        document = importlib.import_module(f"landmarks.{room}").__doc__ or ""
        assert len(re.findall(r"\.(?:\s|$)", document)) >= 2, f"{room}/__init__.py needs two or three sentences"


def test_the_rooms_stand_at_the_top_level_alone() -> None:
    beside = {path.name for path in PACKAGE.glob("*.py")}
    assert beside == {"__init__.py", "cli.py", "params.py", "errors.py", "processors.py", "terminal.py"}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {*ROOMS, "files"}


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
        "import sys, logging; import landmarks.cli, landmarks.params, landmarks.tables.selection;"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'bentoml', 'great_expectations', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy; assert not logging.getLogger().handlers"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_page_knows_the_service_by_http_alone() -> None:
    imported = {name.partition(".")[0] for path in (ROOT / "app").glob("*.py") for name in find_imports(path)}
    assert imported - sys.stdlib_module_names == {"app", "httpx", "PIL", "pi_heif", "streamlit"}


def test_the_package_exports_the_recognizer_without_loading_it_first() -> None:
    code = (
        "import sys, time; started = time.process_time(); import landmarks; seconds = time.process_time() - started;"
        "assert seconds < 0.3, seconds; assert 'numpy' not in sys.modules;"
        "from landmarks import Neighbour, Prediction, Recognition, Recognizer;"
        "assert Recognizer.load and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_serves_needs_neither_training_nor_tables(tmp_path: Path) -> None:
    code = (
        "import sys; import landmarks.serving.app, landmarks.recognizer.recognizer;"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'sklearn', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('landmarks.')};"
        "own = {'errors', 'files', 'params', 'photos', 'processors', 'recognizer', 'schema', 'serving', 'terminal'};"
        "assert rooms == own, rooms"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def read_stages() -> dict[str, dict[str, list[str]]]:
    stages: dict[str, dict[str, list[str]]] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    return stages


def read_bento_rooms() -> set[str]:
    """The folders of the package that a Bento holds."""
    included = YAML(typ="safe").load((ROOT / "bentofile.yaml").read_text())["include"]
    return {name.rstrip("/").removeprefix("src/landmarks/") for name in included if name.endswith("/")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_imports(stage: str) -> None:
    named = {dep.removeprefix("src/landmarks/") for dep in read_stages()[stage]["deps"] if dep.startswith("src/")}
    expected = {path.as_posix() for path in find_code(stage)}
    assert named == (expected | (read_bento_rooms() - BASE) if stage == "package" else expected)


@pytest.mark.parametrize("stage", STAGES)
def test_whatever_a_stage_loads_is_among_its_code(stage: str, tmp_path: Path) -> None:
    """The imports as they are, against those that `find_code` reads."""
    code = f"import sys, landmarks.stages.{stage}; print(*(n for n in sys.modules if n.startswith('landmarks.')))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    loaded = {name.split(".")[1] for name in printed.stdout.split()} - BASE - {"tracking", "stages"}
    assert loaded <= {path.parts[0] for path in find_code(stage)}


def test_a_bento_holds_all_that_its_service_loads() -> None:
    code = "import sys, landmarks.serving.app; print(*(n for n in sys.modules if n.startswith('landmarks.')))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {name.split(".")[1] for name in printed.stdout.split()} - BASE <= read_bento_rooms()


def test_dvc_yaml_is_a_table_of_contents() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 170


def test_only_python_counts_below_src() -> None:
    """A cache or an editor's swap file in a folder that a stage depends on changes nothing."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        ignores = repo.dvcignore.is_ignored_file
        assert not ignores(str(PACKAGE / "network" / "losses.py"))
        for name in (".losses.py.swp", "losses.pyc", "notes.txt"):
            assert ignores(str(PACKAGE / "network" / name))


def test_default_params_are_the_default_experiment() -> None:
    committed = subprocess.run(["git", "show", ":params.yaml"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert committed.stdout == (ROOT / "experiments" / "default.yaml").read_text()


def test_every_public_verb_is_a_stage_a_command_and_a_file() -> None:
    assert tuple(read_stages()) == STAGES
    for verb in STAGES:
        assert (PACKAGE / "stages" / f"{verb}.py").is_file()
        assert f"def {verb}(" in (PACKAGE / "cli.py").read_text()
