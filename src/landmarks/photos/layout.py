"""Say where photos were looked for, and what lies there instead, when a source has none of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from landmarks.photos.places import build_photo_path, is_file_id
from landmarks.photos.walk import is_hidden, is_photo_name, iterate_photos
from landmarks.photos.zip_members import iterate_names

_LOOKED_AT = 100_000  # photos at most, until one of those listed is found


def describe_layout(spec: Mapping[str, Any], image_ids: Sequence[str]) -> str:
    """Compare the path of one of the photos with what the source holds, and say what to do.

    Args:
        spec: a photo source that has none of the photos, as for `open_source`.
        image_ids: the ids of the photos, at least one of them a file name.
    """
    wanted = {image_id for image_id in image_ids if is_file_id(image_id)}
    path, part = Path(spec["path"]), spec.get("part", "train")
    looked_for = build_photo_path(next(i for i in image_ids if is_file_id(i)), part)
    if spec["kind"] == "folder":
        found = _choose(iterate_photos(path), wanted)
        there = f"there is {found}" if found else "there is no photo below it"
        return f"{path / looked_for} was looked for, but {there}. {_advise_folder(found, path, part)}"
    prefix = spec.get("prefix", "")
    member = _choose(_iterate_photo_members(path), wanted)
    there = f"it holds {member}" if member else "it holds no photo"
    return (
        f"{prefix}{looked_for} was looked for in {path}, but {there}. Zip the photos as "
        f"{prefix}{part}/a/b/c/<id>.jpg, for an id that begins with abc, with no folder above; or unpack them and set "
        "`acquire.source` to folder."
    )


def _choose(found: Iterable[Path], wanted: set[str]) -> Path | None:
    """Return the first path that is named like a wanted photo, else the first at all."""
    first = None
    for path in islice(found, _LOOKED_AT):
        if path.stem in wanted:
            return path
        first = first or path
    return first


def _iterate_photo_members(path: Path) -> Iterator[Path]:
    for name in iterate_names(path):
        member = Path(name)
        if is_photo_name(member.name) and not any(is_hidden(part) for part in member.parts):
            yield member


def _advise_folder(found: Path | None, path: Path, part: str) -> str:
    if found and is_photo_name(found.name):
        above = str(found).removesuffix(str(build_photo_path(found.stem, part, found.suffix)))
        if above != str(found):
            return f"Name the folder {above} in the section `acquire` of params.yaml."
    layout = f"{part}/a/b/c/<id>.jpg, for an id that begins with abc"
    return (
        f"Lay the photos out below {path} as {layout}, or name another folder in the section `acquire` of params.yaml."
    )
