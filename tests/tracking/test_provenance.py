"""Origins are told from real git repositories and from lock files as DVC writes them."""

import subprocess
from pathlib import Path

import pytest

from landmarks.errors import ArtifactError
from landmarks.tracking.provenance import collect_tags, compute_lock_digest, describe_commit

LOCK = """\
schema: '2.0'
stages:
  train@plain:
    cmd: landmarks train plain
    outs:
    - path: models/plain/bundle
      md5: {bundle}
  register:
    cmd: landmarks register
    outs:
    - path: reports/registration.json
      md5: {registration}
  package:
    cmd: landmarks package
"""


def run_git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    run_git(tmp_path, "init", "-q")
    for name in ("code.py", "dvc.lock", "reports/metrics.json", "inner/other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("first")
    run_git(tmp_path, "add", ".")
    run_git(tmp_path, "commit", "-q", "-m", "First")
    return tmp_path


def test_clean_commit_is_named_as_git_names_it(project: Path) -> None:
    assert describe_commit(project) == run_git(project, "rev-parse", "HEAD")


def test_changed_code_is_dirty_seen_from_any_folder_of_the_project(project: Path) -> None:
    (project / "code.py").write_text("second")
    assert describe_commit(project / "inner") == run_git(project, "rev-parse", "HEAD") + "-dirty"


def test_what_the_pipeline_rewrites_is_not_dirt(project: Path) -> None:
    (project / "dvc.lock").write_text("second")
    (project / "reports" / "metrics.json").write_text("second")
    (project / "untracked.txt").write_text("new")
    assert describe_commit(project) == run_git(project, "rev-parse", "HEAD")


def test_outside_of_git_there_is_no_commit(tmp_path: Path) -> None:
    assert describe_commit(tmp_path) is None
    assert collect_tags(tmp_path, {}) == {}


def test_tags_name_the_dvc_experiment_where_there_is_one(project: Path) -> None:
    commit = run_git(project, "rev-parse", "HEAD")
    environ = {"DVC_EXP_NAME": "puffy-daks", "DVC_EXP_BASELINE_REV": "abc", "DVC_STAGE": "train@plain"}
    assert collect_tags(project, environ) == {
        "git_commit": commit,
        "dvc_exp_name": "puffy-daks",
        "dvc_exp_baseline": "abc",
    }
    assert collect_tags(project, {"DVC_EXP_NAME": ""}) == {"git_commit": commit}


def test_lock_digest_sees_the_stages_before_register_alone(tmp_path: Path) -> None:
    digests = {}
    for name, bundle, registration in (("a", "1", "1"), ("b", "1", "2"), ("c", "2", "1")):
        path = tmp_path / name
        path.write_text(LOCK.format(bundle=bundle, registration=registration))
        digests[name] = compute_lock_digest(path)
    assert digests["a"] == digests["b"] != digests["c"]


def test_without_a_lock_file_there_is_no_digest(tmp_path: Path) -> None:
    assert compute_lock_digest(tmp_path / "dvc.lock") is None


@pytest.mark.parametrize("text", ["", "stages: 3", "a: [", "- x"])
def test_garbled_lock_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"dvc\.lock is not a lock file of DVC"):
        compute_lock_digest(path)
