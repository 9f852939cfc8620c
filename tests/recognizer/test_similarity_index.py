"""Search against a brute-force oracle, its ties, and what it refuses."""

from pathlib import Path
from threading import Thread

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landmarks.errors import ArtifactError
from landmarks.recognizer.similarity_index import SimilarityIndex

Floats = npt.NDArray[np.float32]


def make_unit_rows(count: int, dimension: int, seed: int) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    # numbers that half precision holds exactly, as the gallery keeps them
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float16).astype(np.float32)


def search_slowly(gallery: Floats, query: Floats, k: int) -> list[tuple[float, int]]:
    """One query: every similarity in float64, rounded, sorted by falling similarity and rising row."""
    scored = [
        (np.float32(sum(float(a) * float(b) for a, b in zip(query, row, strict=True))), position)
        for position, row in enumerate(gallery)
    ]
    return [(float(score), position) for score, position in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]]


@settings(deadline=None, max_examples=60)
@given(
    distinct=st.integers(1, 12),
    copies=st.lists(st.integers(0, 11), max_size=60),
    dimension=st.integers(1, 6),
    k=st.integers(1, 80),
    queries=st.integers(0, 25),
    seed=st.integers(0, 1000),
)
def test_equals_brute_force_with_many_equal_embeddings(
    distinct: int, copies: list[int], dimension: int, k: int, queries: int, seed: int
) -> None:
    originals = make_unit_rows(distinct, dimension, seed)
    gallery = originals[[*range(distinct), *(copy % distinct for copy in copies)]]
    asked = np.concatenate([make_unit_rows(queries, dimension, seed + 1), originals[:1]])

    similarities, rows = SimilarityIndex.from_embeddings(gallery).search(asked, k)

    assert similarities.dtype == np.float32
    assert rows.dtype == np.int64
    for query, own_similarities, own_rows in zip(asked, similarities, rows, strict=True):
        expected = search_slowly(gallery, query, k)
        np.testing.assert_allclose(own_similarities, np.clip([score for score, _ in expected], -1, 1), atol=1e-6)
        assert own_rows.tolist() == [row for _, row in expected]


def test_of_equal_embeddings_the_lower_rows_come_first_even_where_k_cuts_between_them() -> None:
    gallery = np.repeat(make_unit_rows(3, 16, 0), 50, axis=0)
    index = SimilarityIndex.from_embeddings(gallery)
    similarities, rows = index.search(gallery[60:61], 7)
    assert rows.tolist() == [[50, 51, 52, 53, 54, 55, 56]]
    np.testing.assert_allclose(similarities, 1, atol=1e-3)


def test_a_query_gets_the_same_answer_alone_in_a_crowd_and_on_one_thread() -> None:
    gallery, queries = make_unit_rows(500, 33, 1), make_unit_rows(64, 33, 2)
    together = SimilarityIndex.from_embeddings(gallery).search(queries, 9)
    alone = SimilarityIndex.from_embeddings(gallery, threads=1)
    for position, query in enumerate(queries):
        similarities, rows = alone.search(query[None], 9)
        assert np.array_equal(similarities[0], together[0][position])
        assert np.array_equal(rows[0], together[1][position])


def test_threads_may_share_an_index() -> None:
    gallery, queries = make_unit_rows(300, 8, 3), make_unit_rows(40, 8, 4)
    index = SimilarityIndex.from_embeddings(gallery, threads=1)
    expected = index.search(queries, 5)[1]
    found: dict[int, npt.NDArray[np.int64]] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            found[number] = index.search(queries, 5)[1]

    threads = [Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
    assert all(np.array_equal(rows, expected) for rows in found.values())


def test_an_empty_gallery_and_no_queries_give_empty_answers() -> None:
    empty = SimilarityIndex.from_embeddings(np.empty((0, 4), np.float32))
    assert empty.search(make_unit_rows(3, 4, 0), 5)[1].shape == (3, 0)
    filled = SimilarityIndex.from_embeddings(make_unit_rows(7, 4, 0))
    assert filled.search(np.empty((0, 4), np.float32), 5)[0].shape == (0, 5)


def test_a_gallery_takes_half_the_memory_and_answers_nearly_as_the_whole_numbers_do() -> None:
    random = np.random.default_rng(0)
    gallery = random.normal(size=(300, 64)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    similarities, rows = SimilarityIndex.from_embeddings(gallery).search(gallery, 3)
    np.testing.assert_array_equal(rows[:, 0], np.arange(300))
    np.testing.assert_allclose(similarities, np.take_along_axis(gallery @ gallery.T, rows, axis=1), atol=5e-4)
    halves = SimilarityIndex.from_embeddings(gallery.astype(np.float16))
    np.testing.assert_array_equal(halves.search(gallery, 3)[0], similarities)


def with_value(value: float) -> Floats:
    rows = make_unit_rows(5, 4, 0)
    rows[2, 1] = value
    return rows


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (with_value(np.nan), r"1 of 5 rows have not, the first is row 2 of length nan"),
        (with_value(np.inf), r"row 2 of length inf"),
        (with_value(3.0), r"1 of 5 rows have not, the first is row 2"),
        (make_unit_rows(5, 4, 0) * np.float32(1.01), r"5 of 5 rows have not, the first is row 0 of length 1.01"),
        (make_unit_rows(5, 4, 0).astype(np.float64), r"received float64 \(5, 4\)"),
        (make_unit_rows(5, 4, 0)[0], r"received float32 \(4,\)"),
        (make_unit_rows(5, 4, 0)[None], r"received float32 \(1, 5, 4\)"),
        (np.empty((5, 0), np.float32), r"received float32 \(5, 0\)"),
    ],
)
def test_refuses_what_are_no_unit_embeddings(embeddings: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimilarityIndex.from_embeddings(embeddings)
    with pytest.raises(ValueError, match=message):
        SimilarityIndex.from_embeddings(make_unit_rows(5, 4, 0)).search(embeddings, 1)


@pytest.mark.parametrize("dimension", [3, 5])
def test_refuses_queries_of_another_dimension_with_both_numbers(dimension: int) -> None:
    with pytest.raises(ValueError, match=f"queries have {dimension} dimensions, the gallery has 4"):
        SimilarityIndex.from_embeddings(make_unit_rows(5, 4, 0)).search(make_unit_rows(1, dimension, 0), 1)


def test_a_row_far_down_is_named_by_its_number_in_the_gallery() -> None:
    rows = make_unit_rows(5000, 3, 0)
    rows[4500:4502] = 0
    with pytest.raises(ValueError, match="the first is row 4500 of length 0"):
        SimilarityIndex.from_embeddings(rows)


@pytest.mark.parametrize("k", [0, -1])
def test_refuses_k_below_one(k: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1, received {k}"):
        SimilarityIndex.from_embeddings(make_unit_rows(5, 4, 0)).search(make_unit_rows(1, 4, 0), k)


def test_loads_what_numpy_saved(tmp_path: Path) -> None:
    gallery = make_unit_rows(20, 6, 5)
    np.save(tmp_path / "embeddings.npy", gallery)
    loaded = SimilarityIndex.load(tmp_path / "embeddings.npy")
    assert (len(loaded), loaded.dimension) == (20, 6)
    assert loaded.search(gallery, 1)[1][:, 0].tolist() == list(range(20))


def test_refuses_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npy"
    with pytest.raises(ArtifactError, match="is missing"):
        SimilarityIndex.load(path)
    np.save(path, make_unit_rows(20, 6, 5))
    whole = path.read_bytes()
    for damaged in (b"", whole[:40], whole[:-1], b"PK\x03\x04" + whole[4:], b"x" + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="has no usable embeddings"):
            SimilarityIndex.load(path)


def test_never_unpickles(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npy"
    np.save(path, np.array([{"any": "object"}]), allow_pickle=True)
    with pytest.raises(ArtifactError, match="Python objects"):
        SimilarityIndex.load(path)


def test_threads_are_for_long_searches_alone() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(50_000, 64)).astype(np.float32)
    index = SimilarityIndex.from_embeddings(rows / np.linalg.norm(rows, axis=1, keepdims=True), threads=8)
    assert [index._choose_threads(queries) for queries in (1, 32, 125, 300, 10_000)] == [1, 1, 2, 4, 8]


def test_of_many_equal_photos_the_first_rows_are_found() -> None:
    random = np.random.default_rng(3)
    rows = random.normal(size=(300, 16)).astype(np.float32)
    rows[5::7] = rows[5]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = SimilarityIndex.from_embeddings(rows)
    for k in (1, 2, 3, 10):
        assert index.search(rows[5:6], k)[1][0].tolist() == list(range(5, 5 + 7 * k, 7))
