"""Write an experiment for a user's own photos: `experiments/NAME.yaml`, and the listing of the photos beside it."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

from landmarks.errors import DataError, ParamsError
from landmarks.files.writing import write_text
from landmarks.params import EXPERIMENTS_PATH, PARAMS_PATH, list_experiments, read_experiment_values, write_experiment
from landmarks.tables.survey import LAYOUTS, Survey, list_photos

_GENERIC = frozenset(("train", "test", "labels", "table", "index", "images", "photos", "data", "list", "metadata"))
_NAME = re.compile("[a-z][a-z0-9_]*")
_OWN = ("photos", "default", "study")  # experiments that others build on


def choose_name(path: Path) -> str:
    """Make the name of an experiment from that of a folder or table: lower-case letters, digits and underscores.

    >>> choose_name(Path("/data/Städte & Türme (2019)"))
    'stadte_turme_2019'
    >>> choose_name(Path("/data/pets/labels.csv"))
    'pets'
    """
    path = path.resolve()
    text = path.stem if path.suffix and not path.is_dir() else path.name
    if text.lower() in _GENERIC and path.parent.name:
        text = path.parent.name
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not name or not name[0].isalpha() or name in _OWN:
        name = f"own_{name}".rstrip("_")
    return name


def write_own_experiment(
    name: str, values: Mapping[str, str], found: Survey, may_replace: Callable[[Path], bool]
) -> list[str]:
    """Write the experiment, the listing of its photos, and `params.yaml` for it.

    An experiment of the same photos is kept as it is, with the edits that it may have; so is a `params.yaml` of them.

    Args:
        name: of the experiment.
        values: of the section `acquire`, from `find_layout`.
        found: from `survey`.
        may_replace: asked before a file is replaced that holds anything else; False leaves all files as they are.

    Returns:
        What was written and what was kept, a sentence each.

    Raises:
        DataError: a path has a `$`, which experiments take for an environment variable.
        ParamsError: the name cannot be used, or a file must not be replaced.
    """
    if not _NAME.fullmatch(name):
        raise ParamsError(f"{name!r:.80} cannot be a name: use lower-case letters, digits and underscores.")
    if bad := [value for value in values.values() if "$" in value]:
        raise DataError(f"{bad[0]} has a $, which experiments take for an environment variable. Rename it.")
    path, listing = EXPERIMENTS_PATH / f"{name}.yaml", EXPERIMENTS_PATH / f"{name}.csv"
    acquire = {**values, "listing": str(listing)}
    kept = path.exists() and _is_of(read_experiment_values(path).get("acquire"), acquire)
    params_kept = PARAMS_PATH.exists() and _is_of(read_experiment_values(PARAMS_PATH).get("acquire"), acquire)
    lost = [path] if path.exists() and not kept else []
    if PARAMS_PATH.exists() and not params_kept and not _is_written(PARAMS_PATH):
        lost.append(PARAMS_PATH)
    for file in lost:
        if not may_replace(file):
            raise ParamsError(f"{file} has other contents, and nothing was written. Save it elsewhere, or add --yes.")
    write_text(listing, list_photos(found.photo_set))
    done = [f"Wrote {listing}, which tells DVC when photos change; run `landmarks init` again after adding some."]
    if kept:
        done.append(f"Kept {path}.")
    else:
        write_text(path, _compose(name, acquire))
        done.append(f"Wrote {path}, with the recipe for real photos.")
    if params_kept:
        done.append(f"Kept {PARAMS_PATH}.")
    else:
        write_experiment([name])
        done.append(f"Wrote {PARAMS_PATH} for {name}.")
    return done


def _is_of(section: object, acquire: Mapping[str, str]) -> bool:
    """Whether a section `acquire` takes the same photos."""
    return isinstance(section, dict) and all(section.get(key) == value for key, value in acquire.items())


def _is_written(path: Path) -> bool:
    """Whether a params file is just what one of the experiments writes, so that nothing is lost with it."""
    text = path.read_text(encoding="utf-8")
    spare = path.with_name(f".{path.name}.compare")
    try:
        for name in list_experiments():
            try:
                write_experiment([name], path=spare)
            except ParamsError:  # of data that are not here
                continue
            if spare.read_text(encoding="utf-8") == text:
                return True
    finally:
        spare.unlink(missing_ok=True)
    return False


def _compose(name: str, acquire: Mapping[str, str]) -> str:
    lines = "".join(f"  {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in acquire.items())
    return (
        f"# Photos as {LAYOUTS[acquire['source']]}, written by `landmarks init`. Values of photos.yaml and\n"
        "# default.yaml can be overridden here.\n\n"
        f"base: photos\n\nacquire:\n{lines}\nregister:\n  model_name: {name}\n\ntracking:\n  experiment: {name}\n"
    )
