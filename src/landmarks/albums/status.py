"""What the state knows about photos."""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from landmarks.albums.state import State
from landmarks.photos.walk import show_path
from landmarks.terminal import format_count

_SHOWN_FAILURES, _SHOWN_MODELS = 10, 5
_BLOCK = 1000


def describe_status(paths: Sequence[Path], state: State) -> str:
    """Count photos, those below folders, or all, by what was written for them, and name those that failed."""
    counts, models = Counter[str](), Counter[str]()
    failures: list[str] = []
    places = sorted({os.fsencode(os.path.abspath(path)) for path in paths}) or [b"/"]  # noqa: PTH100 - links stay
    # a folder has what is below its folders
    outer = [one for one in places if not any(one != other and one.startswith(other + b"/") for other in places)]
    for photo in (photo for place in outer for photo in state.iterate_photos(place)):
        if not os.path.lexists(photo.path):
            counts["not there any more"] += 1
            continue
        counts["failed" if photo.answer.error else "tagged" if photo.written else "without a tag"] += 1
        models[photo.model] += 1
        if photo.answer.error and len(failures) < _SHOWN_FAILURES:
            failures.append(f"  {show_path(os.fsdecode(photo.path))}: {photo.answer.error}")
    if not counts:
        return f"Nothing is known about photos there ({state.path})."
    kinds = ("tagged", "without a tag", "failed", *(["not there any more"] if counts["not there any more"] else []))
    parts = ", ".join(f"{counts[kind]:,} {kind}" for kind in kinds)
    common = models.most_common(_SHOWN_MODELS)
    by_model = [f"  {count:>6,} answered by the model {model[:12]}" for model, count in common]
    return "\n".join([f"{format_count(counts.total(), 'photo')}: {parts} ({state.path})", *by_model, *failures])


def forget_missing(paths: Sequence[Path], found: int, state: State) -> None:
    """Forget the photos below folders that are gone; `found` is how many a complete walk has just found there."""
    folders = [os.fsencode(os.path.abspath(path)) for path in paths if path.is_dir()]  # noqa: PTH100 - links stay
    if sum(map(state.count_photos, folders)) <= found:
        return
    for folder in folders:
        gone = (photo.path for photo in state.iterate_photos(folder) if not os.path.lexists(photo.path))
        while block := [*islice(gone, _BLOCK)]:
            state.forget_photos(block)
