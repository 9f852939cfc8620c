"""Write the index folder: gallery of training photos, PCA, thumbnails, fitted scorer and operating point."""

import csv
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from landmarks.errors import ArtifactError
from landmarks.export.calibration import calibrate
from landmarks.export.predict import Outputs, check_trained_on, concatenate_outputs, predict_split
from landmarks.files.seals import compute_digests
from landmarks.files.writing import replace_folder
from landmarks.params import IndexParams
from landmarks.recognizer.format import (
    BUNDLE_FOLDER,
    EMBEDDINGS_FILE,
    INDEX_FOLDER,
    ITEMS_FILE,
    PCA_FILE,
    Index,
    read_items,
    write_index_file,
)
from landmarks.recognizer.pca import PCA
from landmarks.recognizer.serving_network import ServingNetwork
from landmarks.recognizer.similarity_index import SimilarityIndex, check_unit_rows
from landmarks.recognizer.thumbnails import ThumbnailWriter, open_thumbnails
from landmarks.schema.columns import ATTRIBUTION_COLUMNS, Split
from landmarks.schema.network_format import Floats
from landmarks.shards.format import ShardManifest, read_manifest
from landmarks.shards.photo_table import Attribution, iterate_attributions, read_photo_column

_PROJECTED_FILE = "projected.npy"
_PROJECTED_AT_ONCE = 4096  # rows, which bounds the memory of a projection


def build_index(shards: Path, recognizer: Path, params: IndexParams) -> Path:
    """Write the index folder of a recognizer directory, beside its bundle.

    Args:
        shards: `data/shards`.
        recognizer: `models/VARIANT`, with its bundle.
        params: the section `index`.

    Raises:
        ArtifactError: bundle or shards are missing or damaged, do not belong together, or an output is not finite.
        DataError: there are no val photos for calibration.
    """
    network = ServingNetwork.load(recognizer / BUNDLE_FOLDER)
    manifest = read_manifest(shards)
    check_trained_on(network, manifest)
    try:
        with replace_folder(recognizer / INDEX_FOLDER) as folder:
            pca = _write_gallery(folder, network, shards, manifest, params)
            _write_index(folder, network, shards, manifest, params, pca)
    except ValueError as error:
        raise ArtifactError(f"{recognizer / BUNDLE_FOLDER} gives unusable answers: {error} Train it again.") from error
    return recognizer / INDEX_FOLDER


def _write_index(
    folder: Path, network: ServingNetwork, shards: Path, manifest: ShardManifest, params: IndexParams, pca: PCA | None
) -> None:
    gallery = SimilarityIndex.load(folder / EMBEDDINGS_FILE, pca)
    labels = np.asarray(read_items(folder / ITEMS_FILE).labels)
    val, distractors, known = (
        concatenate_outputs([outputs for outputs, _ in predict_split(network, shards, split)], network)
        for split in (Split.VAL, Split.DISTRACTORS_VAL, Split.DISTRACTORS_TRAIN)
    )
    categories = read_photo_column(shards, "category", distractors.image_ids)
    found = calibrate(folder, gallery, labels, val, distractors, categories, known.embeddings, params, pca)
    index = Index(
        bundle_fingerprint=network.bundle.fingerprint,
        photos=manifest.count_photos(Split.TRAIN),
        scorer=found.models.as_coefficients(),
        precision_target=params.precision_target,
        **asdict(found.operating_point),
        auroc=found.auroc,
        files=compute_digests(folder),
    )
    write_index_file(folder, index)


def _write_gallery(
    folder: Path, network: ServingNetwork, shards: Path, manifest: ShardManifest, params: IndexParams
) -> PCA | None:
    """Write table, embeddings and thumbnails of the training photos, and reduce the embeddings by PCA if asked."""
    shape = (manifest.count_photos(Split.TRAIN), network.embedding_dim)
    # a memory map filled in place, so that memory does not grow with the number of photos
    embeddings = np.lib.format.open_memmap(folder / EMBEDDINGS_FILE, "w+", np.float16, shape)
    with (
        (folder / ITEMS_FILE).open("w", newline="", encoding="utf-8") as stream,
        open_thumbnails(folder) if params.thumbnails else nullcontext() as thumbnails,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image_id", "label", *ATTRIBUTION_COLUMNS))
        _fill_gallery(embeddings, writer, thumbnails, network, shards)
    embeddings.flush()
    dimensions = params.pca_dimensions
    return _project(folder, embeddings, dimensions) if dimensions and dimensions < network.embedding_dim else None


class _Writer(Protocol):
    def writerows(self, rows: Iterator[tuple[str | int, ...]], /) -> object: ...


def _fill_gallery(
    embeddings: npt.NDArray[np.float16],
    writer: _Writer,
    thumbnails: ThumbnailWriter | None,
    network: ServingNetwork,
    shards: Path,
) -> None:
    attributions = iterate_attributions(shards, Split.TRAIN)
    start = 0
    for outputs, pixels in predict_split(network, shards, Split.TRAIN):
        check_unit_rows(outputs.embeddings)
        embeddings[start : start + len(outputs.labels)] = outputs.embeddings
        start += len(outputs.labels)
        writer.writerows(_list_items(outputs, attributions))
        if thumbnails:
            for photo in pixels:
                thumbnails.add(photo)


def _list_items(outputs: Outputs, attributions: Iterator[tuple[str, Attribution]]) -> Iterator[tuple[str | int, ...]]:
    """List the rows of `items.csv` for a batch; attributions are streamed in the order of the shards."""
    for image_id, label in zip(outputs.image_ids, outputs.labels.tolist(), strict=True):
        expected, attribution = next(attributions, ("nothing", ()))
        if expected != image_id:
            raise ArtifactError(
                f"The shards hold photo {image_id} where their table of photos has {expected}. Run `dvc repro prepare`."
            )
        yield image_id, label, *attribution


def _project(folder: Path, embeddings: npt.NDArray[np.float16], dimensions: int) -> PCA:
    """Fit PCA on the embeddings of the gallery, and replace them on disk by their projections."""
    with threadpool_limits(1, user_api="blas"):  # the last digits of sums depend on the number of threads
        pca = PCA.fit(_iterate_parts(embeddings), dimensions)
    pca.save(folder / PCA_FILE)
    shape = (len(embeddings), pca.components.shape[1])
    projected = np.lib.format.open_memmap(folder / _PROJECTED_FILE, "w+", np.float16, shape)
    start = 0
    for part in _iterate_parts(embeddings):
        projected[start : start + len(part)] = pca.apply(part)
        start += len(part)
    projected.flush()
    (folder / _PROJECTED_FILE).replace(folder / EMBEDDINGS_FILE)
    return pca


def _iterate_parts(embeddings: npt.NDArray[np.float16]) -> Iterator[Floats]:
    for start in range(0, len(embeddings), _PROJECTED_AT_ONCE):
        yield embeddings[start : start + _PROJECTED_AT_ONCE].astype(np.float32)
