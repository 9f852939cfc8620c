"""Exact nearest-neighbour search by cosine similarity, with faiss."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError
from landmarks.processors import count_processors
from landmarks.recognizer.pca import PCA

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Rows = npt.NDArray[np.int64]

_UNIT_TOLERANCE = 1e-3  # rounding to float16 changes the length of an embedding by less
_ADDED_AT_ONCE = 4096  # rows, which bounds the memory of their float32 copies
# faiss sums in float32, and in another order for many queries than for one. The scores of two equal embeddings may
# differ by this much.
_SCORE_TOLERANCE = 1e-5
_SPARE = 64  # results beyond those wanted, for ties with the last one
_PRODUCTS_PER_THREAD = 200_000_000  # some 20 ms of one thread


class SimilarityIndex:
    """A gallery of unit embeddings, searched exhaustively; similarity is the inner product, the cosine.

    The gallery is stored in float16. This halves the memory and the time of a search, which is bound by reading the
    gallery. With PCA, the gallery holds projected embeddings and queries are projected before the search. The result
    for a query does not depend on the other queries of the call or on the number of threads. The index is immutable, so
    threads may share it.
    """

    def __init__(self, halves: faiss.IndexScalarQuantizer, pca: PCA | None = None, threads: int | None = None) -> None:
        self._halves = halves
        self._pca = pca
        self._threads = threads or count_processors()

    @classmethod
    def from_embeddings(
        cls, embeddings: Floats | Halves, pca: PCA | None = None, threads: int | None = None
    ) -> "SimilarityIndex":
        """Build an index over a gallery.

        Args:
            embeddings: float32 or float16 (n, d), rows of unit length; already projected if there is a PCA.
            pca: projects queries to d dimensions.
            threads: maximum number of threads of a search; one per processor if None.

        Raises:
            ValueError: the array has another shape or type or holds NaN, a row is not of unit length, or the PCA has
                another number of components.
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
            # rounded by NumPy, since faiss rounds some numbers differently
            halves.add(np.ascontiguousarray(part.astype(np.float16), np.float32))
        return cls(halves, pca, threads)

    @classmethod
    def load(cls, path: Path, pca: PCA | None = None, threads: int | None = None) -> "SimilarityIndex":
        """Read a gallery from a `.npy` file.

        Raises:
            ArtifactError: the file is missing or damaged, or does not hold unit embeddings.
        """
        try:
            # a memory map, so that the file is never in memory as a whole beside the index
            embeddings = np.lib.format.open_memmap(path, "r")
            return cls.from_embeddings(embeddings, pca, threads)
        except FileNotFoundError:
            raise ArtifactError(f"{path} is missing. Run the stage that writes it: `dvc repro`.") from None
        except (ValueError, EOFError, OSError) as error:
            raise ArtifactError(f"{path} has no usable embeddings: {error} Run `dvc repro` again.") from error

    def __len__(self) -> int:
        return int(self._halves.ntotal)

    @property
    def dimension(self) -> int:
        """Number of dimensions of a query."""
        return int(self._halves.d if self._pca is None else self._pca.components.shape[0])

    def search(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Find the k most similar embeddings for each query, or all if the gallery has fewer.

        Args:
            queries: float32 (q, d), rows of unit length.
            k: number of results, at least 1.

        Returns:
            similarities: float32 (q, min(k, n)), in descending order; ties in order of rows.
            rows: int64 (q, min(k, n)), rows of the gallery.

        Raises:
            ValueError: k is below 1, or the queries have another dimension, hold NaN, or are not of unit length.
        """
        return self.search_projected(self.project(queries), k)

    def project(self, queries: Floats) -> Floats:
        """Check queries and project them, for `search_projected` of this gallery and of others with the same PCA.

        Args:
            queries: float32 (q, d), rows of unit length.

        Returns:
            float32 (q, p), rows of unit length; p is d without a PCA.

        Raises:
            ValueError: the queries have another dimension, hold NaN, or are not of unit length.
        """
        check_unit_rows(queries)
        if queries.shape[1] != self.dimension:
            raise ValueError(f"The queries have {queries.shape[1]} dimensions, the gallery has {self.dimension}.")
        return queries if self._pca is None else self._pca.apply(queries)

    def search_projected(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Search as `search` does, for queries from `project`: float32 (q, p), rows of unit length.

        Raises:
            ValueError: k is below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, received {k}.")
        kept = min(k, len(self))
        ranked = [_rank(self._halves, query, rows, kept) for query, rows in self._find_candidates(queries, kept)]
        similarities = np.array([scores for scores, _ in ranked], np.float32).reshape(len(queries), kept)
        return similarities, np.array([rows for _, rows in ranked], np.int64).reshape(len(queries), kept)

    def _find_candidates(self, queries: Floats, kept: int) -> Iterator[tuple[Floats, Rows]]:
        """Find the rows that may be among the best `kept` of each query, including ties with the last one."""
        if not kept or not len(queries):
            yield from ((query, np.empty(0, np.int64)) for query in queries)
            return
        with _limit_threads(self._choose_threads(len(queries))):
            # more than wanted: what is tied with the last one is mostly among them, as is one that is not
            scores, rows = self._halves.search(np.ascontiguousarray(queries), min(kept + _SPARE, len(self)))
            for query, own_scores, own_rows in zip(queries, scores, rows, strict=True):
                floor = own_scores[kept - 1] - _SCORE_TOLERANCE
                reached = int(np.count_nonzero(own_scores >= floor))
                if reached < len(own_rows) or reached == len(self):
                    yield query, own_rows[:reached]
                else:  # a second scan of the gallery
                    yield query, self._halves.range_search(query[None], float(floor))[2]

    def _choose_threads(self, queries: int) -> int:
        """Choose one thread for a short search: several wait for each other by spinning, and others delay them."""
        products = queries * len(self) * self._halves.d
        return min(self._threads, max(1, products // _PRODUCTS_PER_THREAD))


def check_unit_rows(embeddings: Floats) -> None:
    """Check that embeddings are float32 (n, d) with rows of unit length.

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
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))  # negated, so that NaN counts as wrong
    if len(wrong):
        raise ValueError(
            f"Embeddings must have unit length; {len(wrong)} of {len(embeddings)} rows have not, "
            f"the first is row {first_row + wrong[0]} of length {lengths[wrong[0]]:.6g}."
        )


def _rank(halves: faiss.IndexScalarQuantizer, query: Floats, rows: Rows, kept: int) -> tuple[Floats, Rows]:
    candidates = np.sort(rows)
    # in float64 equal embeddings get equal scores in float32, whatever the order of summation
    exact = np.einsum("nd,d->n", halves.reconstruct_batch(candidates).astype(np.float64), query.astype(np.float64))
    similarities = exact.astype(np.float32)
    best = np.argsort(-similarities, kind="stable")[:kept]
    # rows rounded to float16 are slightly longer or shorter than 1
    return similarities[best].clip(-1.0, 1.0), candidates[best]


@contextmanager
def _limit_threads(threads: int) -> Iterator[None]:
    """Limit the threads of faiss inside a `with` block."""
    # OpenMP stores this setting per calling thread, so other threads are not affected
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
