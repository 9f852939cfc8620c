"""What each part of a recipe is worth: leave one out, train the augmented variant again, compare on val.

    python benchmarks/ablations.py [NAME ...] [--experiment landmarks81] [--folder .work/ablations] [--epochs 8]

Eight epochs of landmarks81 take about ten minutes on two cores; the experiment's own schedule is shortened, not cut.
The data set is prepared once, in a clone of this repository; each training writes its figures beside it, so that a run
that was stopped goes on. All figures are of val, as served: none of test is written down. Beside top-1 stands its
difference to the whole recipe, which is trained in any case, with the 95 % interval that the same photos give; what
another seed would change is not in it. Without NAME all are trained.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from landmarks.evaluation.retrieval import score_search
from landmarks.export.predict import predict_split
from landmarks.network.networks import build_classifier, build_recognizer
from landmarks.network.trained import load_network, read_training, write_network
from landmarks.params import read_params
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.network_format import PROBABILITIES
from recipes import ABLATIONS, ANSWERS, WHOLE, Changes

ROOT = Path(__file__).parents[1]


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


def measure(folder: Path, experiment: str, name: str, epochs: int) -> dict[str, Any]:
    """Figures of one recipe, of an earlier run of as many epochs if there is one; ANSWERS need those of the whole."""
    results = folder / "ablations"
    result = results / f"{name}, {epochs} epochs.json"
    if result.exists():
        known: dict[str, Any] = json.loads(result.read_text())
        return known
    results.mkdir(exist_ok=True)
    run(folder, "landmarks", "params", experiment)
    change_params(folder / "params.yaml", (ABLATIONS | ANSWERS)[name], epochs)
    network, kept = folder / "models" / "augmented" / "network", results / f"{WHOLE}, {epochs} epochs"
    if name in ANSWERS:
        answer_otherwise(kept, network, folder / "params.yaml")
        figures = measure(folder, experiment, WHOLE, epochs) | {"minutes": 0.0}
    else:
        run(folder, "landmarks", "train", "augmented")
        figures = read_figures(folder / "reports" / "train" / "augmented")
    if name == WHOLE:
        shutil.copytree(network, kept, dirs_exist_ok=True)
    run(folder, "landmarks", "index", "augmented")
    figures |= measure_val(folder)
    result.write_text(json.dumps(figures))
    return figures


def change_params(path: Path, changes: Changes, epochs: int) -> None:
    yaml = YAML()
    params = yaml.load(path.read_text())
    for section, values in changes.items():
        params[section].update(values)
    params["train"]["epochs"] = epochs
    with path.open("w") as stream:
        yaml.dump(params, stream)


def answer_otherwise(trained: Path, network: Path, params_file: Path) -> None:
    """Write a network of the same weights that answers as the parameters say now."""
    params, training, before = read_params(params_file), read_training(trained), load_network(trained)
    labels = int(before.output[PROBABILITIES].shape[-1])
    classifier = build_classifier(training.image_format.image_size, labels, params.network)
    classifier.set_weights(before.get_weights())
    recognizer = build_recognizer(classifier, params.network.flip_tta, params.augmentation.center_crop)
    write_network(network, recognizer, training)


def read_figures(reports: Path) -> dict[str, Any]:
    receipt = json.loads((reports / "run.json").read_text())
    with (reports / "history.csv").open(newline="") as stream:
        history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    return {
        "train_inference_accuracy": receipt["metrics"]["train_inference_accuracy"],
        "epochs": float(len(history)),
        "minutes": (receipt["ended_ms"] - receipt["started_ms"]) / 60_000,
    }


def measure_val(folder: Path) -> dict[str, Any]:
    """What the trained network, as it is served, says of val."""
    recognizer = Recognizer.load(folder / "models" / "augmented")
    batches = [outputs for outputs, _ in predict_split(recognizer.network, folder / "data" / "shards", Split.VAL)]
    queries = ((batch.embeddings, batch.labels) for batch in batches)
    found = score_search(recognizer.gallery.index.search, np.array(recognizer.gallery.labels), queries)
    facts = json.loads((folder / "models" / "augmented" / "index" / "index.json").read_text())
    correct = np.concatenate([batch.correct for batch in batches])
    return {
        "top1": float(correct.mean()),
        "correct": correct.tolist(),
        "map_at_100": found.mean_average_precision,
        "auroc": facts["auroc"] or float("nan"),  # there may be no photos of no landmark
    }


def describe_difference(figures: dict[str, Any], whole: dict[str, Any]) -> str:
    """Of top-1 in points, with the 95 % interval of paired answers: 1.96 standard errors of their mean difference."""
    differences = 100 * (np.array(figures["correct"], float) - np.array(whole["correct"], float))
    return f"{differences.mean():+.1f} ± {1.96 * differences.std(ddof=1) / np.sqrt(len(differences)):.1f}"


def main() -> None:
    names = [*ABLATIONS, *ANSWERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--experiment", default="landmarks81")
    parser.add_argument("--folder", type=Path, default=ROOT / ".work" / "ablations")
    parser.add_argument("--epochs", type=int, default=8, help="in place of the experiment's")
    args = parser.parse_args()
    unknown = set(args.names) - set(names)
    if unknown:
        parser.error(f"no such recipe: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    folder = args.folder / args.experiment
    prepare(folder, args.experiment)
    print("| recipe | top-1 | against whole, points | mAP@100 | AUROC | training photos | epochs | minutes |")
    print("|" + "---|" * 8)
    whole = measure(folder, args.experiment, WHOLE, args.epochs)
    for name in args.names:
        figures = measure(folder, args.experiment, name, args.epochs)
        cells = [f"{figures['top1']:.3f}", describe_difference(figures, whole)]
        cells += [f"{figures[column]:.3f}" for column in ("map_at_100", "auroc", "train_inference_accuracy")]
        cells += [f"{figures['epochs']:.0f}", f"{figures['minutes']:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
