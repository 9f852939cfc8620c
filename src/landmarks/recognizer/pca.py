"""PCA: shorter embeddings for the similarity search."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError

Floats = npt.NDArray[np.float32]

_NEGLIGIBLE = 1e-7  # fraction of the total energy below which a component is rounding error
_ORTHONORMAL_TOLERANCE = 1e-3


class PCA:
    """Projects embeddings onto the first principal components of a gallery, and normalises the result to unit length.

    The components are those of the uncentred embeddings. The mean is kept, because what all landmark photos have in
    common separates them from distractors.

    References:
        Jégou and Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening",
        2012 (shorter embeddings by PCA; here neither centred nor whitened).
    """

    def __init__(self, directions: Floats) -> None:
        """Args: directions: float32 (d, k), orthonormal columns."""
        self.components = directions

    @classmethod
    def fit(cls, parts: Iterable[Floats], dimensions: int) -> "PCA":
        """Compute the principal components of a gallery.

        Args:
            parts: the gallery in parts of float32 (n, d), read once.
            dimensions: number of components; fewer if the rank of the gallery is lower.
        """
        # summed over parts: d x d numbers in memory, however large the gallery
        moments = sum(np.asarray(part.T @ part, np.float64) for part in parts)
        lengths, directions = np.linalg.eigh(moments)
        kept = max(1, min(dimensions, int((lengths > _NEGLIGIBLE * lengths.sum()).sum())))
        # eigh returns ascending eigenvalues
        return cls(np.ascontiguousarray(directions[:, : -kept - 1 : -1], np.float32))

    @classmethod
    def load(cls, path: Path) -> "PCA":
        """Read the components from a `.npy` file.

        Raises:
            ArtifactError: the file is missing or damaged, or its columns are not orthonormal.
        """
        try:
            directions = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ArtifactError(f"{path} has no usable PCA components: {error} Run `dvc repro` again.") from error
        if directions.dtype != np.float32 or directions.ndim != 2 or not _is_orthonormal(directions):
            raise ArtifactError(
                f"{path} must hold float32 (d, k) with orthonormal columns, received {directions.dtype} "
                f"{directions.shape}. Run `dvc repro` again."
            )
        return cls(directions)

    def save(self, path: Path) -> None:
        """Write the components to a `.npy` file."""
        np.save(path, self.components)

    def apply(self, embeddings: Floats) -> Floats:
        """Project embeddings.

        Args:
            embeddings: float32 (n, d).

        Returns:
            float32 (n, k), rows of unit length; zeros if an embedding is orthogonal to all components.
        """
        # row by row, since the last digits of a matrix product depend on the number of its rows
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
