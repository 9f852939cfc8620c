"""register: compare the variants, and make the better one the champion if it passes the gate."""

from dataclasses import asdict
from pathlib import Path

from landmarks.files.seals import write_sealed
from landmarks.files.writing import write_text
from landmarks.params import ExportParams, RegisterParams
from landmarks.schema.columns import Split
from landmarks.shards.format import open_shards
from landmarks.tracking.candidates import (
    CHALLENGER,
    CHAMPION,
    REGISTRATION_FILE,
    describe_candidate,
    log_again,
    read_candidates,
    register_candidate,
)
from landmarks.tracking.gate import check_gate, rank_candidates
from landmarks.tracking.provenance import describe_origin
from landmarks.tracking.registry import CARD_FILE, set_alias
from landmarks.tracking.store import open_store


def register(
    models: Path, reports: Path, shards: Path, params: RegisterParams, export: ExportParams, project: Path = Path()
) -> Path:
    """Register all variants, and set the aliases `champion` and `challenger`.

    Args:
        models: with the recognizer directory of each variant.
        reports: with the receipts and the evaluations; gets `registration.json` and `model_card.md`.
        shards: `data/shards`, which the variants were trained on.
        params: the section `register`.
        export: the section `export`, with the limits of parity.
        project: the folder of `dvc.lock`.

    Raises:
        ArtifactError: something is missing or damaged, or does not belong together, or a registered model does not load
            or does not answer as its serving export.
        GateError: the better variant does not pass the gate; the registry is unchanged.
        LandmarksError: the store cannot be used.
    """
    store = open_store()
    data_fingerprint = open_shards(shards, (Split.TEST,)).fingerprint
    ranked = rank_candidates(read_candidates(models, reports), data_fingerprint, params.metric)
    champion = check_gate(store, ranked, shards, data_fingerprint, params, export)
    origin = describe_origin(data_fingerprint, project)
    versions = {}
    for candidate in reversed(ranked):  # the best one last, so that it has the highest version
        run_id, _ = log_again(store, candidate)
        versions[candidate.variant] = register_candidate(store, candidate, params.model_name, run_id, origin)
    for alias, candidate in zip((CHAMPION, CHALLENGER), ranked, strict=False):
        set_alias(store, versions[candidate.variant], alias)
    write_text(reports / CARD_FILE, describe_candidate(ranked[0], params.model_name, origin))
    receipt = {
        "model_name": params.model_name,
        "metric": params.metric,
        "champion": ranked[0].variant,
        "tags": origin,
        "versions": {one.variant: one.describe_version(versions[one.variant]) for one in ranked},
        "previous_champion": asdict(champion) if champion else None,
    }
    write_sealed(reports / REGISTRATION_FILE, receipt)
    return reports / REGISTRATION_FILE
