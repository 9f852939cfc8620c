"""Exact search for the most similar embeddings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError
from landmarks.recognizer.pca import PCA

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

_UNIT_TOLERANCE = 1e-3
_ADDED_AT_ONCE = 4096
# faiss adds up in float32, and in another order for many queries than for one: two equal embeddings may come
# back this far apart.
_SCORE_TOLERANCE = 1e-5


class SimilarityIndex:
    """A gallery of embeddings; the similarity of two of them is their inner product, the cosine.

    The gallery is kept in half precision: half the memory, and half the time for a search, which is that of reading it.
    With a pca the gallery's embeddings are projected ones, and a query is projected before it is compared.
    The answer for a query depends on nothing but the query and the gallery: not on the other queries of the
    call, nor on the number of threads. Nothing changes after construction, so threads may share an index.
    """

    def __init__(self, halves: faiss.IndexScalarQuantizer, pca: PCA | None = None, threads: int | None = None) -> None:
        self._halves = halves
        self._pca = pca
        self._threads = threads

    @classmethod
    def from_embeddings(
        cls, embeddings: Floats | Halves, pca: PCA | None = None, threads: int | None = None
    ) -> "SimilarityIndex":
        """Build an index over a gallery.

        Args:
            embeddings: float32 or float16 (n, d), rows of unit length, already projected where there is a pca.
            pca: of queries to these dimensions.
            threads: most threads a search may use; all the processor has when None.

        Raises:
            ValueError: the array has another shape or type, holds NaN, or a row is not of unit length, or the
                PCA is to other dimensions.
        """
        _check_shape(embeddings, (np.float32, np.float16))
        dimension = embeddings.shape[1]
        if pca is not None and pca.components.shape[1] != dimension:
            raise ValueError(f"The PCA is to {pca.components.shape[1]} dimensions, the gallery has {dimension}.")
        kind = faiss.ScalarQuantizer.QT_fp16
        halves = faiss.IndexScalarQuantizer(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        for start in range(0, len(embeddings), _ADDED_AT_ONCE):
            part = embeddings[start : start + _ADDED_AT_ONCE]
            _check_lengths(part.astype(np.float32), start)
            # rounded here, since faiss rounds some numbers another way
            halves.add(np.ascontiguousarray(part.astype(np.float16), np.float32))
        return cls(halves, pca, threads)

    @classmethod
    def load(cls, path: Path, pca: PCA | None = None, threads: int | None = None) -> "SimilarityIndex":
        """Read a gallery from a `.npy` file.

        Raises:
            ArtifactError: the file is missing, damaged, or does not hold such embeddings.
        """
        try:
            # from the disk piece by piece, never whole in memory a second time
            embeddings = np.lib.format.open_memmap(path, "r")
            return cls.from_embeddings(embeddings, pca, threads)
        except FileNotFoundError:
            raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
        except (ValueError, EOFError, OSError) as error:
            raise ArtifactError(f"{path} holds no usable embeddings: {error} Run `dvc repro` again.") from error

    def __len__(self) -> int:
        return int(self._halves.ntotal)

    @property
    def dimension(self) -> int:
        """Length of the embeddings that are searched for."""
        return int(self._halves.d if self._pca is None else self._pca.components.shape[0])

    def search(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Find the k most similar embeddings of each query; all of them where the gallery has fewer.

        Args:
            queries: float32 (q, d), rows of unit length.
            k: how many, at least 1.

        Returns:
            similarities: float32 (q, min(k, n)), best first; of equal ones the lower row comes first.
            rows: int64 (q, min(k, n)), positions in the gallery.

        Raises:
            ValueError: k is below 1, or the queries have another dimension, hold NaN, or are not of unit length.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, received {k}.")
        check_unit_rows(queries)
        if queries.shape[1] != self.dimension:
            raise ValueError(f"The queries have {queries.shape[1]} dimensions, the gallery has {self.dimension}.")
        if self._pca is not None:
            queries = self._pca.apply(queries)
        kept = min(k, len(self))
        ranked = [_rank(self._halves, query, rows, kept) for query, rows in self._find_candidates(queries, kept)]
        similarities = np.array([scores for scores, _ in ranked], np.float32).reshape(len(queries), kept)
        return similarities, np.array([rows for _, rows in ranked], np.int64).reshape(len(queries), kept)

    def _find_candidates(self, queries: Floats, kept: int) -> Iterator[tuple[Floats, Rows]]:
        """Rows that may be among the best `kept` of each query, those tied with the last one included."""
        if not kept or not len(queries):
            yield from ((query, np.empty(0, np.int64)) for query in queries)
            return
        with _limit_threads(self._threads):
            scores, rows = self._halves.search(np.ascontiguousarray(queries), min(kept + 1, len(self)))
            for query, own_scores, own_rows in zip(queries, scores, rows, strict=True):
                floor = own_scores[kept - 1] - _SCORE_TOLERANCE
                is_tied = len(own_rows) > kept and own_scores[kept] >= floor
                yield query, self._halves.range_search(query[None], float(floor))[2] if is_tied else own_rows[:kept]


def check_unit_rows(embeddings: Floats) -> None:
    """Refuse anything but float32 (n, d) with rows of unit length.

    Raises:
        ValueError: the array has another shape or type, holds NaN, or a row is not of unit length.
    """
    _check_shape(embeddings, (np.float32,))
    _check_lengths(embeddings)


def _check_shape(embeddings: Floats | Halves, types: Sequence[type[np.floating[Any]]]) -> None:
    if embeddings.ndim != 2 or embeddings.dtype not in types or not embeddings.shape[1]:
        wanted = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"Embeddings must be {wanted} (n, d), received {embeddings.dtype} {embeddings.shape}.")


def _check_lengths(embeddings: Floats, first_row: int = 0) -> None:
    lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))
    if len(wrong):
        raise ValueError(
            f"Embeddings must have unit length; {len(wrong)} of {len(embeddings)} rows have not, "
            f"the first is row {first_row + wrong[0]} of length {lengths[wrong[0]]:.6g}."
        )


def _rank(halves: faiss.IndexScalarQuantizer, query: Floats, rows: Rows, kept: int) -> tuple[Floats, Rows]:
    candidates = np.sort(rows)
    # float64 makes equal embeddings score equally, whatever order they are added up in
    exact = np.einsum("nd,d->n", halves.reconstruct_batch(candidates).astype(np.float64), query.astype(np.float64))
    similarities = exact.astype(np.float32)
    best = np.argsort(-similarities, kind="stable")[:kept]
    # rounded rows are a little longer or shorter than one
    return similarities[best].clip(-1.0, 1.0), candidates[best]


@contextmanager
def _limit_threads(threads: int | None) -> Iterator[None]:
    """OpenMP keeps this number for each calling thread, so other threads are not touched."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
