"""Where a result comes from: the git commit, the DVC experiment, and what DVC locked."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from landmarks.errors import ArtifactError
from landmarks.files import compute_fingerprint

LOCK_FILE = "dvc.lock"
# `dvc repro` rewrites these while it runs; they are results, and say nothing about the code and the parameters
_RESULTS = (LOCK_FILE, "reports")
_DVC_VARIABLES = {"DVC_EXP_NAME": "dvc_exp_name", "DVC_EXP_BASELINE_REV": "dvc_exp_baseline"}
_AFTER_EVALUATION = frozenset({"register", "package"})


def collect_tags(folder: Path = Path(), environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What is known of the origin of a result made now: `git_commit`, `dvc_exp_name`, `dvc_exp_baseline`.

    Args:
        folder: a folder of the project.
        environ: the environment; that of this process when None.
    """
    environ = os.environ if environ is None else environ
    tags = {tag: environ[variable] for variable, tag in _DVC_VARIABLES.items() if environ.get(variable)}
    commit = describe_commit(folder)
    return tags | ({"git_commit": commit} if commit else {})


def describe_commit(folder: Path = Path()) -> str | None:
    """The commit checked out in a folder, with `-dirty` where tracked files differ from it; None outside of git.

    What the pipeline itself rewrites, `dvc.lock` and `reports/`, does not count, and neither do untracked files.
    """
    commit = _run_git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    ignored = [f":(top,exclude){name}" for name in _RESULTS]
    changes = _run_git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *ignored)
    return f"{commit}-dirty" if changes else commit


def compute_lock_digest(path: Path = Path(LOCK_FILE)) -> str | None:
    """Digest of the entries of `dvc.lock` for the stages before `register`; None where there is no such file.

    Raises:
        ArtifactError: the file is not what DVC writes.
    """
    try:
        lock = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        stages = {name: entry for name, entry in lock["stages"].items() if _is_before_register(name)}
    except FileNotFoundError:
        return None
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a lock file of DVC. Restore it from git, or delete it.") from error
    return compute_fingerprint(stages)


def _is_before_register(name: str) -> bool:
    return name.split("@")[0] not in _AFTER_EVALUATION


def _run_git(folder: Path, *arguments: str) -> str | None:
    # --no-optional-locks: reading must not disturb a git command of the user
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
