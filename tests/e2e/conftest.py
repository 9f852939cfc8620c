"""The demo as it is shipped, and a tiny one, each run once and shared by the end-to-end tests."""

import shutil

import pytest
from workspaces import Workspace, copy_project, make_tiny


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The shipped demo after `dvc repro` and `landmarks sync`."""
    workspace = copy_project(tmp_path_factory.mktemp("demo") / "landmarks")
    shutil.copy2(workspace.root / "experiments" / "default.yaml", workspace.root / "params.yaml")
    (workspace.root / "dvc.lock").unlink(missing_ok=True)
    workspace.commit("Begin")
    workspace.run("dvc", "repro")
    workspace.run("landmarks", "sync")
    return workspace


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A demo of four landmarks after `dvc repro`."""
    workspace = make_tiny(tmp_path_factory.mktemp("tiny") / "landmarks")
    workspace.run("dvc", "repro")
    workspace.commit("Run")
    return workspace
