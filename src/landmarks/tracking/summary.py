"""Summary of the last run of the pipeline, for a terminal."""

from pathlib import Path

from landmarks.errors import LandmarksError
from landmarks.evaluation.receipt import METRICS_FILE
from landmarks.evaluation.titles import TITLES
from landmarks.files.parsing import read_record
from landmarks.files.seals import read_sealed
from landmarks.tracking.ui import UI_ADDRESS, find_comparison


def describe_results(reports: Path, raw: Path) -> str:
    """Write the metrics of the variants side by side, the registered version, the Bento, and the next commands.

    Raises:
        ArtifactError: the pipeline has not run to its end, or a receipt was altered.
    """
    registration = read_sealed(reports / "registration.json")
    bento = read_sealed(reports / "package.json")["tag"]
    name, champion = registration["model_name"], registration["champion"]
    version = registration["versions"][champion]["version"]
    samples = sorted((raw / "samples").glob("*.jpg"))  # only the demo has them
    return "\n".join(
        [
            "",
            *_describe_scores(reports, list(registration["versions"])),
            "",
            f"Registered: {name} version {version}, the {champion} variant, as champion",
            f"Packed:     {bento}",
            "",
            "Next:",
            f"  make ui       compare the runs at {_find_page(reports)}",
            "  make serve    answer over HTTP at http://127.0.0.1:3000",
            "  make app      while it serves: a page at http://127.0.0.1:8501",
            f"  .venv/bin/landmarks classify {samples[0] if samples else 'PHOTO'}",
            "",
        ]
    )


def _find_page(reports: Path) -> str:
    try:
        return find_comparison(reports) or UI_ADDRESS
    except LandmarksError:  # the store is away, or new; `make ui` brings it up to date and says more
        return UI_ADDRESS


def _describe_scores(reports: Path, variants: list[str]) -> list[str]:
    metrics = {
        variant: read_record(reports / "evaluate" / variant / METRICS_FILE, dict[str, float]) for variant in variants
    }
    photos = int(metrics[variants[0]]["test_photos"])
    lines = [f"{f'On {photos} test photos':<26}" + "".join(f"{variant:>12}" for variant in variants)]
    for key, title in TITLES.items():
        if title.short and all(key in metrics[variant] for variant in variants):
            lines.append(f"{title.short:<26}" + "".join(f"{metrics[variant][key]:>12.3f}" for variant in variants))
    return lines
