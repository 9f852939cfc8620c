"""Shorter embeddings: along the directions that matter in a gallery."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError

Floats = npt.NDArray[np.float32]

# of the sum of squares: what is left in directions beyond is rounding
_NOTHING = 1e-7
_ORTHONORMAL_TOLERANCE = 1e-3


class PCA:
    """Reads embeddings along a few directions, those in which a gallery's are longest, and makes them unit rows again.

    The directions are the principal ones of the embeddings as they are, without their mean taken away: what all photos
    have in common tells them from photos of nothing that is known.

    References:
        Jégou and Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening",
        2012 (shorter embeddings by PCA; here neither centred nor whitened).
    """

    def __init__(self, directions: Floats) -> None:
        """Args: directions: float32 (d, k), columns of unit length, orthogonal to each other."""
        self.components = directions

    @classmethod
    def fit(cls, parts: Iterable[Floats], dimensions: int) -> "PCA":
        """Find the directions for a gallery.

        Args:
            parts: of the gallery, each float32 (n, d), read once.
            dimensions: how many, at most; fewer where the gallery does not have them.
        """
        moments = sum(np.asarray(part.T @ part, np.float64) for part in parts)
        lengths, directions = np.linalg.eigh(moments)
        kept = max(1, min(dimensions, int((lengths > _NOTHING * lengths.sum()).sum())))
        return cls(np.ascontiguousarray(directions[:, : -kept - 1 : -1], np.float32))

    @classmethod
    def load(cls, path: Path) -> "PCA":
        """Read the directions from a `.npy` file.

        Raises:
            ArtifactError: the file is missing, damaged, or does not hold such directions.
        """
        try:
            directions = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ArtifactError(f"{path} holds no usable directions: {error} Run `dvc repro` again.") from error
        if directions.dtype != np.float32 or directions.ndim != 2 or not _is_orthonormal(directions):
            raise ArtifactError(f"{path} holds no orthogonal directions. Run `dvc repro` again.")
        return cls(directions)

    def save(self, path: Path) -> None:
        """Write the directions as a `.npy` file."""
        np.save(path, self.components)

    def apply(self, embeddings: Floats) -> Floats:
        """Project embeddings.

        Args:
            embeddings: float32 (n, d).

        Returns:
            float32 (n, k), rows of unit length; of zeros where an embedding has nothing in these directions.
        """
        # one by one, since the last digits of a product of matrices depend on how many rows it has
        projected = np.empty((len(embeddings), self.components.shape[1]), np.float32)
        for row, embedding in enumerate(embeddings):
            projected[row] = embedding @ self.components
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        lengths[lengths == 0] = 1.0
        unit: Floats = projected / lengths
        return unit


def _is_orthonormal(directions: Floats) -> bool:
    products = directions.T @ directions
    return bool((np.abs(products - np.eye(len(products))) < _ORTHONORMAL_TOLERANCE).all())
