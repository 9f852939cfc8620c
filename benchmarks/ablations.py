"""What each part of a recipe is worth: leave one out, train the augmented variant again, compare on val.

    python -m benchmarks.ablations [NAME ...] [--experiment landmarks81] [--folder .work/ablations] [--epochs 8]

Eight epochs of landmarks81 take about ten minutes on two cores; the experiment's own schedule is shortened, not cut.
The data set is prepared once, in a clone of this repository; each training writes its figures beside it, so that a run
that was stopped goes on. All figures are of val, as served: none of test is written down. Without NAME all are trained,
the whole recipe first.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from landmarks.data.schema import Split
from landmarks.inference import run_split
from landmarks.recognition import Recognizer
from landmarks.retrieval.metrics import score_search

ROOT = Path(__file__).parents[1]

Changes = dict[str, dict[str, Any]]
ABLATIONS: dict[str, Changes] = {
    "whole": {},
    "batch-normalisation momentum 0.99": {"network": {"batch_norm_momentum": 0.99}},
    "no warm-up": {"train": {"warmup_epochs": 0}},
    "constant rate": {"train": {"decay": "constant"}},
    "no label smoothing": {"train": {"label_smoothing": 0.0}},
    "no weight decay": {"train": {"weight_decay": 0.0}},
    "flattened": {"network": {"pooling": "flatten"}},
    "gem pooling": {"network": {"pooling": "gem"}},
    "512-d layer": {"network": {"embedding_dim": 512}},
    "arcface": {"network": {"head": "arcface", "embedding_dim": 512}},
    "small stem": {"network": {"stem": "small"}},
    "smaller photos at first": {
        "train": {"resizing": [{"until": 0.5, "image_size": 32}, {"until": 0.75, "image_size": 48}]}
    },
    "no mixing": {"augmentation": {"mixup_fraction": 0.0, "cutmix_fraction": 0.0}},
    "no flip": {"augmentation": {"flip": False}},
    "weaker crops": {"augmentation": {"min_crop_area_fraction": 0.8}},
    "no colours": {"augmentation": {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}},
    "no mirror image": {"network": {"mirror": False}},
    "whole photos": {"augmentation": {"test_center_crop": 1.0}},
    "last weights": {"train": {"weight_averaging": None}},
    "branches not zeroed": {"network": {"zero_init_residual": False}},
    "sgd": {"train": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4}},
}


def prepare(folder: Path, experiment: str) -> None:
    if (folder / "data" / "shards" / "shards.json").exists():
        return
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    run(folder, "landmarks", "params", experiment)
    for stage in ("acquire", "validate", "select", "prepare"):
        run(folder, "landmarks", stage)


def run(folder: Path, *command: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=True)


def train(folder: Path, experiment: str, name: str, epochs: int) -> dict[str, float]:
    """Figures of one training; those of an earlier one of as many epochs where there are some."""
    result = folder / "ablations" / f"{name}, {epochs} epochs.json"
    if not result.exists():
        run(folder, "landmarks", "params", experiment)
        yaml = YAML()
        params = yaml.load((folder / "params.yaml").read_text())
        for section, values in ABLATIONS[name].items():
            params[section].update(values)
        params["train"]["epochs"] = epochs
        with (folder / "params.yaml").open("w") as stream:
            yaml.dump(params, stream)
        run(folder, "landmarks", "train", "augmented")
        run(folder, "landmarks", "index", "augmented")
        figures = read_figures(folder / "reports" / "train" / "augmented") | measure_val(folder)
        result.parent.mkdir(exist_ok=True)
        result.write_text(json.dumps(figures))
        return figures
    known: dict[str, float] = json.loads(result.read_text())
    return known


def read_figures(reports: Path) -> dict[str, float]:
    receipt = json.loads((reports / "run.json").read_text())
    with (reports / "history.csv").open(newline="") as stream:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    return {
        "train_inference_accuracy": receipt["metrics"]["train_inference_accuracy"],
        "epochs": float(len(history)),
        "minutes": (receipt["ended_ms"] - receipt["started_ms"]) / 60_000,
    }


def measure_val(folder: Path) -> dict[str, float]:
    """What the trained network, as it is served, says of val."""
    recognizer = Recognizer.load(folder / "models" / "augmented")
    batches = list(run_split(recognizer.network, folder / "data" / "shards", Split.VAL))
    queries = ((batch.embeddings, batch.labels) for batch in batches)
    found = score_search(recognizer.gallery.index.search, np.array(recognizer.gallery.labels), queries)
    facts = json.loads((folder / "models" / "augmented" / "index" / "index.json").read_text())
    return {
        "top1": float(np.concatenate([batch.correct for batch in batches]).mean()),
        "map_at_100": found.mean_average_precision,
        "auroc": facts["auroc"] or float("nan"),  # there may be no photos of no landmark
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(ABLATIONS), metavar="NAME", help=", ".join(ABLATIONS))
    parser.add_argument("--experiment", default="landmarks81")
    parser.add_argument("--folder", type=Path, default=ROOT / ".work" / "ablations")
    parser.add_argument("--epochs", type=int, default=8, help="in place of the experiment's")
    args = parser.parse_args()
    folder = args.folder / args.experiment
    prepare(folder, args.experiment)
    print("| recipe | top-1 | mAP@100 | AUROC | training photos | epochs | minutes |\n|---|---|---|---|---|---|---|")
    for name in args.names:
        figures = train(folder, args.experiment, name, args.epochs)
        columns = ("top1", "map_at_100", "auroc", "train_inference_accuracy")
        cells = " | ".join(f"{figures[column]:.3f}" for column in columns)
        print(f"| {name} | {cells} | {figures['epochs']:.0f} | {figures['minutes']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
