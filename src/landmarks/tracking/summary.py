"""What a run of the pipeline came to, in a few lines for the person who started it."""

from pathlib import Path
from typing import Any

from landmarks.files import read_json
from landmarks.tracking.receipts import METRICS_FILE

_METRICS = (
    ("top1", "top-1"),
    ("top5", "top-5"),
    ("macro_recall", "macro recall"),
    ("ece", "calibration error"),
    ("auroc", "landmark or not, AUROC"),
    ("trivial_auroc", "the same, trivial model"),
)


def describe_results(reports: Path, raw: Path) -> str:
    """The variants' scores side by side, what was registered and packed, and the next commands to type.

    Raises:
        ArtifactError: the pipeline has not run to its end.
    """
    registration = read_json(reports / "registration.json")
    bento = read_json(reports / "package.json")["tag"]
    name, champion = registration["model_name"], registration["champion"]
    version = registration["versions"][champion]["version"]
    return "\n".join(
        [
            "",
            *_describe_scores(reports, list(registration["versions"])),
            "",
            f"Registered: {name} version {version}, the {champion} variant, as champion",
            f"Packed:     {bento}",
            "",
            "Next:",
            "  make ui       compare the runs at http://127.0.0.1:5000",
            "  make serve    answer over HTTP at http://127.0.0.1:3000",
            "  make app      while it serves: a page at http://127.0.0.1:8501",
            f"  .venv/bin/landmarks classify {_find_example(raw)}",
            "",
        ]
    )


def _describe_scores(reports: Path, variants: list[str]) -> list[str]:
    metrics = {variant: read_json(reports / "evaluate" / variant / METRICS_FILE) for variant in variants}
    photos = int(metrics[variants[0]]["test_photos"])
    lines = [f"{f'On {photos} test photos':<26}" + "".join(f"{variant:>12}" for variant in variants)]
    for key, title in _METRICS:
        if all(key in metrics[variant] for variant in variants):
            lines.append(f"{title:<26}" + "".join(f"{_format(metrics[variant], key):>12}" for variant in variants))
    return lines


def _format(metrics: dict[str, Any], key: str) -> str:
    return f"{metrics[key]:.3f}"


def _find_example(raw: Path) -> str:
    samples = sorted((raw / "samples").glob("*.jpg"))
    return str(samples[0]) if samples else "PHOTO"
