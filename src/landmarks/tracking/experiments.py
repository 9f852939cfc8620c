"""The experiments of `dvc exp run`, each with the scores of its better variant and the parameters that it changes.

`dvc exp show` has a column for every metric and every parameter, some three hundred; this table has ten.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from landmarks.errors import LandmarksError

SCORES = {
    "top1": "top-1",
    "macro_recall": "macro recall",
    "auroc": "AUROC",
    "gap": "GAP",
    "map_at_100": "mAP@100",
    "ece": "ECE",
}
_HEADINGS = ("experiment", "created", "variant", *SCORES.values(), "changed")
_WORKSPACE, _SUCCESS = "workspace", "success"
_MOST_CHANGES = 4
_METRIC = "register.metric"


@dataclass(frozen=True)
class Experiment:
    """A row of the table.

    Attributes:
        name: of the experiment, the branch or the commit; `workspace` is what lies in the folder.
        created: when, ISO 8601; empty for the workspace.
        variant: the better one by `register.metric`; without any, `queued`, `running` or `failed`.
        scores: of that variant, by the names of `SCORES`; empty if nothing is evaluated.
        changes: parameters that differ from those of the commit that it began with, by flat names.
    """

    name: str
    created: str
    variant: str
    scores: Mapping[str, float]
    changes: Mapping[str, Any]


def list_experiments(commits: int = 1) -> list[Experiment]:
    """List the workspace, the last commits and their experiments, as DVC keeps them.

    Args:
        commits: how many, from the present one back.

    Raises:
        LandmarksError: DVC cannot list them; this is no project of DVC, for example.
    """
    command = [sys.executable, "-m", "dvc", "exp", "show", "--json", "-n", str(commits)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        return [*_read_rows(json.loads(done.stdout))]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        reason = done.stderr.strip().splitlines()[-1:] or ["there is no commit yet."]
        raise LandmarksError(
            f"DVC cannot list the experiments: {reason[0]} Run this in the folder of a project."
        ) from error


def format_experiments(experiments: list[Experiment]) -> str:
    """Format a table for a terminal, a line per experiment."""
    rows = [_HEADINGS, *(_format_row(experiment) for experiment in experiments)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _read_rows(baselines: list[dict[str, Any]]) -> Iterator[Experiment]:
    workspace, *commits = baselines
    yield _read_row(workspace, commits[0] if commits else workspace)
    for commit in commits:
        yield _read_row(commit, commit)
        for group in commit["experiments"] or ():
            state = (group["executor"] or {}).get("state") or ""
            yield _read_row(group["revs"][0], commit, group["name"] or "", state)


def _read_row(item: Mapping[str, Any], baseline: Mapping[str, Any], name: str = "", state: str = "") -> Experiment:
    data = item["data"] or {}
    params = _read_params(data)
    # DVC gives one that failed or has not ended the metrics of the commit that it began with
    is_done = state.lower() in ("", _SUCCESS) and not item["error"]
    files = (data.get("metrics") or {}).items() if is_done else ()
    evaluated = {
        PurePosixPath(path).parent.name: file["data"] for path, file in files if isinstance(file.get("data"), dict)
    }
    metric = params.get(_METRIC, "top1")
    best = max(evaluated, key=lambda variant: evaluated[variant].get(metric, 0.0), default="")
    unlike = _read_params(baseline["data"] or {})
    return Experiment(
        name or item["name"] or (item["rev"] if item["rev"] == _WORKSPACE else item["rev"][:7]),
        data.get("timestamp") or "",
        best or state.lower() or ("failed" if item["error"] else ""),
        {key: float(evaluated[best][key]) for key in SCORES if key in evaluated[best]} if best else {},
        {key: value for key, value in params.items() if key in unlike and unlike[key] != value},
    )


def _read_params(data: Mapping[str, Any]) -> dict[str, Any]:
    files = (data.get("params") or {}).values()
    return {name: value for file in files for name, value in _flatten(file.get("data") or {})}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _format_row(experiment: Experiment) -> tuple[str, ...]:
    scores = (f"{experiment.scores[key]:.3f}" if key in experiment.scores else "" for key in SCORES)
    created = experiment.created.replace("T", " ")[:16]
    return (experiment.name, created, experiment.variant, *scores, _format_changes(experiment.changes))


def _format_changes(changes: Mapping[str, Any]) -> str:
    shown = [f"{name}={value}" for name, value in list(changes.items())[:_MOST_CHANGES]]
    more = len(changes) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])
