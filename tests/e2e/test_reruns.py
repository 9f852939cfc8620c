"""What trains again: ten edits of the kinds that people make, asked of DVC itself."""

import json

import pytest
from workspaces import Workspace

pytestmark = pytest.mark.slow

# what is edited, and the stages that change themselves; those that follow are not counted
EDITS = {
    "a chart": ("src/landmarks/plotting/evaluation.py", {"select", "evaluate"}),
    "an error text": ("src/landmarks/errors.py", set()),
    "the MLflow code": ("src/landmarks/tracking/runs.py", set()),
    "an expectation": ("src/landmarks/tables/expectations.py", {"acquire", "validate", "select", "prepare"}),
    "the PCA": ("src/landmarks/recognizer/pca.py", {"index", "evaluate", "register", "package"}),
    "a photo format": (
        "src/landmarks/photos/headers.py",
        {"acquire", "validate", "select", "prepare", "evaluate", "register", "package"},
    ),
    "another stage": ("src/landmarks/stages/select.py", {"select"}),
    "a comment in params.yaml": ("params.yaml", set()),
    "the loss": ("src/landmarks/network/losses.py", {"train", "index", "evaluate"}),
    "the augmentation": ("src/landmarks/network/input_pipeline.py", {"train", "index", "evaluate"}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_runs_the_stages_that_it_can_change(tiny: Workspace, edit: str) -> None:
    name, expected = EDITS[edit]
    path = tiny.root / name
    before = path.read_bytes()
    path.write_bytes(before + b"\n# edited\n")
    try:
        changed = find_changed_code(tiny)
    finally:
        path.write_bytes(before)
    assert changed == expected
    assert ("train" in changed) == (edit in ("the loss", "the augmentation"))


def test_a_cache_or_a_swap_file_runs_nothing(tiny: Workspace) -> None:
    strays = [tiny.root / "src/landmarks/network" / name for name in (".losses.py.swp", "losses.py~", "notes.md")]
    for path in strays:
        path.write_text("stray")
    try:
        assert find_changed_code(tiny) == set()
    finally:
        for path in strays:
            path.unlink()


def find_changed_code(workspace: Workspace) -> set[str]:
    """The stages that DVC would run for a change of their code or their parameters."""
    status = json.loads(workspace.run("dvc", "status", "--json").splitlines()[-1])
    return {
        stage.split("@")[0]
        for stage, changes in status.items()
        for change in changes
        if isinstance(change, dict)
        for path in change.get("changed deps", {})
        if path.startswith("src/") or path == "params.yaml"
    }
