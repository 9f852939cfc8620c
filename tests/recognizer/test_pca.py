"""Shorter embeddings: against a singular value decomposition, and what is refused."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from landmarks.errors import ArtifactError
from landmarks.recognizer.pca import PCA
from landmarks.recognizer.similarity_index import SimilarityIndex

Floats = npt.NDArray[np.float32]


def make_gallery(count: int = 200, dimension: int = 12, rank: int = 12) -> Floats:
    random = np.random.default_rng(0)
    # longer along some directions than along others, and with a common part
    rows = random.normal(size=(count, rank)) * np.linspace(3, 0.2, rank) @ random.normal(size=(rank, dimension))
    return unit(rows + 2 * rows[0])


def unit(rows: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_keeps_the_components_of_the_largest_singular_values() -> None:
    gallery = make_gallery()
    pca = PCA.fit([gallery[:50], gallery[50:]], 4)
    expected = np.linalg.svd(gallery.astype(np.float64))[2][:4].T
    assert pca.components.shape == (12, 4)
    # the signs of directions are anybody's choice
    np.testing.assert_allclose(np.abs(np.sum(pca.components * expected, axis=0)), 1, atol=1e-4)
    np.testing.assert_allclose(pca.components.T @ pca.components, np.eye(4), atol=1e-5)


def test_all_components_change_no_similarity() -> None:
    gallery = make_gallery()
    projected = PCA.fit([gallery], 12).apply(gallery)
    np.testing.assert_allclose(projected @ projected.T, gallery @ gallery.T, atol=1e-5)


def test_there_are_no_more_components_than_the_gallery_has() -> None:
    assert PCA.fit([make_gallery(rank=3)], 8).components.shape == (12, 3)
    assert PCA.fit([np.ones((1, 12), np.float32)], 8).components.shape == (12, 1)
    assert PCA.fit([np.zeros((1, 12), np.float32)], 8).components.shape == (12, 1)  # there is always one


def test_projected_rows_have_unit_length_or_none() -> None:
    directions = np.eye(4, 2, dtype=np.float32)
    rows = np.array([[0.6, 0.0, 0.8, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, -1.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(PCA(directions).apply(rows), [[1, 0], [0, 0], [0, -1]])
    assert PCA(directions).apply(rows[:0]).shape == (0, 2)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    random = np.random.default_rng(1)
    pca = PCA(np.linalg.qr(random.normal(size=(300, 40)))[0].astype(np.float32))
    rows = unit(random.normal(size=(33, 300)))
    together = pca.apply(rows)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(pca.apply(row[None])[0], together[place])


def test_an_index_projects_its_queries() -> None:
    gallery, queries = make_gallery(), make_gallery(230)[200:]
    pca = PCA.fit([gallery], 5)
    kept = pca.apply(gallery).astype(np.float16)
    index = SimilarityIndex.from_embeddings(kept, pca)
    assert index.dimension == 12
    similarities, rows = index.search(queries, 7)
    exact = pca.apply(queries).astype(np.float64) @ kept.T.astype(np.float64)
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1, kind="stable")[:, :7])
    np.testing.assert_allclose(similarities, np.take_along_axis(exact, rows, axis=1).clip(-1, 1), atol=1e-6)
    with pytest.raises(ValueError, match="queries have 5 dimensions, the gallery has 12"):
        index.search(pca.apply(queries), 1)


def test_refuses_a_projection_to_other_dimensions() -> None:
    gallery = make_gallery()
    pca = PCA.fit([gallery], 5)
    for dimension in (4, 6, 12):
        with pytest.raises(ValueError, match=f"PCA is to 5 dimensions, the gallery has {dimension}"):
            SimilarityIndex.from_embeddings(unit(gallery[:, :dimension]), pca)


def test_is_read_as_it_was_written(tmp_path: Path) -> None:
    pca = PCA.fit([make_gallery()], 5)
    pca.save(tmp_path / "projection.npy")
    np.testing.assert_array_equal(PCA.load(tmp_path / "projection.npy").components, pca.components)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.eye(4, 2), r"orthonormal columns, received float64 \(4, 2\)"),
        (np.eye(4, 2, dtype=np.float16), r"orthonormal columns, received float16 \(4, 2\)"),
        (np.eye(4, dtype=np.float32)[0], r"orthonormal columns, received float32 \(4,\)"),
        (np.eye(4, 2, dtype=np.float32)[None], r"orthonormal columns, received float32 \(1, 4, 2\)"),
        (np.ones((4, 2), np.float32), r"orthonormal columns, received float32 \(4, 2\)"),
        (1.1 * np.eye(4, 2, dtype=np.float32), r"orthonormal columns, received float32 \(4, 2\)"),
        (np.full((4, 2), np.nan, np.float32), r"orthonormal columns, received float32 \(4, 2\)"),
        (np.array([{"any": "object"}]), "no usable PCA components"),
    ],
)
def test_refuses_what_are_no_components(tmp_path: Path, content: npt.NDArray[np.generic], message: str) -> None:
    np.save(tmp_path / "projection.npy", content, allow_pickle=True)
    with pytest.raises(ArtifactError, match=message):
        PCA.load(tmp_path / "projection.npy")
    with pytest.raises(ArtifactError, match="no usable PCA components"):
        PCA.load(tmp_path / "missing.npy")
