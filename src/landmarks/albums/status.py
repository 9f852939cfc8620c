"""What the state knows about photos."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from landmarks.albums.state import State

_SHOWN_FAILURES, _SHOWN_MODELS = 10, 5


def describe_status(paths: Sequence[Path], state: State) -> str:
    """Count the photos below some folders, or all, by what was written for them, and name those that failed."""
    counts = Counter[str]()
    models = Counter[str]()
    failures: list[str] = []
    folders = [os.fsencode(os.path.abspath(path)) for path in paths] or [b"/"]  # noqa: PTH100 - bytes
    for folder in folders:
        for photo in state.iterate_photos(folder):
            kind = "failed" if photo.answer.error else "tagged" if photo.written else "without a tag"
            counts[kind] += 1
            models[photo.model] += 1
            if photo.answer.error and len(failures) < _SHOWN_FAILURES:
                failures.append(f"  {os.fsdecode(photo.path)}: {photo.answer.error}")
    if not counts:
        return f"Nothing is known about photos there ({state.path})."
    parts = ", ".join(f"{counts[kind]:,} {kind}" for kind in ("tagged", "without a tag", "failed"))
    common = models.most_common(_SHOWN_MODELS)
    by_model = [f"  {count:>6,} answered by the model {model[:12]}" for model, count in common]
    return "\n".join([f"{counts.total():,} photos: {parts} ({state.path})", *by_model, *failures])
