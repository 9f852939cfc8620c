"""The store is filled again from the receipts: after it was deleted, in another place, or where it says otherwise."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from landmarks.cli import main
from landmarks.errors import ArtifactError
from landmarks.files.parsing import read_json
from landmarks.files.writing import hold_lock
from landmarks.stages.register import register
from landmarks.tracking.receipts import read_receipt
from landmarks.tracking.registry import list_models, resolve_alias, set_alias
from landmarks.tracking.runs import RECEIPT_TAG, read_values
from landmarks.tracking.store import open_store
from landmarks.tracking.sync import sync
from reseal import write_anew
from tiny_workspaces import EXPORT, Workspace, make_params, use_empty_store, write_evaluation, write_workspace

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_empty_store(monkeypatch, tmp_path / "store")


@pytest.fixture
def workspace(store: Path, tmp_path: Path) -> Workspace:  # noqa: ARG001
    workspace = write_workspace(tmp_path / "workspace")
    register(workspace.models, workspace.reports, workspace.shards, make_params(), EXPORT, workspace.root)
    return workspace


def list_changes(workspace: Workspace) -> tuple[str, ...]:
    report = sync(workspace.models, workspace.reports)
    assert report.problems == ()
    return report.changes


def dump_store() -> dict[str, Any]:
    """All that the store knows, without the ids and times that it chose itself."""
    store = open_store()
    runs: dict[str, Any] = {}
    for run in store.client.search_runs([e.experiment_id for e in store.client.search_experiments()]):
        runs[run.info.run_name] = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "tags": {name: value for name, value in run.data.tags.items() if name != RECEIPT_TAG},
            "values": read_values(store, run.info.run_id),
            "files": sorted(item.path for part in ("train", "evaluate") for item in list_files(run.info.run_id, part)),
            "models": len(run.outputs.model_outputs),
        }
    versions = {
        version.version: (version.name, version.tags, version.aliases, describe(version.name, version.version))
        for version in list_models()
    }
    return {"runs": runs, "versions": versions}


def list_files(run_id: str, part: str) -> Any:
    return open_store().client.list_artifacts(run_id, part)


def describe(name: str, version: str) -> str:
    return str(open_store().client.get_model_version(name, version).description)


def test_nothing_is_done_where_the_store_agrees(workspace: Workspace) -> None:
    before = dump_store()
    assert list_changes(workspace) == ()
    assert dump_store() == before


def test_a_lost_store_comes_back_whole(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dump_store()
    use_empty_store(monkeypatch, tmp_path / "again")
    changes = list_changes(workspace)
    assert {"plain: the run", "augmented: version 2 of tiny", "augmented: alias champion"} <= set(changes)
    assert dump_store() == before
    assert list_changes(workspace) == ()
    assert dump_store() == before
    run = resolve_alias("tiny", "champion").run_id
    assert read_receipt(workspace.reports / "train" / "augmented" / "run.json").run_id != run


def test_other_clones_fill_their_own_stores(
    workspace: Workspace, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump_store()
    clone = Workspace(tmp_path / "clone")
    shutil.copytree(workspace.root, clone.root)
    use_empty_store(monkeypatch, tmp_path / "other")
    list_changes(clone)
    assert dump_store() == before
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    assert list_changes(clone) == ()


def test_an_alias_that_exists_is_never_moved(workspace: Workspace) -> None:
    store, challenger = open_store(), resolve_alias("tiny", "challenger")
    set_alias(store, challenger, "champion")
    assert list_changes(workspace) == ()
    assert resolve_alias("tiny", "champion").version == challenger.version
    store.client.delete_registered_model_alias("tiny", "challenger")
    assert list_changes(workspace) == ("plain: alias challenger",)


def test_a_restored_result_is_shown_again(workspace: Workspace) -> None:
    """As after a return to old parameters, where DVC puts old receipts back and runs nothing."""
    old = workspace.root.with_name("old")
    shutil.copytree(workspace.root, old)
    write_evaluation(workspace, "plain", {"top1": 0.99, "top5": 1.0})
    register(workspace.models, workspace.reports, workspace.shards, make_params(), EXPORT, workspace.root)
    assert resolve_alias("tiny", "champion").tags["variant"] == "plain"
    restored = Workspace(old)
    changes = list_changes(restored)
    assert {"plain: test/top1", "plain: files of evaluate", "plain: top1"} <= set(changes)
    run_id = read_receipt(restored.reports / "train" / "plain" / "run.json").run_id
    assert open_store().client.get_run(run_id).data.metrics["test/top1"] == 0.5
    champion = resolve_alias("tiny", "champion")
    assert (champion.tags["variant"], champion.tags["top1"]) == ("plain", "0.5")
    assert list_changes(restored) == ()


def test_evaluation_parameters_come_back_as_tags(workspace: Workspace) -> None:
    run_id = read_receipt(workspace.reports / "train" / "plain" / "run.json").run_id
    store = open_store()
    store.client.delete_tag(run_id, "evaluate.seed")
    assert list_changes(workspace) == ("plain: evaluate.seed",)
    assert store.client.get_run(run_id).data.tags["evaluate.seed"] == "0"


def test_lost_model_files_are_uploaded_to_their_version_again(workspace: Workspace, store: Path) -> None:
    champion = resolve_alias("tiny", "champion")
    for lost in store.parent.glob(f"mlartifacts/**/{champion.model_id}/**/embeddings.npy"):
        lost.unlink()
    assert list_changes(workspace) == (f"augmented: version {champion.version} of tiny",)
    assert resolve_alias("tiny", "champion") == champion
    assert list_changes(workspace) == ()


def test_before_the_evaluation_there_are_runs_alone(
    store: Path,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace = write_workspace(tmp_path / "early")
    shutil.rmtree(workspace.reports / "evaluate")
    use_empty_store(monkeypatch, tmp_path / "again")
    assert list_changes(workspace) == ("plain: the run", "augmented: the run")
    assert list_models() == []


def test_a_model_that_is_gone_from_the_workspace_is_a_problem_only_where_it_is_needed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(workspace.models / "plain")
    assert list_changes(workspace) == ()
    use_empty_store(monkeypatch, tmp_path / "again")
    report = sync(workspace.models, workspace.reports)
    assert report.problems == ("plain: the registered model is no longer in the workspace. Run `dvc repro`.",)
    assert resolve_alias("tiny", "champion").tags["variant"] == "augmented"
    assert "not possible: plain" in report.describe()


def test_a_model_trained_since_is_not_taken_for_the_registered_one(workspace: Workspace) -> None:
    path = workspace.models / "plain" / "index" / "index.json"
    path.write_text(json.dumps(read_json(path) | {"threshold": 0.125}))
    before = dump_store()
    assert list_changes(workspace) == ()
    assert dump_store() == before


def test_what_a_killed_registration_left_is_deleted(workspace: Workspace, store: Path) -> None:
    opened = open_store()
    run = opened.client.get_run(read_receipt(workspace.reports / "train/plain/run.json").run_id)
    arguments = (run.info.experiment_id, "plain")
    left = opened.client.create_logged_model(*arguments, source_run_id=run.info.run_id)
    opened.client.log_model_artifacts(left.model_id, str(workspace.models / "plain" / "bundle"))
    files = Path(left.artifact_location.removeprefix("file://"))
    assert (files / "bundle.json").is_file()
    with hold_lock(store.with_name(f"{store.name}.lock"), "registering a model"):  # as if it went on
        assert list_changes(workspace) == ()
    assert list_changes(workspace) == (f"plain: unfinished model {left.model_id} deleted",)
    assert not files.exists()
    found = opened.client.search_logged_models([run.info.experiment_id])
    assert {(str(model.status), model.name) for model in found} == {("READY", "plain"), ("READY", "augmented")}
    assert list_changes(workspace) == ()


def test_an_empty_workspace_is_in_agreement(store: Path, tmp_path: Path) -> None:
    report = sync(tmp_path / "models", tmp_path / "reports")
    assert report.describe() == f"The tracking store sqlite:///{store} agrees with the receipts of 0 runs."


@pytest.mark.parametrize("facts", [{}, {"model_name": "tiny", "versions": {"plain": {}}}])
def test_a_registration_of_something_else_is_named(workspace: Workspace, facts: dict[str, object]) -> None:
    write_anew(workspace.reports / "registration.json", facts)
    with pytest.raises(ArtifactError, match=r"registration\.json is not the receipt of a registration"):
        sync(workspace.models, workspace.reports)


def test_the_default_store_is_made_in_the_working_directory(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump_store()
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    code = "from pathlib import Path; from landmarks.tracking.sync import sync; sync(Path('models'), Path('reports'))"
    for _ in range(2):
        shutil.rmtree(workspace.root / "mlartifacts", ignore_errors=True)
        (workspace.root / "mlflow.db").unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", code], cwd=workspace.root, env=environ, check=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.root / 'mlflow.db'}")
    assert dump_store() == before
    assert sorted(path.name for path in workspace.root.iterdir()) == [
        "data",
        "mlartifacts",
        "mlflow.db",
        "mlflow.db.lock",
        "models",
        "reports",
    ]


def test_with_nothing_to_do_it_is_quick_and_needs_no_tensorflow(workspace: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from landmarks.tracking.sync import sync\n"
        "assert not sync(Path('models'), Path('reports')).changes\n"
        "assert not {'tensorflow', 'keras', 'faiss', 'ai_edge_litert'} & set(sys.modules)\n"
    )

    def measure(code: str) -> float:
        # processor time, because other work on the machine says nothing about the command
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], cwd=workspace.root, env=dict(os.environ), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # processors differ by a factor of three; importing MLflow is the least that it can take
    assert measure(code) < 4 * measure("import mlflow")


def test_what_the_store_refuses_is_said_in_a_sentence(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the database of a server, whose artifacts only the server can reach
    use_empty_store(monkeypatch, tmp_path / "server")
    open_store().client.create_experiment("tiny", artifact_location="mlflow-artifacts:/0")
    monkeypatch.chdir(workspace.root)
    done = CliRunner().invoke(main, ["sync"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: The tracking store sqlite:///.* cannot do this: .*\n", done.stderr)
