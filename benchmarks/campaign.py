"""`make campaign`: the long runs behind docs/results.md, each a whole pipeline in a clone of this repository.

    python -m benchmarks.campaign [demo-0 demo-1 demo-2 landmarks81 landmarks81+study ...] [--folder .work/campaign]

A run is named by its experiments and a seed: `landmarks81+study-1` is `landmarks params landmarks81 study` trained with
seed 1; `demo-1` is the demo drawn with seed 1. A run that is there already is not run again; one that was stopped goes
on with the code it began with, unless its folder is removed. Several campaigns may share a folder: each run belongs to
one of them at a time. The sample sets are found through LANDMARKS_SAMPLES. At the end the figures of all runs are
printed as a table, and for sets with several seeds their spread, that of the gain by augmentation too.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from landmarks.errors import LandmarksError
from landmarks.files.writing import hold_lock, replace_folder

ROOT = Path(__file__).parents[1]
RUNS = (
    *("demo-0", "demo-1", "demo-2"),
    *("landmarks81-0", "landmarks81-1", "landmarks81-2", "landmarks81+study-0"),
    *("landmarks10_64px-0", "landmarks10_64px+study-0"),
)
COLUMNS = (
    *("top1", "top1_low", "top1_high", "top5", "macro_recall", "ece"),
    *("gap", "gap_without_distractors", "auroc", "shortcut_baseline_auroc", "map_at_100"),
)


def complete(name: str, folder: Path) -> None:
    """Begin a run, go on with it, or leave it as it is when it is there whole.

    Raises:
        LandmarksError: another campaign runs it.
    """
    with hold_lock(folder.with_suffix(".lock"), f"running {name}"):
        if not folder.exists():
            with replace_folder(folder) as clone:
                subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        if not (folder / "minutes.json").exists():
            run_pipeline(name, folder)


def run_pipeline(name: str, folder: Path) -> None:
    """Run `dvc repro` for a run's experiments and seed, with the code of its own clone."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": path, "PYTHONPATH": str(folder / "src"), "BENTOML_HOME": str(folder / ".bentoml")}
    environment = os.environ | own
    experiments, _, seed = name.partition("-")
    merged = ["default" if experiment == "demo" else experiment for experiment in experiments.split("+")]
    subprocess.run(["landmarks", "params", *merged], cwd=folder, env=environment, check=True)
    set_seed(folder / "params.yaml", int(seed or 0), is_demo=experiments == "demo")
    started = time.monotonic()
    subprocess.run(["dvc", "repro"], cwd=folder, env=environment, check=True)
    (folder / "minutes.json").write_text(json.dumps({"minutes": (time.monotonic() - started) / 60}))


def set_seed(path: Path, seed: int, is_demo: bool) -> None:
    """Of the drawing, or of the training where the photos are given."""
    yaml = YAML()
    params = yaml.load(path.read_text())
    (params["acquire"]["demo"] if is_demo else params["train"])["seed"] = seed
    with path.open("w") as stream:
        yaml.dump(params, stream)


def read_metrics(folder: Path, variant: str) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((folder / "reports" / "evaluate" / variant / "metrics.json").read_text())
    return metrics


def describe(name: str, folder: Path) -> list[str]:
    rows = []
    for variant in ("plain", "augmented"):
        metrics = read_metrics(folder, variant)
        run: dict[str, Any] = json.loads((folder / f"reports/train/{variant}/run.json").read_text())
        minutes = (run["ended_ms"] - run["started_ms"]) / 60_000
        cells = [f"{metrics[column]:.3f}" if column in metrics else "-" for column in COLUMNS]
        epochs = f"{run['metrics']['best_epoch']:.0f}/{run['params']['train.epochs']}"
        rows.append(
            f"| {name} | {variant} | {metrics['test_photos']:.0f} | {' | '.join(cells)} | {epochs} | {minutes:.1f} |"
        )
    return rows


def describe_spread(runs: Sequence[str], folder: Path) -> Iterator[str]:
    """Mean and standard deviation over the seeds of a set: of each variant, and of the gain from plain to augmented."""
    for experiments, seeds in itertools.groupby(sorted(runs), key=lambda run: run.partition("-")[0]):
        names = list(seeds)
        if len(names) == 1:
            continue
        found = {v: [read_metrics(folder / name, v) for name in names] for v in ("plain", "augmented")}
        for column in ("top1", "top5", "gap", "gap_without_distractors", "auroc", "map_at_100"):
            if column not in found["plain"][0]:  # there are no photos of no landmark
                continue
            plain, augmented = ([metrics[column] for metrics in rows] for rows in found.values())
            gains = [after - before for before, after in zip(plain, augmented, strict=True)]
            cells = [f"{statistics.mean(x):.3f} ± {statistics.stdev(x):.3f}" for x in (plain, augmented, gains)]
            yield f"| {experiments}, {len(names)} seeds | {column} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=RUNS, metavar="RUN", help=", ".join(RUNS))
    parser.add_argument("--folder", type=Path, default=ROOT / ".work" / "campaign")
    args = parser.parse_args()
    for name in args.runs:
        try:
            complete(name, args.folder.resolve() / name)
        except LandmarksError as error:
            sys.exit(str(error))
    print(f"| set | variant | test photos | {' | '.join(COLUMNS)} | best epoch | minutes of training |")
    print("|" + "---|" * (len(COLUMNS) + 5))
    for name in args.runs:
        print("\n".join(describe(name, args.folder / name)))
    spread = list(describe_spread(args.runs, args.folder))
    if spread:
        print("\n| set | figure | plain | augmented | augmented - plain |\n|---|---|---|---|---|")
        print("\n".join(spread))


if __name__ == "__main__":
    main()
