"""Provenance of a result: the code of its stage, the git commit, the DVC experiment and the digest of dvc.lock."""

import ast
import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_fingerprint, compute_sha256
from landmarks.files.parsing import parse_yaml

LOCK_FILE = "dvc.lock"
# rewritten by `dvc repro` while it runs, so a change of these does not make a commit dirty
_RESULTS = (LOCK_FILE, "reports")
_DVC_VARIABLES = {"DVC_EXP_NAME": "dvc_exp_name", "DVC_EXP_BASELINE_REV": "dvc_exp_baseline"}
_AFTER_EVALUATION = frozenset({"register", "package"})
_PACKAGE = Path(__file__).parents[1]
# may change messages and logs, but no result; DVC tracks the values of params.yaml itself
_WITHOUT_EFFECT = frozenset({"cli.py", "errors.py", "files", "params.py", "processors.py", "terminal.py", "tracking"})


def collect_tags(folder: Path = Path(), environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Collect the tags of a run that starts now: `git_commit`, `dvc_exp_name`, `dvc_exp_baseline`, where known.

    Args:
        folder: a folder of the project.
        environ: environment variables; those of this process if None.
    """
    environ = os.environ if environ is None else environ
    tags = {tag: environ[variable] for variable, tag in _DVC_VARIABLES.items() if environ.get(variable)}
    commit = describe_commit(folder)
    return tags | ({"git_commit": commit} if commit else {})


def describe_origin(data_fingerprint: str, project: Path = Path()) -> dict[str, str]:
    """Collect the tags of a registered version: `data_fingerprint`, and where known `git_commit` and `dvc_lock`.

    Raises:
        ArtifactError: `dvc.lock` is damaged.
    """
    found = {
        "git_commit": describe_commit(project),
        "data_fingerprint": data_fingerprint,
        "dvc_lock": compute_lock_digest(project / LOCK_FILE),
    }
    return {name: value for name, value in found.items() if value}


def describe_commit(folder: Path = Path()) -> str | None:
    """Return the commit of a folder, with `-dirty` if tracked files differ from it; None outside of git.

    Changes of `dvc.lock` and `reports/`, which the pipeline rewrites, do not count, and neither do untracked files.
    """
    commit = _run_git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    ignored = [f":(top,exclude){name}" for name in _RESULTS]
    changes = _run_git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *ignored)
    return f"{commit}-dirty" if changes else commit


def compute_lock_digest(path: Path = Path(LOCK_FILE)) -> str | None:
    """Compute the digest of the entries of `dvc.lock` for the stages before `register`; None without such a file.

    Raises:
        ArtifactError: the file is not a lock file of DVC.
    """
    try:
        lock = parse_yaml(path.read_text(encoding="utf-8"), YAML(typ="safe"))
        # stages with a matrix are named stage@variant
        stages = {name: entry for name, entry in lock["stages"].items() if name.split("@")[0] not in _AFTER_EVALUATION}
        return compute_fingerprint(stages)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a lock file of DVC. Restore it from git, or delete it.") from error


def find_code(stage: str) -> tuple[Path, ...]:
    """Find the code that can change the result of a stage: its own module, and every folder that it imports from.

    Imports are followed transitively, including those inside functions. `tracking` and the modules at the top level
    are left out, since they cannot change a result. `dvc.yaml` names the same paths as `deps`.

    Returns:
        Paths below the package, such as `stages/train.py` and `network`, in alphabetical order.
    """
    modules = (path.relative_to(_PACKAGE) for path in _find_closure(_PACKAGE / "stages" / f"{stage}.py"))
    rooms = {path if path.parts[0] == "stages" else Path(path.parts[0]) for path in modules}
    return tuple(sorted(room for room in rooms if room.name not in _WITHOUT_EFFECT))


def compute_code_digest(stage: str) -> str:
    """Compute the digest of the code that can change the result of a stage: all Python files below `find_code`."""
    roots = [_PACKAGE / path for path in find_code(stage)]
    files = [file for root in roots for file in (sorted(root.rglob("*.py")) if root.is_dir() else [root])]
    return compute_fingerprint([[file.relative_to(_PACKAGE).as_posix(), compute_sha256(file)] for file in files])


def _find_closure(path: Path) -> set[Path]:
    """Find a module and all modules of the package that it imports, directly or not."""
    # parsed, not imported: importing would take seconds and miss imports inside functions
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += _find_imports(current)
    return {file for file in seen if file.name != "__init__.py"}


@cache
def _find_imports(path: Path) -> tuple[Path, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(file for name in names for file in _find_module(name))


def _find_module(name: str) -> Iterator[Path]:
    package, *parts = name.split(".")
    if package == _PACKAGE.name:
        path = _PACKAGE.joinpath(*parts)
        yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())


def _run_git(folder: Path, *arguments: str) -> str | None:
    # without it, `git status` may hold the index lock while the user runs another git command
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    # git sets GIT_DIR and others for its hooks; with them it would answer for another repository
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, env=environ, check=True)  # noqa: S603
        return done.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.CalledProcessError):
        return None
