"""Rank the candidates of a workspace, and compare the best one with the champion in the registry."""

from collections.abc import Sequence
from pathlib import Path

from landmarks.errors import ArtifactError, GateError
from landmarks.evaluation.gate import ChampionScore, check_minimum, check_parity, check_regression, measure_accuracy
from landmarks.files.writing import open_scratch
from landmarks.params import ExportParams, RegisterParams
from landmarks.recognizer.format import check_recognizer, compute_recognizer_fingerprint
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.tracking.candidates import CHAMPION, Candidate
from landmarks.tracking.registry import RegisteredVersion, download_recognizer, find_alias
from landmarks.tracking.runs import Store


def rank_candidates(candidates: Sequence[Candidate], data_fingerprint: str, metric: str) -> list[Candidate]:
    """Sort candidates by a metric, best first; of equal ones `plain`, the simpler, comes first.

    Args:
        candidates: `plain` first.
        data_fingerprint: of the shards; all candidates must be trained on them.
        metric: name of the metric in `metrics.json`.

    Raises:
        ArtifactError: there are no candidates, or one lacks the metric, was trained on other shards, was altered,
            or is not the one that was evaluated.
    """
    if not candidates:
        raise ArtifactError("There is no trained variant to register. Run `dvc repro`.")
    for candidate in candidates:
        if metric not in candidate.metrics:
            raise ArtifactError(f"{candidate.evaluation} has no metric {metric}. Run `dvc repro evaluate`.")
        if candidate.read_bundle().shards_fingerprint != data_fingerprint:
            raise ArtifactError(f"{candidate.recognizer} was trained on other shards than these. Run `dvc repro`.")
        measured = candidate.evaluated.recognizer if candidate.evaluated else None
        if measured != check_recognizer(candidate.recognizer):
            raise ArtifactError(
                f"{candidate.evaluation} measured another recognizer than {candidate.recognizer}. Run `dvc repro`."
            )
    return sorted(candidates, key=lambda candidate: -candidate.metrics[metric])  # a stable sort keeps `plain` first


def check_gate(
    store: Store,
    ranked: Sequence[Candidate],
    shards: Path,
    data_fingerprint: str,
    params: RegisterParams,
    export: ExportParams,
) -> ChampionScore | None:
    """Check parity, minimum score and regression of the best candidate; return the champion's score, if there is one.

    Args:
        store: with the registry.
        ranked: from `rank_candidates`.
        shards: `data/shards`.
        data_fingerprint: of the shards.
        params: the section `register`.
        export: the section `export`.

    Raises:
        ArtifactError: an evaluation lacks a metric.
        GateError: a check failed, or the champion cannot be measured.
    """
    best = ranked[0]
    check_parity(best.variant, best.read_bundle().precision, best.metrics, export)
    check_minimum(best.variant, best.metrics[params.metric], params)
    version = find_alias(store, params.model_name, CHAMPION)
    if version is None:
        return None
    champion = _score_champion(version, ranked, shards, data_fingerprint, params.metric)
    check_regression(best.variant, best.metrics[params.metric], champion, params)
    return champion


def _score_champion(
    version: RegisteredVersion, candidates: Sequence[Candidate], shards: Path, data_fingerprint: str, metric: str
) -> ChampionScore:
    """Find the champion's score on the current test split; measure it only if no recorded score is of these photos."""
    for candidate in candidates:
        if compute_recognizer_fingerprint(candidate.recognizer) == version.tags.get("fingerprint"):
            return ChampionScore(version.version, candidate.metrics[metric], measured=False)
    if version.tags.get("data_fingerprint") == data_fingerprint and metric in version.tags:
        return ChampionScore(version.version, float(version.tags[metric]), measured=False)
    return ChampionScore(version.version, _measure_champion(version, shards)[metric], measured=True)


def _measure_champion(version: RegisteredVersion, shards: Path) -> dict[str, float]:
    name = f"The champion, version {version.version} of {version.name},"
    with open_scratch("champion") as scratch:
        try:
            folder = download_recognizer(version, scratch / "recognizer")
            recognizer = Recognizer.load(folder, verify=False)
        except ArtifactError as error:
            raise GateError(
                f"{name} cannot be measured on the current test split: {error} If its files are lost, remove its alias "
                "`champion`. Nothing was registered."
            ) from error
        known = [landmark.landmark_id for landmark in recognizer.landmarks]
        wanted = [landmark.landmark_id for landmark in read_vocabulary(shards / VOCABULARY_FILE)]
        if known != wanted:
            raise GateError(
                f"{name} knows other landmarks ({len(known)}, {len(set(known) & set(wanted))} of them among the "
                f"current {len(wanted)}), so the two cannot be compared. Choose another register.model_name. Nothing "
                "was registered."
            )
        return measure_accuracy(recognizer, shards)
