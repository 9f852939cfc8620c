"""The gallery of a recognizer: embeddings of the training photos, the landmark scorer and its operating point."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from landmarks.errors import ArtifactError
from landmarks.recognizer.format import (
    DISTRACTORS_FILE,
    EMBEDDINGS_FILE,
    ITEMS_FILE,
    PCA_FILE,
    REBUILD,
    Credit,
    Index,
    read_index,
    read_items,
)
from landmarks.recognizer.pca import PCA
from landmarks.recognizer.scorer import LandmarkScorer, ScorerModels
from landmarks.recognizer.serving_network import ServingNetwork
from landmarks.recognizer.similarity_index import SimilarityIndex
from landmarks.recognizer.thumbnails import THUMBNAILS_FILE, Thumbnails
from landmarks.schema.columns import DEMO_AUTHOR


@dataclass(frozen=True)
class Gallery:
    """Embeddings of the training photos, with the scorer and the operating point for OOD detection.

    Attributes:
        index: the embeddings.
        scorer: computes landmark score and confidence.
        image_ids: by row of the index.
        labels: by row of the index.
        credits: by row of the index.
        threshold: the operating point; photos with at least this landmark score show a landmark.
        precision_target: precision that the threshold was chosen for.
        thumbnails: thumbnails of the photos; None if the index has none.
    """

    index: SimilarityIndex
    scorer: LandmarkScorer
    image_ids: tuple[str, ...]
    labels: tuple[int, ...]
    credits: tuple[Credit, ...]
    threshold: float
    precision_target: float
    thumbnails: Thumbnails | None = None

    @property
    def is_of_demo(self) -> bool:
        """Whether its photos are those of the demo, which show landmarks that do not exist."""
        return bool(self.credits) and self.credits[0][0] == DEMO_AUTHOR

    @classmethod
    def load(cls, folder: Path, network: ServingNetwork, threads: int | None = None) -> "Gallery":
        """Read the index folder of a recognizer directory, without comparing digests; see `format.check_recognizer`.

        Raises:
            ArtifactError: a file is missing, cannot be used, is of another format, or belongs to another bundle.
        """
        content = read_index(folder)
        if content.bundle_fingerprint != network.bundle.fingerprint:
            raise ArtifactError(f"{folder} was made with another bundle. Run the index stage again: `dvc repro`.")
        items = read_items(folder / ITEMS_FILE)
        pca = _load_pca(folder, content, network)
        index = SimilarityIndex.load(folder / EMBEDDINGS_FILE, pca, threads)
        photos = len(items.image_ids)
        if not len(index) == photos == content.photos:
            raise ArtifactError(
                f"{folder} has {len(index)} embeddings and {photos} photos, expected {content.photos}. {REBUILD}"
            )
        if index.dimension != network.embedding_dim or not set(items.labels) <= set(range(network.labels)):
            raise ArtifactError(f"{folder} does not fit its network: other dimensions or labels. {REBUILD}")
        known = _load_distractors(folder, content, network, pca, threads)
        try:
            models = ScorerModels.from_coefficients(content.scorer, network.embedding_dim)
        except ValueError as error:
            raise ArtifactError(f"The scorer in {folder} does not fit its network: {error}. {REBUILD}") from error
        scorer = LandmarkScorer(index, items.labels, known, models)
        thumbnails = _load_thumbnails(folder, content)
        return cls(index, scorer, *items, content.threshold, content.precision_target, thumbnails)

    def find_thumbnail(self, image_id: str) -> bytes | None:
        """Return a small JPEG of a gallery photo; None if the photo is unknown or there are no thumbnails."""
        row = self._rows.get(image_id) if self.thumbnails else None
        return None if self.thumbnails is None or row is None else self.thumbnails.read(row)

    def find_row(self, image_id: str) -> int:
        """Return the row of a photo, both in the gallery and in the training split of its shards.

        Raises:
            KeyError: the gallery does not have the photo.
        """
        return self._rows[image_id]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.image_ids)}


def _load_pca(folder: Path, content: Index, network: ServingNetwork) -> PCA | None:
    if PCA_FILE not in content.files:
        return None
    pca = PCA.load(folder / PCA_FILE)
    if pca.components.shape[0] != network.embedding_dim:
        raise ArtifactError(f"{folder / PCA_FILE} does not fit its network: other dimensions. {REBUILD}")
    return pca


def _load_distractors(
    folder: Path, content: Index, network: ServingNetwork, pca: PCA | None, threads: int | None
) -> SimilarityIndex | None:
    if DISTRACTORS_FILE not in content.files:
        return None
    distractors = SimilarityIndex.load(folder / DISTRACTORS_FILE, pca, threads)
    if distractors.dimension != network.embedding_dim:
        raise ArtifactError(f"{folder / DISTRACTORS_FILE} does not fit its network: other dimensions. {REBUILD}")
    return distractors


def _load_thumbnails(folder: Path, content: Index) -> Thumbnails | None:
    if THUMBNAILS_FILE not in content.files:
        return None
    thumbnails = Thumbnails.load(folder)
    if len(thumbnails) != content.photos:
        raise ArtifactError(f"{folder} has {len(thumbnails)} thumbnails, expected {content.photos}. {REBUILD}")
    return thumbnails
