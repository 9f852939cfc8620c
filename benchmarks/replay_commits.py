"""How often earlier commits would train again: the deps of dvc.yaml then, and the folders of now.

    python benchmarks/replay_commits.py [--last 633f885] [--commits 100]

For each commit, the Python files that it changed are compared with the deps of `train` in its own dvc.yaml and, moved
to where their content lies now, with the deps of today. Commits that change a value of params.yaml which `train`
reads are counted apart: they train again whatever the deps are.
"""

import argparse
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PACKAGE = "src/landmarks/"
# where the content of the modules of commit 633f885 lies now; the longest beginning counts
MOVED = {
    "adapters/": "tracking/",
    "adapters/bento": "serving/",
    "adapters/expectations": "tables/",
    "answers": "evaluation/",
    "data/": "tables/",
    "data/archives": "photos/",
    "data/attribution": "shards/",
    "data/batches": "network/",
    "data/demo/": "demo/",
    "data/duplicates": "photos/",
    "data/images": "photos/",
    "data/kaggle": "kaggle/",
    "data/photo_files": "photos/",
    "data/photo_table": "shards/",
    "data/planning": "shards/",
    "data/preparation": "shards/",
    "data/recognizer_files": "recognizer/",
    "data/request_log": "drift/",
    "data/schema": "schema/",
    "data/sharding": "shards/",
    "data/shards": "shards/",
    "data/sources": "photos/",
    "data/table_rows": "kaggle/",
    "data/tfrecords": "shards/",
    "data/vocabulary": "schema/",
    "drift": "drift/",
    "evaluation": "evaluation/",
    "figures/": "plotting/",
    "inference": "export/",
    "logistic": "export/",
    "metrics": "evaluation/",
    "model_card": "evaluation/",
    "modeling/": "network/",
    "modeling/bundle": "export/",
    "modeling/comparison": "export/",
    "parity": "export/",
    "recognition": "recognizer/",
    "rejection": "recognizer/",
    "retrieval/": "recognizer/",
    "retrieval/gap": "evaluation/",
    "retrieval/metrics": "evaluation/",
    "scoring": "kaggle/",
    "separation": "evaluation/",
    "service": "serving/",
    "serving_network": "recognizer/",
    "stages/candidates": "tracking/",
    "stages/drift": "drift/",
    "stages/sync": "tracking/",
    "submission": "kaggle/",
    "trivial": "evaluation/",
}


def run_git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_yaml(commit: str, path: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = YAML(typ="safe").load(run_git("show", f"{commit}:{path}"))
    except subprocess.CalledProcessError:
        return {}
    return found


def move(path: str) -> str:
    name = path.removeprefix(PACKAGE).removesuffix(".py")
    beginnings = [old for old in MOVED if name == old or (name.startswith(old) and old.endswith("/"))]
    return PACKAGE + MOVED[max(beginnings, key=len)] if beginnings else path


def depends_on(deps: list[str], path: str) -> bool:
    return any(path == dep or path.startswith(f"{dep.rstrip('/')}/") for dep in deps)


def read_train_params(commit: str, names: list[str]) -> dict[str, Any]:
    params = read_yaml(commit, "params.yaml")
    found = {}
    for name in names:
        value: Any = params
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found[name] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", default="633f885", help="the newest commit (default: the last one of the old layout)")
    parser.add_argument("--commits", type=int, default=100)
    args = parser.parse_args()
    now: list[str] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["deps"]
    before, after, values = [], [], []
    for commit in run_git("log", "--format=%h", f"-{args.commits}", args.last).split():
        stage = read_yaml(commit, "dvc.yaml").get("stages", {}).get("train", {})
        changed = [
            path for path in run_git("show", "--format=", "--name-only", commit).split("\n") if path.endswith(".py")
        ]
        if any(depends_on(stage.get("deps", []), path) for path in changed):
            before.append(commit)
        if any(depends_on(now, move(path)) for path in changed):
            after.append(commit)
        names = [name for name in stage.get("params", []) if isinstance(name, str)]
        if read_train_params(commit, names) != read_train_params(f"{commit}^", names):
            values.append(commit)
    print(f"of {args.commits} commits up to {args.last}, `train` runs again")
    print(f"  {len(before):3} for code, by the deps of each commit: {' '.join(before)}")
    print(f"  {len(after):3} for code, by the folders of now:       {' '.join(after)}")
    print(f"  {len(values):3} for a value of params.yaml, then and now: {' '.join(values)}")


if __name__ == "__main__":
    main()
