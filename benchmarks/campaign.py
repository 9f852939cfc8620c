"""`make campaign`: the long runs behind docs/results.md, each a whole pipeline in a clone of this repository.

    python -m benchmarks.campaign [demo-0 demo-1 demo-2 landmarks81 landmarks10_64px] [--folder .work/campaign]

A run that is there already is not run again. The sample sets are found through LANDMARKS_SAMPLES. At the end the
figures of all runs are printed as a table.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RUNS = ("demo-0", "demo-1", "demo-2", "landmarks81", "landmarks10_64px")
COLUMNS = ("top1", "top1_low", "top1_high", "top5", "macro_recall", "ece", "auroc")


def run_pipeline(name: str, folder: Path) -> None:
    """Run `dvc repro` for a data set, or for the demo drawn with a seed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "BENTOML_HOME": str(folder / ".bentoml")}
    experiment = name if "-" not in name else "default"
    subprocess.run(["landmarks", "params", experiment], cwd=folder, env=environment, check=True)
    if name.startswith("demo-"):
        params = folder / "params.yaml"
        seed = f"seed: {name.removeprefix('demo-')}"
        params.write_text(params.read_text().replace("seed: 0", seed, 1))
    started = time.monotonic()
    subprocess.run(["dvc", "repro"], cwd=folder, env=environment, check=True)
    (folder / "minutes.json").write_text(json.dumps({"minutes": (time.monotonic() - started) / 60}))


def describe(name: str, folder: Path) -> list[str]:
    rows = []
    for variant in ("plain", "augmented"):
        metrics: dict[str, Any] = json.loads((folder / f"reports/evaluate/{variant}/metrics.json").read_text())
        run: dict[str, Any] = json.loads((folder / f"reports/train/{variant}/run.json").read_text())
        minutes = (run["ended_ms"] - run["started_ms"]) / 60_000
        cells = [f"{metrics[column]:.3f}" if column in metrics else "-" for column in COLUMNS]
        epochs = f"{run['metrics']['best_epoch']:.0f}/{run['params']['train.epochs']}"
        rows.append(
            f"| {name} | {variant} | {metrics['test_photos']:.0f} | {' | '.join(cells)} | {epochs} | {minutes:.1f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=RUNS, choices=RUNS)
    parser.add_argument("--folder", type=Path, default=ROOT / ".work" / "campaign")
    args = parser.parse_args()
    for name in args.runs:
        folder = args.folder / name
        if not (folder / "minutes.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
            run_pipeline(name, folder)
    print(f"| set | variant | test photos | {' | '.join(COLUMNS)} | best epoch | minutes of training |")
    print("|" + "---|" * (len(COLUMNS) + 5))
    for name in args.runs:
        print("\n".join(describe(name, args.folder / name)))


if __name__ == "__main__":
    main()
