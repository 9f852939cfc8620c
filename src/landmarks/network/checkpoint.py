"""Checkpoints: save and restore a training in one folder, as plain arrays and JSON."""

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError
from landmarks.files.seals import FILES, check_files, compute_digests, open_sealed, read_sealed, write_sealed
from landmarks.files.writing import replace_file, replace_folder

_EPOCH = "epoch-"
_VARIABLES, _PROGRESS = "variables.npz", "progress.json"
_KEPT_STATES = 2
_ANEW = "Delete its folder and train again."
log = logging.getLogger(__name__)

Array = npt.NDArray[np.generic]


@dataclass
class Progress:
    """State of a training besides its weights.

    `epoch` is the number of finished epochs, `best_sha256` the digest of the best weights.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_sha256: str = ""
    best_value: float | None = None
    epochs_without_gain: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


class Checkpoint:
    """Keeps the last two states of one training and the best weights, in `folder`.

    All are named by their epoch. A process that is killed while it saves loses one epoch at most; so does a training
    whose last state is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, progress: Progress, variables: Sequence[keras.Variable]) -> None:
        """Write the state after an epoch; `variables` are those of the model and of the optimizer."""
        latest = self._folder / f"{_EPOCH}{progress.epoch:04d}"
        with replace_folder(latest) as temporary:
            arrays = {f"{i:04d}": keras.ops.convert_to_numpy(variable.value) for i, variable in enumerate(variables)}
            with (temporary / _VARIABLES).open("wb") as stream:
                np.savez(stream, **arrays)
            digests = compute_digests(temporary)
            if progress.best_epoch == progress.epoch:
                _link(temporary / _VARIABLES, self._best(progress))
                progress.best_sha256 = digests[_VARIABLES]
            write_sealed(temporary / _PROGRESS, {**asdict(progress), FILES: digests})
        self._delete_old()

    def load(self, variables: Sequence[keras.Variable]) -> Progress:
        """Assign the last intact state to `variables` and return its progress; without one, change nothing.

        Damaged states are deleted, with a warning.

        Raises:
            ArtifactError: the state has other shapes than `variables`.
        """
        for state in self._list_states():
            try:
                progress = self._read(state)
            except ArtifactError as error:
                log.warning("The checkpoint %s is damaged, so the training goes back further: %s", state, error)
                shutil.rmtree(state)
                continue
            _assign_arrays(state / _VARIABLES, variables)
            return progress
        return Progress()

    def load_best(self, progress: Progress, variables: Sequence[keras.Variable]) -> None:
        """Assign the state of the best epoch to `variables`.

        Raises:
            ArtifactError: it is damaged, or has other shapes than `variables`.
        """
        self._check_best(progress)
        _assign_arrays(self._best(progress), variables)

    def _list_states(self) -> list[Path]:
        """List the states, the last one first."""
        return sorted(self._folder.glob(f"{_EPOCH}*"), reverse=True)

    def _read(self, state: Path) -> Progress:
        """Read the progress of a state, and compare it and the best weights with their digests."""
        progress = Progress(**open_sealed(state / _PROGRESS))
        self._check_best(progress)
        return progress

    def _check_best(self, progress: Progress) -> None:
        best = self._best(progress)
        check_files(best.parent, {best.name: progress.best_sha256})

    def _best(self, progress: Progress) -> Path:
        return self._folder / f"best-{progress.best_epoch:04d}.npz"

    def _delete_old(self) -> None:
        kept = self._list_states()[:_KEPT_STATES]
        kept_best = set()
        for state in kept:
            with suppress(ArtifactError):
                kept_best.add(f"best-{read_sealed(state / _PROGRESS)['best_epoch']:04d}.npz")
        for path in self._folder.glob("best-*.npz"):
            if path.name not in kept_best:
                path.unlink()
        for path in self._folder.glob(f"*{_EPOCH}*"):  # the leading * matches unfinished folders of killed processes
            if path not in kept:
                shutil.rmtree(path)


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
    except KeyError as error:
        raise ArtifactError(f"The checkpoint {path} belongs to another network ({error}). {_ANEW}") from error
    if not fits or any(tuple(variable.shape) != value.shape for variable, value in zip(variables, values, strict=True)):
        raise ArtifactError(f"The checkpoint {path} belongs to another network. {_ANEW}")
    # only after all shapes were checked: a mismatch leaves every variable as it was
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
