"""The table of experiments, from what `dvc exp show --json` prints; real DVC is in test_dvc_experiments.py."""

from pathlib import Path
from typing import Any

import pytest

from landmarks.errors import LandmarksError
from landmarks.tracking.experiments import Experiment, _read_rows, format_experiments, list_experiments


def write_item(rev: str, name: str | None, epochs: int, top1: dict[str, float], error: Any = None) -> dict[str, Any]:
    params = {"train": {"epochs": epochs, "seed": 0}, "register": {"metric": "top1"}}
    metrics = {f"reports/evaluate/{variant}/metrics.json": {"data": {"top1": value}} for variant, value in top1.items()}
    data = {"timestamp": "2026-01-02T03:04:05", "params": {"params.yaml": {"data": params}}, "metrics": metrics}
    return {"rev": rev, "name": name, "data": data, "error": error, "experiments": None}


def write_group(name: str, item: dict[str, Any], state: str | None = None) -> dict[str, Any]:
    return {"name": name, "revs": [item], "executor": {"state": state} if state else None}


def test_each_experiment_shows_its_better_variant_and_what_it_changed() -> None:
    commit = write_item("a" * 40, "main", 10, {"plain": 0.5, "augmented": 0.6})
    commit["experiments"] = [
        write_group("longer", write_item("b" * 40, "longer", 20, {"plain": 0.7, "augmented": 0.6})),
        write_group("later", write_item("c" * 40, "later", 30, {"plain": 0.5}), "Running"),
        write_group("broken", write_item("d" * 40, "broken", 40, {"plain": 0.5}), "Failed"),
    ]
    rows = [*_read_rows([write_item("workspace", None, 11, {"plain": 0.4}), commit])]
    created = "2026-01-02T03:04:05"
    assert rows == [
        Experiment("workspace", created, "plain", {"top1": 0.4}, {"train.epochs": 11}),
        Experiment("main", created, "augmented", {"top1": 0.6}, {}),
        Experiment("longer", created, "plain", {"top1": 0.7}, {"train.epochs": 20}),
        Experiment("later", created, "running", {}, {"train.epochs": 30}),
        Experiment("broken", created, "failed", {}, {"train.epochs": 40}),
    ]
    head, *lines = format_experiments(rows).splitlines()
    assert head.split("  ")[0] == "experiment"
    assert len([name for name in head.split("  ") if name.strip()]) == 10
    assert lines[2].split() == ["longer", "2026-01-02", "03:04", "plain", "0.700", "train.epochs=20"]


def test_many_changes_are_counted() -> None:
    changes = {f"train.a{number}": number for number in range(6)}
    text = format_experiments([Experiment("one", "", "", {}, changes)])
    assert text.endswith("train.a0=0, train.a1=1, train.a2=2, train.a3=3, and 2 more")


@pytest.mark.slow
def test_outside_a_project_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LandmarksError, match=r"you are not inside of a DVC repository.*folder of a project"):
        list_experiments()
