"""Everything a training needs to go on after it was stopped: one folder per training, plain arrays and JSON."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError
from landmarks.files import read_json, replace_file, replace_folder, write_json

_EPOCH = "epoch-"

Array = npt.NDArray[np.generic]


@dataclass
class Progress:
    """What a training knows beside its weights. `epoch` counts finished epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    epochs_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


class Checkpoint:
    """The newest state of one training in `folder`, named by its epoch; the one before it goes when it is whole.

    The best weights so far stand in a file of their own, named by their epoch too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, progress: Progress, variables: Sequence[keras.Variable]) -> None:
        """Write the state after an epoch; `variables` are those of the model and of the optimizer."""
        latest = self._folder / f"{_EPOCH}{progress.epoch:04d}"
        with replace_folder(latest) as temporary:
            _write_arrays(temporary / "variables.npz", variables)
            if progress.best_epoch == progress.epoch:
                _link(temporary / "variables.npz", self._best(progress))
            write_json(temporary / "progress.json", asdict(progress))
        for path in self._folder.glob("best-*.npz"):
            if path != self._best(progress):
                path.unlink()
        for path in self._folder.glob(f"*{_EPOCH}*"):  # what a killed training left half-written, too
            if path != latest:
                shutil.rmtree(path)

    def load(self, variables: Sequence[keras.Variable]) -> Progress:
        """Assign the saved state to `variables`; without one, leave them and return the beginning.

        Raises:
            ArtifactError: the saved state does not fit these variables.
        """
        latest = max(self._folder.glob(f"{_EPOCH}*"), default=None)
        if latest is None:
            return Progress()
        _assign_arrays(latest / "variables.npz", variables)
        saved: dict[str, Any] = read_json(latest / "progress.json")
        return Progress(**saved)

    def load_best(self, progress: Progress, variables: Sequence[keras.Variable]) -> None:
        """Assign the variables of the best epoch."""
        _assign_arrays(self._best(progress), variables)

    def _best(self, progress: Progress) -> Path:
        return self._folder / f"best-{progress.best_epoch:04d}.npz"


def _link(file: Path, name: Path) -> None:
    """Give a file a second name; where the file system knows no such thing, a copy."""
    with replace_file(name) as temporary:
        try:
            temporary.hardlink_to(file)
        except OSError:
            shutil.copyfile(file, temporary)


def _write_arrays(path: Path, variables: Sequence[keras.Variable]) -> None:
    arrays = {f"{i:04d}": keras.ops.convert_to_numpy(variable.value) for i, variable in enumerate(variables)}
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def _assign_arrays(path: Path, variables: Sequence[keras.Variable]) -> None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values: list[Array] = [arrays[f"{i:04d}"] for i in range(len(variables))]
            fits = len(arrays.files) >= len(variables)
    except (OSError, KeyError, ValueError) as error:
        raise ArtifactError(
            f"The checkpoint {path} is damaged ({error}). Delete its folder and train again."
        ) from error
    if not fits or any(tuple(variable.shape) != value.shape for variable, value in zip(variables, values, strict=True)):
        raise ArtifactError(f"The checkpoint {path} belongs to another network. Delete it and train again.")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
