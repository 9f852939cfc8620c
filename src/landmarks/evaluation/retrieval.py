"""Retrieval metrics: mAP@100, precision, recall and the position of the first hit. NumPy only.

`score_hits` computes them all, for rankings from a file or from a search.

References:
    Weyand et al., "Google Landmarks Dataset v2", 2020, section 4: mAP@100. The conventions for missing and repeated
    images are those of the evaluation code published with that data set.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from landmarks.errors import ScoringError
from landmarks.evaluation.gap import refuse_unknown

DEPTH = 100  # positions of a ranking that count
_BATCH_QUERIES = 1024  # bounds the memory of their hits

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Search = Callable[[npt.NDArray[np.float32], int], tuple[Floats, Ints]]


@dataclass(frozen=True)
class RetrievalScores:
    """Retrieval metrics, averaged over queries.

    Attributes:
        queries: number of queries.
        mean_average_precision: mAP at the depth of the arrays below.
        mean_precisions: float64 (depth,), mean precision of the first 1, 2, … positions.
        recalls: float64 (depth,), fraction of queries with a hit in the first 1, 2, … positions.
        mean_first_hit: mean position of the first hit, from 1; depth + 1 for a query without a hit.
        median_first_hit: median of the same.
    """

    queries: int
    mean_average_precision: float
    mean_precisions: npt.NDArray[np.float64]
    recalls: npt.NDArray[np.float64]
    mean_first_hit: float
    median_first_hit: float

    def recall_at(self, k: int) -> float:
        """Return the fraction of queries with a hit in the first k positions."""
        return float(self.recalls[k - 1])


def score_hits(batches: Iterable[tuple[Bools, Ints]], depth: int = DEPTH) -> RetrievalScores:
    """Score rankings by their hits; memory grows by two numbers per query.

    The average precision of a query is (1 / min(relevant, depth)) * sum over i of rel(i) * P(i), where rel(i) is 1 if
    position i is a hit, else 0, and P(i) is the precision of the first i positions. It is 0 for a query without
    relevant images.

    Args:
        batches: of queries: hits, bool (q, any number of positions), best first; relevant, int (q,), number of
            relevant images.
        depth: positions that count; missing ones are no hits.

    Raises:
        ScoringError: there are no queries, or a query has more hits than relevant images.

    >>> scores = score_hits([(np.array([[False, True], [True, False]]), np.array([1, 3]))], depth=2)
    >>> scores.mean_precisions.tolist(), round(scores.mean_average_precision, 6), scores.mean_first_hit
    ([0.5, 0.5], 0.5, 1.5)
    """
    averages, first_hits = [np.empty(0)], [np.empty(0, np.int64)]
    precision_sums = np.zeros(depth)
    for given, relevant in batches:
        hits = np.pad(given[:, :depth], ((0, 0), (0, max(0, depth - given.shape[1]))))
        _check_hits(hits, relevant)
        precisions = np.cumsum(hits, axis=1) / np.arange(1, depth + 1)
        averages.append((precisions * hits).sum(axis=1) / np.clip(relevant, 1, depth))
        first_hits.append(np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, depth + 1))
        precision_sums += precisions.sum(axis=0)
    return _summarise(np.concatenate(averages), np.concatenate(first_hits), precision_sums)


def score_retrieval(
    predictions: Mapping[str, Sequence[str]], solution: Mapping[str, Collection[str]], depth: int = DEPTH
) -> RetrievalScores:
    """Score rankings by image id against the relevant images.

    Args:
        predictions: gallery ids of each query, best first. A repeated image is no second hit, but takes a position. A
            query that is absent has an empty ranking.
        solution: relevant gallery ids of every query.
        depth: positions that count.

    Raises:
        ScoringError: a query is not in the solution, or the solution has no queries.
    """
    refuse_unknown(predictions, solution)
    truth = list(solution.items())

    def iterate_batches() -> Iterator[tuple[Bools, Ints]]:
        for start in range(0, len(truth), _BATCH_QUERIES):
            queries = truth[start : start + _BATCH_QUERIES]
            relevant = [frozenset(images) for _, images in queries]
            hits = np.zeros((len(queries), depth), np.bool_)
            for row, (query, _) in enumerate(queries):
                ranking = predictions.get(query, ())[:depth]
                hits[row, : len(ranking)] = _find_hits(ranking, relevant[row])
            yield hits, np.array([len(images) for images in relevant])

    return score_hits(iterate_batches(), depth)


def score_search(
    search: Search,
    gallery_labels: Ints,
    batches: Iterable[tuple[npt.NDArray[np.float32], Ints]],
    depth: int = DEPTH,
) -> RetrievalScores:
    """Score a similarity search, in which gallery photos with the label of the query are relevant.

    Args:
        search: as in `find_search_hits`.
        gallery_labels: as in `find_search_hits`.
        batches: of embeddings and labels, as in `find_search_hits`; one batch is in memory at a time.
        depth: positions that count.

    Raises:
        ScoringError: there are no queries.
        ValueError: the embeddings are not of unit length.
    """
    return score_hits((find_search_hits(search, gallery_labels, *batch, depth) for batch in batches), depth)


def find_search_hits(
    search: Search, gallery_labels: Ints, embeddings: npt.NDArray[np.float32], labels: Ints, depth: int = DEPTH
) -> tuple[Bools, Ints]:
    """Search the gallery, and find which results have the label of the query.

    Args:
        search: as `SimilarityIndex.search`: from embeddings (q, d) and k to similarities and rows (q, at most k).
        gallery_labels: int (n,), from 0, by row of the gallery.
        embeddings: float32 (q, d), rows of unit length, or zeros, which have no results.
        labels: int (q,); the gallery may lack some of them.
        depth: positions that count.

    Returns:
        hits: bool (q, depth).
        relevant: int (q,), number of relevant photos.

    Raises:
        ValueError: the embeddings are not of unit length.
    """
    photos_of_label = np.bincount(gallery_labels)
    seen = embeddings.any(axis=1)
    hits = np.zeros((len(labels), depth), np.bool_)
    if seen.any():
        _, rows = search(embeddings[seen], depth)
        hits[seen, : rows.shape[1]] = gallery_labels[rows] == labels[seen, None]
    # labels that are not in the gallery index a dummy and count as 0
    is_known = (labels >= 0) & (labels < len(photos_of_label))
    return hits, np.where(is_known, photos_of_label[np.where(is_known, labels, 0)], 0)


def _find_hits(ranking: Sequence[str], relevant: Collection[str]) -> list[bool]:
    seen: set[str] = set()
    hits = []
    for image_id in ranking:
        hits.append(image_id in relevant and image_id not in seen)
        seen.add(image_id)
    return hits


def _summarise(
    averages: npt.NDArray[np.float64], first_hits: npt.NDArray[np.int64], precision_sums: npt.NDArray[np.float64]
) -> RetrievalScores:
    queries, depth = len(averages), len(precision_sums)
    if not queries:
        raise ScoringError("There are no queries to score. A solution needs at least one.")
    counts = np.bincount(first_hits, minlength=depth + 2)[1 : depth + 1]
    return RetrievalScores(
        queries=queries,
        mean_average_precision=float(averages.mean()),
        mean_precisions=precision_sums / queries,
        recalls=np.cumsum(counts) / queries,
        mean_first_hit=float(first_hits.mean()),
        median_first_hit=float(np.median(first_hits)),
    )


def _check_hits(hits: Bools, relevant: Ints) -> None:
    bad = np.flatnonzero(hits.sum(axis=1) > relevant)
    if len(bad):
        raise ScoringError(
            f"A ranking has {hits[bad[0]].sum()} hits, but only {relevant[bad[0]]} photos are relevant: "
            "count each once."
        )
