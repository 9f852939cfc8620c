"""Embed the training photos as the gallery, and calibrate the threshold of "no landmark" on val."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from landmarks.data.attribution import Attribution, iterate_attributions
from landmarks.data.recognizer_files import EMBEDDINGS_FILE, INDEX_FILE, INDEX_FORMAT, ITEMS_FILE
from landmarks.data.schema import ATTRIBUTION_COLUMNS, Split
from landmarks.data.shards import ShardManifest, iterate_batches, read_manifest
from landmarks.errors import ArtifactError, DataError
from landmarks.files import compute_sha256, replace_folder, write_json
from landmarks.inference import BATCH, Batch, check_trained_on, run_split
from landmarks.metrics import Calibration, calibrate_threshold
from landmarks.params import IndexParams
from landmarks.recognition import ServingNetwork, compute_landmark_scores
from landmarks.retrieval.index import SimilarityIndex, check_unit_rows
from landmarks.retrieval.thumbnails import OFFSETS_FILE, THUMBNAILS_FILE, open_thumbnails


def index(shards: Path, model_dir: Path, params: IndexParams) -> Path:
    """Write the index folder of a recognizer directory, beside its bundle.

    Args:
        shards: `data/shards`.
        model_dir: `models/VARIANT`, with its bundle.
        params: the section `index`.

    Raises:
        ArtifactError: bundle or shards are missing or damaged, or do not belong together.
        DataError: there are no val photos to calibrate on.
    """
    network = ServingNetwork.load(model_dir / "bundle")
    manifest = read_manifest(shards)
    check_trained_on(network, manifest)
    try:
        with replace_folder(model_dir / "index") as temporary:
            _write_gallery(temporary, network, shards, manifest)
            gallery = SimilarityIndex.load(temporary / EMBEDDINGS_FILE)
            if params.thumbnails:
                _write_thumbnails(temporary, shards)
            calibration = calibrate(network, gallery, shards, params.precision_target)
            _write_facts(temporary, network, manifest, calibration, params)
    except ValueError as error:
        raise ArtifactError(f"{model_dir / 'bundle'} gives unusable answers: {error} Train it again.") from error
    return model_dir / "index"


def calibrate(network: ServingNetwork, gallery: SimilarityIndex, shards: Path, precision_target: float) -> Calibration:
    """Find the threshold on val photos and the val part of the photos of no landmark; the latter are never right.

    Raises:
        DataError: there are no val photos.
    """
    batches = []
    for split in (Split.VAL, Split.DISTRACTORS_VAL):
        for batch in run_split(network, shards, split):
            if not np.isfinite(batch.probabilities).all():
                raise ValueError("probabilities must be numbers without NaN.")
            batches.append((compute_landmark_scores(gallery, batch.embeddings), batch.correct))
    if not batches:
        raise DataError("There are no val photos to calibrate the threshold on. Raise select.val_fraction.")
    scores, correct = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return calibrate_threshold(scores, correct, precision_target)


def _write_facts(
    folder: Path, network: ServingNetwork, manifest: ShardManifest, calibration: Calibration, params: IndexParams
) -> None:
    files = (EMBEDDINGS_FILE, ITEMS_FILE, *((THUMBNAILS_FILE, OFFSETS_FILE) if params.thumbnails else ()))
    facts = {
        "format": INDEX_FORMAT,
        "bundle_fingerprint": network.fingerprint,
        "photos": manifest.count_photos(Split.TRAIN),
        "threshold": calibration.threshold,
        "precision_target": params.precision_target,
        "precision": calibration.precision,
        "answered_fraction": calibration.answered_fraction,
        "files": {name: compute_sha256(folder / name) for name in files},
    }
    write_json(folder / INDEX_FILE, facts)


def _write_gallery(folder: Path, network: ServingNetwork, shards: Path, manifest: ShardManifest) -> None:
    shape = (manifest.count_photos(Split.TRAIN), network.embedding_dim)
    # filled in place, so that memory does not grow with the number of photos
    embeddings = np.lib.format.open_memmap(folder / EMBEDDINGS_FILE, "w+", np.float32, shape)
    with (folder / ITEMS_FILE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image_id", "label", *ATTRIBUTION_COLUMNS))
        attributions = iterate_attributions(shards, Split.TRAIN)
        start = 0
        for batch in run_split(network, shards, Split.TRAIN):
            check_unit_rows(batch.embeddings)
            embeddings[start : start + len(batch.labels)] = batch.embeddings
            writer.writerows(_list_items(batch, attributions))
            start += len(batch.labels)
    embeddings.flush()


def _write_thumbnails(folder: Path, shards: Path) -> None:
    with open_thumbnails(folder) as thumbnails:
        for _, _, pixels in iterate_batches(shards, Split.TRAIN, BATCH):
            for photo in pixels:
                thumbnails.add(photo)


def _list_items(batch: Batch, attributions: Iterator[tuple[str, Attribution]]) -> Iterator[tuple[str | int, ...]]:
    """The rows of a batch; the attributions come in the order of the shards, so that none are kept in memory."""
    for image_id, label in zip(batch.image_ids, batch.labels.tolist(), strict=True):
        expected, attribution = next(attributions, ("nothing", ()))
        if expected != image_id:
            raise ArtifactError(
                f"The shards hold photo {image_id} where their table of photos has {expected}. Run `dvc repro prepare`."
            )
        yield image_id, label, *attribution
