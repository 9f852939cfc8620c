"""register: the better variant becomes the champion, where it is good enough and no worse than the present one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from landmarks.errors import ArtifactError, GateError
from landmarks.evaluation.metrics import compute_macro_recall, compute_ranks
from landmarks.export.parity import Parity
from landmarks.files import write_json, write_text
from landmarks.params import ExportParams, RegisterParams
from landmarks.photos.decoding import decode_image
from landmarks.recognizer.format import compute_recognizer_fingerprint
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.network_format import Pixels
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.shards.format import ShardManifest, encode_png, iterate_batches, read_manifest
from landmarks.tracking.candidates import (
    CHALLENGER,
    CHAMPION,
    REGISTRATION_FILE,
    Candidate,
    build_tags,
    describe_candidate,
    log_again,
    read_candidates,
)
from landmarks.tracking.provenance import LOCK_FILE, compute_lock_digest, describe_commit
from landmarks.tracking.registration import log_model
from landmarks.tracking.registry import (
    RegisteredVersion,
    download_recognizer,
    find_alias,
    set_alias,
)
from landmarks.tracking.runs import Store
from landmarks.tracking.store import open_store

CARD_FILE = "model_card.md"
_ROUNDING = 1e-9
_BATCH = 256


@dataclass(frozen=True)
class ChampionScore:
    """The present champion on the present test split; `measured` says that it was evaluated again for this."""

    version: str
    score: float
    measured: bool


def register(
    models: Path, reports: Path, shards: Path, params: RegisterParams, export: ExportParams, project: Path = Path()
) -> Path:
    """Compare the variants, apply the gate, register them, and set the aliases `champion` and `challenger`.

    Args:
        models: with the recognizer directory of each variant.
        reports: with the receipts and the evaluations; gets `registration.json` and `model_card.md`.
        shards: `data/shards`, which the variants were trained on.
        params: the section `register`.
        export: the section `export`: how alike export and Keras model have to answer.
        project: the folder of `dvc.lock`.

    Raises:
        ArtifactError: something is missing or damaged, or does not belong together, or a registered model does not
            load or answers otherwise than its serving export.
        GateError: the better variant is not good enough; the registry is then as it was before.
        LandmarksError: the store cannot be used.
    """
    store = open_store()
    manifest = read_manifest(shards)
    ranked = _rank(read_candidates(models, reports), manifest, params.metric)
    _check_parity(ranked[0], export)
    champion = _check_gate(store, ranked, shards, manifest, params)
    common = _describe_origin(manifest, project)
    versions = {item.variant: _register_candidate(store, item, params.model_name, common) for item in reversed(ranked)}
    for alias, candidate in zip((CHAMPION, CHALLENGER), ranked, strict=False):
        set_alias(store, versions[candidate.variant], alias)
    write_text(reports / CARD_FILE, describe_candidate(ranked[0], params.model_name, common))
    receipt = {
        "model_name": params.model_name,
        "metric": params.metric,
        "champion": ranked[0].variant,
        "tags": common,
        "versions": {item.variant: _describe_version(item, versions[item.variant]) for item in ranked},
        "previous_champion": asdict(champion) if champion else None,
    }
    return write_json(reports / REGISTRATION_FILE, receipt)


def measure_recognizer(recognizer: Recognizer, shards: Path) -> dict[str, float]:
    """`top1`, `top5` and `macro_recall` on the test split; photos are brought to the size the recognizer was made for.

    Raises:
        ArtifactError: the shards are damaged.
    """
    ranks, labels = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for _, batch_labels, pixels in iterate_batches(shards, Split.TEST, _BATCH):
        probabilities, _ = recognizer.network.run(_resize(pixels, recognizer))
        ranks.append(compute_ranks(probabilities, batch_labels))
        labels.append(batch_labels)
    rank, label = np.concatenate(ranks), np.concatenate(labels)
    macro_recall = compute_macro_recall(np.asarray(rank < 1), label)
    return {"top1": float(np.mean(rank < 1)), "top5": float(np.mean(rank < 5)), "macro_recall": macro_recall}


def _resize(pixels: Pixels, recognizer: Recognizer) -> Pixels:
    image = recognizer.network.image_format
    if pixels.shape[1] == image.image_size:
        return pixels
    return np.stack([decode_image(encode_png(photo), image) for photo in pixels])


def _rank(candidates: Sequence[Candidate], manifest: ShardManifest, metric: str) -> list[Candidate]:
    """The candidates, best first; of equal ones the simpler, `plain`."""
    if not candidates:
        raise ArtifactError("There is no trained variant to register. Run `dvc repro`.")
    for candidate in candidates:
        if metric not in candidate.metrics:
            raise ArtifactError(f"{candidate.evaluation} has no figure {metric}. Run `dvc repro evaluate`.")
        if candidate.read_bundle().shards_fingerprint != manifest.fingerprint:
            raise ArtifactError(f"{candidate.recognizer} was trained on other shards than these. Run `dvc repro`.")
    return sorted(candidates, key=lambda candidate: -candidate.metrics[metric])


def _check_gate(
    store: Store, ranked: Sequence[Candidate], shards: Path, manifest: ShardManifest, params: RegisterParams
) -> ChampionScore | None:
    best = ranked[0]
    received = f"{best.variant} reaches {params.metric} {best.metrics[params.metric]:.4f} on the test split"
    if best.metrics[params.metric] < params.min_score:
        raise GateError(
            f"{received}, register.min_score asks for {params.min_score:.4f}. Nothing was registered. Train longer or "
            "on more photos, or lower register.min_score."
        )
    version = find_alias(store, params.model_name, CHAMPION)
    if version is None:
        return None
    champion = _score_champion(version, ranked, shards, manifest, params.metric)
    required = champion.score - params.max_regression
    if best.metrics[params.metric] < required - _ROUNDING:
        raise GateError(
            f"{received}, at least {required:.4f} is required: the champion, version {version.version} of "
            f"{params.model_name}, reaches {champion.score:.4f} there, and register.max_regression accepts "
            f"{params.max_regression:.4f} less. Nothing was registered."
        )
    return champion


def _check_parity(candidate: Candidate, params: ExportParams) -> None:
    """What is served must answer as what was trained."""
    names = [f"parity_{field.name}" for field in fields(Parity)]
    if missing := [name for name in names if name not in candidate.metrics]:
        raise ArtifactError(f"{candidate.evaluation} has no figure {missing[0]}. Run `dvc repro evaluate`.")
    photos, differing, cosine, change = (candidate.metrics[name] for name in names)
    precision = candidate.read_bundle().precision
    deviation = Parity(round(photos), round(differing), cosine, change).find_deviation(precision, params)
    if deviation:
        raise GateError(
            f"The {precision} export of {candidate.variant} does not answer as its Keras network: {deviation}. "
            "Nothing was registered. The section `export` of params.yaml has these limits, and fixes the precision."
        )


def _score_champion(
    version: RegisteredVersion, candidates: Sequence[Candidate], shards: Path, manifest: ShardManifest, metric: str
) -> ChampionScore:
    for candidate in candidates:
        if compute_recognizer_fingerprint(candidate.recognizer) == version.tags.get("fingerprint"):
            return ChampionScore(version.version, candidate.metrics[metric], measured=False)
    if version.tags.get("data_fingerprint") == manifest.fingerprint and metric in version.tags:
        return ChampionScore(version.version, float(version.tags[metric]), measured=False)
    return ChampionScore(version.version, _measure_champion(version, shards)[metric], measured=True)


def _measure_champion(version: RegisteredVersion, shards: Path) -> dict[str, float]:
    name = f"The champion, version {version.version} of {version.name},"
    with TemporaryDirectory(prefix="landmarks-champion-") as scratch:
        try:
            recognizer = Recognizer.load(download_recognizer(version, Path(scratch) / "recognizer"))
        except ArtifactError as error:
            raise GateError(
                f"{name} cannot be measured on the present test split: {error} Where it is lost, remove its alias "
                "`champion`. Nothing was registered."
            ) from error
        known = [landmark.landmark_id for landmark in recognizer.landmarks]
        wanted = [landmark.landmark_id for landmark in read_vocabulary(shards / VOCABULARY_FILE)]
        if known != wanted:
            raise GateError(
                f"{name} knows other landmarks ({len(known)}, {len(set(known) & set(wanted))} of them among the "
                f"present {len(wanted)}), so the two cannot be compared. Choose another register.model_name. Nothing "
                "was registered."
            )
        return measure_recognizer(recognizer, shards)


def _describe_origin(manifest: ShardManifest, project: Path) -> dict[str, str]:
    found = {
        "git_commit": describe_commit(project),
        "data_fingerprint": manifest.fingerprint,
        "dvc_lock": compute_lock_digest(project / LOCK_FILE),
    }
    return {name: value for name, value in found.items() if value}


def _register_candidate(
    store: Store, candidate: Candidate, model_name: str, common: Mapping[str, str]
) -> RegisteredVersion:
    run_id, _ = log_again(store, candidate)
    return log_model(
        store,
        candidate.recognizer,
        model_name=model_name,
        variant=candidate.variant,
        run_id=run_id,
        tags=build_tags(candidate, common),
        card=describe_candidate(candidate, model_name, common),
    )


def _describe_version(candidate: Candidate, version: RegisteredVersion) -> dict[str, object]:
    return {
        "version": version.version,
        "run_id": candidate.receipt.run_id,
        "fingerprint": version.tags["fingerprint"],
        "scores": dict(candidate.metrics),
    }
