"""Embed the training photos as the gallery, and calibrate the threshold of "no landmark" on val."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.data.attribution import Attribution, iterate_attributions
from landmarks.data.photo_table import read_photo_column
from landmarks.data.recognizer_files import (
    DISTRACTORS_FILE,
    EMBEDDINGS_FILE,
    INDEX_FILE,
    INDEX_FORMAT,
    ITEMS_FILE,
    PROJECTION_FILE,
    read_items,
)
from landmarks.data.schema import ATTRIBUTION_COLUMNS, Split
from landmarks.data.shards import ShardManifest, iterate_batches, read_manifest
from landmarks.errors import ArtifactError, DataError
from landmarks.files import compute_sha256, replace_folder, write_json
from landmarks.inference import BATCH, Batch, check_trained_on, run_split
from landmarks.logistic import LogisticModel
from landmarks.metrics import Calibration, calibrate_threshold, compute_auroc
from landmarks.params import IndexParams
from landmarks.rejection import (
    Evidence,
    LandmarkScorer,
    ScorerModels,
    collect_evidence,
    compute_distractor_similarity,
    describe_models,
    fit_probe,
    fit_scorer_model,
)
from landmarks.retrieval.index import SimilarityIndex, check_unit_rows
from landmarks.retrieval.projection import Projection
from landmarks.retrieval.thumbnails import OFFSETS_FILE, THUMBNAILS_FILE, open_thumbnails
from landmarks.serving_network import Floats, ServingNetwork

_SHORTER_FILE = "shorter.npy"
_PROJECTED_AT_ONCE = 4096


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
            projection = _write_gallery(temporary, network, shards, manifest, params.dimensions)
            if params.thumbnails:
                _write_thumbnails(temporary, shards)
            models, calibration, auroc = calibrate(temporary, network, shards, params, projection)
            _write_facts(temporary, network, manifest, models, asdict(calibration) | {"auroc": auroc}, params)
    except ValueError as error:
        raise ArtifactError(f"{model_dir / 'bundle'} gives unusable answers: {error} Train it again.") from error
    return model_dir / "index"


def calibrate(
    folder: Path, network: ServingNetwork, shards: Path, params: IndexParams, projection: Projection | None = None
) -> tuple[ScorerModels, Calibration, float | None]:
    """Fit the scores and find the threshold, on val photos and the val part of the photos of no landmark.

    The latter are never right, and count as much as the former together. Where `params.distractor_penalty` is on they
    are kept as `distractors.npy`, since what resembles them is probably no landmark either, and a probe learns what
    sets them apart; unless all are of one category, where nobody can tell what those of others resemble. Without photos
    of no landmark the landmark score is the chance that the answer is right.

    Args:
        folder: with the gallery; `distractors.npy` is written there.
        network: that gave it.
        shards: `data/shards`.
        params: the section `index`.
        projection: of the gallery.

    Returns:
        The models, the threshold, and how well the landmark score separates these photos (AUROC), where both kinds
        are there. What a known photo of no landmark resembles was asked of other categories than its own.

    Raises:
        DataError: there are no val photos.
    """
    gallery = SimilarityIndex.load(folder / EMBEDDINGS_FILE, projection)
    labels = np.asarray(read_items(folder / ITEMS_FILE).labels)
    val, distractors = (_run_split(network, shards, split) for split in (Split.VAL, Split.DISTRACTORS_VAL))
    if not len(val.labels) + len(distractors.labels):
        raise DataError("There are no val photos to calibrate the threshold on. Raise select.val_fraction.")
    categories = read_photo_column(shards, "category", distractors.image_ids) if params.distractor_penalty else []
    shorter = projection.apply(distractors.embeddings) if projection else distractors.embeddings
    known = _write_distractors(folder, shorter, categories, projection)
    landmarks = collect_evidence(gallery, labels, known, val.probabilities, val.embeddings)
    others = collect_evidence(gallery, labels, None, distractors.probabilities, distractors.embeddings)
    probe = None
    if known is not None:
        others.distractor_similarity[:] = compute_distractor_similarity(shorter, categories)
        probe = _probe(val.embeddings, landmarks, distractors.embeddings, others, categories)
    evidence = Evidence(
        *(np.concatenate([getattr(part, field.name) for part in (landmarks, others)]) for field in fields(Evidence))
    )
    correct = np.concatenate([val.correct, distractors.correct])
    is_landmark = np.arange(len(correct)) < len(val.labels)
    wanted = correct if is_landmark.all() else is_landmark
    # both kinds count the same, however many photos there are
    weights = np.where(is_landmark, 1.0, len(val.labels) / max(len(distractors.labels), 1) or 1.0)
    models = ScorerModels(
        fit_scorer_model(evidence, wanted, weights), fit_scorer_model(evidence, correct, weights), probe
    )
    scores = LandmarkScorer(gallery, labels, known, models).score(evidence)
    separates = is_landmark.any() and not is_landmark.all()
    auroc = compute_auroc(scores[is_landmark], scores[~is_landmark]) if separates else None
    return models, calibrate_threshold(scores, wanted, params.precision_target, weights), auroc


def _probe(
    embeddings: Floats, landmarks: Evidence, distractors: Floats, others: Evidence, categories: Sequence[str]
) -> LogisticModel | None:
    """Add what the probe says to the evidence, and return it; None where there is nothing to learn from.

    The photos of no landmark are known ones: at least two of their categories are seen.
    """
    seen, seen_distractors = np.asarray(embeddings.any(axis=1)), np.asarray(distractors.any(axis=1))
    if seen.sum() < 2:
        return None
    kinds = list(compress(categories, seen_distractors.tolist()))
    probe, landmarks.probe[seen], others.probe[seen_distractors] = fit_probe(
        embeddings[seen], distractors[seen_distractors], kinds
    )
    return probe


def _run_split(network: ServingNetwork, shards: Path, split: Split) -> Batch:
    """A whole split as one batch; without photos, an empty one."""
    batches = list(run_split(network, shards, split))
    if any(not np.isfinite(batch.probabilities).all() for batch in batches):
        raise ValueError("probabilities must be numbers without NaN.")
    return Batch(
        [image_id for batch in batches for image_id in batch.image_ids],
        np.concatenate([np.empty(0, np.int32), *(batch.labels for batch in batches)]),
        np.concatenate([np.empty((0, network.labels), np.float32), *(batch.probabilities for batch in batches)]),
        np.concatenate([np.empty((0, network.embedding_dim), np.float32), *(batch.embeddings for batch in batches)]),
    )


def _write_distractors(
    folder: Path, embeddings: Floats, categories: Sequence[str], projection: Projection | None
) -> SimilarityIndex | None:
    is_seen = np.asarray(embeddings.any(axis=1))
    if len(set(compress(categories, is_seen.tolist()))) < 2:
        return None
    np.save(folder / DISTRACTORS_FILE, embeddings[is_seen].astype(np.float16))
    return SimilarityIndex.load(folder / DISTRACTORS_FILE, projection)


def _write_facts(
    folder: Path,
    network: ServingNetwork,
    manifest: ShardManifest,
    models: ScorerModels,
    calibration: Mapping[str, float | None],
    params: IndexParams,
) -> None:
    written = (EMBEDDINGS_FILE, ITEMS_FILE, THUMBNAILS_FILE, OFFSETS_FILE, DISTRACTORS_FILE, PROJECTION_FILE)
    facts = {
        "format": INDEX_FORMAT,
        "bundle_fingerprint": network.fingerprint,
        "photos": manifest.count_photos(Split.TRAIN),
        "scorer": describe_models(models),
        "precision_target": params.precision_target,
        **calibration,
        "files": {name: compute_sha256(folder / name) for name in written if (folder / name).is_file()},
    }
    write_json(folder / INDEX_FILE, facts)


def _write_gallery(
    folder: Path, network: ServingNetwork, shards: Path, manifest: ShardManifest, dimensions: int | None
) -> Projection | None:
    """Write the table of the training photos and their embeddings, projected where they have more dimensions."""
    shape = (manifest.count_photos(Split.TRAIN), network.embedding_dim)
    # filled in place, so that memory does not grow with the number of photos
    embeddings = np.lib.format.open_memmap(folder / EMBEDDINGS_FILE, "w+", np.float16, shape)
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
    return _project(folder, embeddings, dimensions) if dimensions and dimensions < network.embedding_dim else None


def _project(folder: Path, embeddings: npt.NDArray[np.float16], dimensions: int) -> Projection:
    """Replace the embeddings of the gallery by shorter ones."""
    projection = Projection.fit(_iterate_parts(embeddings), dimensions)
    projection.save(folder / PROJECTION_FILE)
    shape = (len(embeddings), projection.directions.shape[1])
    shorter = np.lib.format.open_memmap(folder / _SHORTER_FILE, "w+", np.float16, shape)
    start = 0
    for part in _iterate_parts(embeddings):
        shorter[start : start + len(part)] = projection.apply(part)
        start += len(part)
    shorter.flush()
    (folder / _SHORTER_FILE).replace(folder / EMBEDDINGS_FILE)
    return projection


def _iterate_parts(embeddings: npt.NDArray[np.float16]) -> Iterator[Floats]:
    for start in range(0, len(embeddings), _PROJECTED_AT_ONCE):
        yield embeddings[start : start + _PROJECTED_AT_ONCE].astype(np.float32)


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
