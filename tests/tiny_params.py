"""Params with which all stages run in seconds: four landmarks, drawn, at 32 px."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DEFAULT = Path(__file__).parents[1] / "experiments" / "default.yaml"
TINY: dict[str, dict[str, Any]] = {
    "acquire": {
        "demo": {"seed": 3, "landmarks": 4, "photos_per_landmark": 14, "distractor_photos": 16, "image_size": 64}
    },
    "validate": {"sample_photos": 10},
    "prepare": {"image_size": 32, "photos_per_shard": 16},
    "train": {"epochs": 1, "batch_size": 16, "parts": 1},  # two parts take as long again to build
    "export": {"precision": "float32"},  # the shipped demo tries 8-bit weights too, which takes an export more
    "evaluate": {"bootstrap_samples": 100, "gallery_photos": 4},
    "register": {"min_score": 0.0, "max_regression": 1.0},
}


def write_tiny_params(path: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """Write a params.yaml: the defaults, made tiny, with further changes by section."""
    yaml = YAML()
    params = yaml.load(DEFAULT.read_text(encoding="utf-8"))
    for sections in (TINY, changes or {}):
        for section, values in sections.items():
            params[section].update(values)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)
    return path
