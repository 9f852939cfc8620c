"""Checkpoints: save and restore a training in one folder, as plain arrays and JSON."""

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
    """State of a training besides its weights; `epoch` is the number of finished epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    epochs_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


class Checkpoint:
    """Keeps the latest state of one training and its best weights, in `folder`.

    Both are named by their epoch. The previous state is deleted only after the new one is complete, so a process that
    is killed while it saves loses one epoch at most.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, progress: Progress, variables: Sequence[keras.Variable]) -> None:
        """Write the state after an epoch; `variables` are those of the model and of the optimizer."""
        latest = self._folder / f"{_EPOCH}{progress.epoch:04d}"
        with replace_folder(latest) as temporary:
            arrays = {f"{i:04d}": keras.ops.convert_to_numpy(variable.value) for i, variable in enumerate(variables)}
            with replace_file(temporary / "variables.npz") as file, file.open("wb") as stream:
                np.savez(stream, **arrays)
            if progress.best_epoch == progress.epoch:
                _link(temporary / "variables.npz", self._best(progress))
            write_json(temporary / "progress.json", asdict(progress))
        for path in self._folder.glob("best-*.npz"):
            if path != self._best(progress):
                path.unlink()
        for path in self._folder.glob(f"*{_EPOCH}*"):  # the leading * matches unfinished folders of killed processes
            if path != latest:
                shutil.rmtree(path)

    def load(self, variables: Sequence[keras.Variable]) -> Progress:
        """Assign the saved state to `variables` and return its progress; without a saved state, change nothing.

        Raises:
            ArtifactError: the saved state is damaged or has other shapes than `variables`.
        """
        latest = max(self._folder.glob(f"{_EPOCH}*"), default=None)
        if latest is None:
            return Progress()
        _assign_arrays(latest / "variables.npz", variables)
        saved: dict[str, Any] = read_json(latest / "progress.json")
        return Progress(**saved)

    def load_best(self, progress: Progress, variables: Sequence[keras.Variable]) -> None:
        """Assign the state of the best epoch to `variables`."""
        _assign_arrays(self._best(progress), variables)

    def _best(self, progress: Progress) -> Path:
        return self._folder / f"best-{progress.best_epoch:04d}.npz"


def _link(file: Path, name: Path) -> None:
    """Hard-link `file` as `name`; copy it where the file system has no hard links."""
    with replace_file(name) as temporary:
        try:
            temporary.hardlink_to(file)
        except OSError:
            shutil.copyfile(file, temporary)


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
    # only after all shapes were checked: a mismatch leaves every variable as it was
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
