"""mAP, precision, recall and first hits against slow oracles written from their definitions."""

import statistics
import tracemalloc
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from landmarks.errors import ScoringError
from landmarks.evaluation.retrieval import score_hits, score_retrieval, score_search
from landmarks.recognizer.similarity_index import SimilarityIndex

Rankings = dict[str, tuple[str, ...]]
Truth = dict[str, frozenset[str]]


def name(number: int) -> str:
    return f"fedcba98765432{number:02d}"


GOLDEN_SOLUTION: Truth = {
    "q1": frozenset({name(10), name(20)}),
    "q2": frozenset({name(10)}),
    "q3": frozenset({name(30), name(40), name(50)}),
    "q4": frozenset({name(30)}),
}
GOLDEN_PREDICTIONS: Rankings = {"q2": (name(0), name(10)), "q3": (name(40),), "q4": (name(30), name(40))}


def find_hits_slowly(ranking: Sequence[str], relevant: frozenset[str], depth: int) -> list[bool]:
    """Which places hold a relevant photo that no earlier place holds."""
    return [
        place < len(ranking) and ranking[place] in relevant and ranking[place] not in ranking[:place]
        for place in range(depth)
    ]


def average_precision_slowly(ranking: Sequence[str], relevant: frozenset[str], depth: int) -> float:
    if not relevant:
        return 0.0
    total, correct_so_far = 0.0, 0
    for i, hit in enumerate(find_hits_slowly(ranking, relevant, depth)):
        if hit:
            correct_so_far += 1
            total += correct_so_far / (i + 1)
    return total / min(len(relevant), depth)


def first_hit_slowly(ranking: Sequence[str], relevant: frozenset[str], depth: int) -> int:
    hits = find_hits_slowly(ranking, relevant, depth)
    return hits.index(True) + 1 if True in hits else depth + 1


@st.composite
def draw_cases(draw: st.DrawFn) -> tuple[Rankings, Truth, int]:
    gallery = st.sampled_from([name(number) for number in range(8)])
    queries = draw(st.lists(st.text("0123456789abcdef", min_size=1, max_size=3), min_size=1, max_size=8, unique=True))
    solution = {query: draw(st.frozensets(gallery, max_size=5)) for query in queries}
    answered = draw(st.lists(st.sampled_from(queries), unique=True))
    predictions = {query: tuple(draw(st.lists(gallery, max_size=9))) for query in answered}
    return predictions, solution, draw(st.sampled_from([1, 2, 3, 5, 100]))


def test_golden_values() -> None:
    scores = score_retrieval(GOLDEN_PREDICTIONS, GOLDEN_SOLUTION)
    assert scores.mean_average_precision == pytest.approx(0.458333, abs=1e-6)
    assert (scores.mean_first_hit, scores.median_first_hit) == (26.25, 1.5)
    assert score_retrieval(GOLDEN_PREDICTIONS, GOLDEN_SOLUTION, depth=1).mean_average_precision == 0.5
    assert score_retrieval(GOLDEN_PREDICTIONS, GOLDEN_SOLUTION, depth=2).mean_precisions.tolist() == [0.5, 0.375]
    assert scores.mean_precisions[:2].tolist() == [0.5, 0.375]
    assert (scores.recall_at(1), scores.recall_at(2), scores.recall_at(100)) == (0.5, 0.75, 0.75)
    assert scores.queries == 4


@given(draw_cases())
def test_agrees_with_the_oracles(case: tuple[Rankings, Truth, int]) -> None:
    predictions, solution, depth = case
    scores = score_retrieval(*case)
    rankings = [(predictions.get(query, ()), relevant) for query, relevant in solution.items()]
    averages = [average_precision_slowly(ranking, relevant, depth) for ranking, relevant in rankings]
    assert scores.mean_average_precision == pytest.approx(statistics.mean(averages), abs=1e-12)
    firsts = [first_hit_slowly(ranking, relevant, depth) for ranking, relevant in rankings]
    assert scores.mean_first_hit == pytest.approx(statistics.mean(firsts))
    assert scores.median_first_hit == statistics.median(firsts)
    for k in range(1, depth + 1):
        hits = [find_hits_slowly(ranking, relevant, depth)[:k] for ranking, relevant in rankings]
        assert scores.mean_precisions[k - 1] == pytest.approx(statistics.mean(sum(row) / k for row in hits))
        assert scores.recall_at(k) == pytest.approx(statistics.mean(any(row) for row in hits))


@given(draw_cases())
def test_a_missing_query_and_an_empty_ranking_are_the_same(case: tuple[Rankings, Truth, int]) -> None:
    predictions, solution, depth = case
    everywhere = {query: predictions.get(query, ()) for query in solution}
    some, all_of_them = (score_retrieval(given, solution, depth) for given in (predictions, everywhere))
    assert some.mean_average_precision == all_of_them.mean_average_precision
    assert some.mean_first_hit == all_of_them.mean_first_hit


def test_a_photo_that_comes_again_takes_up_its_place() -> None:
    solution: Truth = {"q": frozenset({"a", "b"})}
    assert score_retrieval({"q": ("a", "a", "b")}, solution).mean_average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert score_retrieval({"q": ("a", "a", "b")}, solution, depth=2).mean_average_precision == 0.5


def test_only_the_first_hundred_places_count() -> None:
    filler = tuple(f"filler{number}" for number in range(99))
    solution: Truth = {"q": frozenset({"a"})}
    assert score_retrieval({"q": (*filler, "a")}, solution).mean_average_precision == 0.01
    late = score_retrieval({"q": (*filler, "filler99", "a")}, solution)
    assert (late.mean_average_precision, late.mean_first_hit) == (0.0, 101)


def test_a_hundred_hits_are_perfect_however_many_there_are_to_find() -> None:
    relevant = tuple(f"{number}" for number in range(300))
    assert score_retrieval({"q": relevant[:100]}, {"q": frozenset(relevant)}).mean_average_precision == 1.0


def test_many_queries_are_scored_like_few() -> None:
    random = np.random.default_rng(3)
    names = [name(number) for number in range(20)]
    solution = {f"{query}": frozenset(random.choice(names, 3, replace=False).tolist()) for query in range(2500)}
    predictions = {query: tuple(random.permutation(names).tolist()) for query in solution}
    scores = score_retrieval(predictions, solution)
    averages = [average_precision_slowly(predictions[query], solution[query], 100) for query in solution]
    assert scores.mean_average_precision == pytest.approx(statistics.mean(averages), abs=1e-12)
    assert scores.queries == 2500


def test_unknown_queries_and_no_queries_are_refused() -> None:
    with pytest.raises(ScoringError, match=r"1 predictions are for photos .* for example 'x'"):
        score_retrieval({"x": ("a",)}, {"q": frozenset({"a"})})
    with pytest.raises(ScoringError, match="no queries"):
        score_retrieval({}, {})
    with pytest.raises(ScoringError, match="2 hits, but only 1 photos are relevant: count each once"):
        score_hits([(np.array([[True, True]]), np.array([1]))])
    three = np.array([[True, False, False], [True, True, False], [True, True, True]])
    with pytest.raises(ScoringError, match="2 hits, but only 1 photos are relevant: count each once"):
        score_hits([(three, np.array([1, 1, 2]))])


def make_embeddings(seed: int, count: int, dimension: int = 8) -> npt.NDArray[np.float32]:
    embeddings = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    # numbers that half precision holds exactly, as the gallery keeps them
    return embeddings.astype(np.float16).astype(np.float32)


def slice_batches(
    embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], size: int
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    for start in range(0, len(labels), size):
        yield embeddings[start : start + size], labels[start : start + size]


@pytest.mark.parametrize("gallery_photos", [40, 400])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_search_is_scored_as_its_rankings_are(gallery_photos: int, size: int) -> None:
    random = np.random.default_rng(0)
    gallery, queries = make_embeddings(1, gallery_photos), make_embeddings(2, 30)
    gallery_labels, labels = random.integers(0, 5, gallery_photos), random.integers(0, 5, 30)
    found = score_search(
        SimilarityIndex.from_embeddings(gallery).search, gallery_labels, slice_batches(queries, labels, size)
    )
    order = np.argsort(-(queries.astype(np.float64) @ gallery.T.astype(np.float64)), axis=1, kind="stable")
    solution = {
        f"{query}": frozenset(f"{row}" for row in np.flatnonzero(gallery_labels == label))
        for query, label in enumerate(labels)
    }
    rankings = {f"{query}": tuple(f"{row}" for row in rows) for query, rows in enumerate(order)}
    expected = score_retrieval(rankings, solution)
    assert found.mean_average_precision == pytest.approx(expected.mean_average_precision, abs=1e-12)
    np.testing.assert_allclose(found.mean_precisions, expected.mean_precisions)
    np.testing.assert_allclose(found.recalls, expected.recalls)
    assert (found.mean_first_hit, found.median_first_hit) == (expected.mean_first_hit, expected.median_first_hit)


def test_a_query_without_anything_similar_or_relevant_finds_nothing() -> None:
    gallery = make_embeddings(1, 4)
    search = SimilarityIndex.from_embeddings(gallery).search
    queries = np.stack([gallery[0], np.zeros(8, np.float32), gallery[2]])
    scores = score_search(
        search, np.array([0, 0, 1, 1]), [(queries, np.array([0, 0, 9])), (gallery[:1], np.array([-1]))]
    )
    assert scores.recall_at(1) == 1 / 4
    assert scores.queries == 4
    blank = score_search(search, np.array([0, 0, 1, 1]), [(np.zeros((2, 8), np.float32), np.array([0, 1]))])
    assert (blank.mean_average_precision, blank.mean_first_hit) == (0.0, 101)
    of_one_landmark = score_search(search, np.zeros(4, np.int64), [(gallery[:2], np.array([0, 3]))])
    assert (of_one_landmark.mean_average_precision, of_one_landmark.recall_at(1)) == (0.5, 0.5)


def test_memory_does_not_grow_with_the_gallery_times_the_queries() -> None:
    gallery_photos, batches, size = 20_000, 100, 64

    def search(queries: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        rows = np.tile(np.arange(k), (len(queries), 1))
        return rows.astype(np.float32), rows

    stream = ((make_embeddings(number, size), np.zeros(size, np.int64)) for number in range(batches))
    tracemalloc.start()
    scores = score_search(search, np.arange(gallery_photos) % 7, stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert scores.queries == batches * size
    assert peak < 2_000_000  # one byte for each pair would be 128 MB
