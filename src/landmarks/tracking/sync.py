"""sync: reconcile the tracking store with the receipts in the workspace, which are the source of truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files.seals import read_sealed
from landmarks.recognizer.format import compute_recognizer_fingerprint
from landmarks.tracking.address import StoreAddress
from landmarks.tracking.candidates import (
    CHALLENGER,
    CHAMPION,
    REGISTRATION_FILE,
    Candidate,
    build_tags,
    describe_candidate,
    log_again,
    read_candidates,
    register_candidate,
)
from landmarks.tracking.registration import is_complete, reconcile_version
from landmarks.tracking.registry import (
    RegisteredVersion,
    find_alias,
    find_version,
    set_alias,
)
from landmarks.tracking.runs import Store
from landmarks.tracking.store import open_store
from landmarks.tracking.ui import build_comparison


@dataclass(frozen=True)
class SyncReport:
    """Result of `sync`.

    Attributes:
        store: address of the store.
        runs: number of receipts of runs.
        changes: descriptions of what was logged again.
        problems: descriptions of what could not be logged again, and why.
        experiment_id: of the runs; None without runs.
    """

    store: StoreAddress
    runs: int
    changes: tuple[str, ...]
    problems: tuple[str, ...]
    experiment_id: str | None = None

    def describe(self) -> str:
        """Return a text for a terminal, one line per change and problem."""
        state = "was brought up to date" if self.changes else "agrees"
        head = f"The tracking store {self.store} {state} with the receipts of {self.runs} runs."
        changes = [f"  logged again: {change}" for change in self.changes]
        problems = [f"  not possible: {problem}" for problem in self.problems]
        where = "Side by side:" if self.store.is_server else "Side by side (make ui):"
        page = [f"{where} {build_comparison(self.store, self.experiment_id)}"] if self.experiment_id else []
        return "\n".join([head, *changes, *problems, *page])


def sync(models: Path, reports: Path) -> SyncReport:
    """Log again what is missing or differs in the tracking store: runs, metrics, files and registered versions.

    Runs are found by the id in their receipt, or by the tag that an earlier `sync` set. Existing aliases are not moved.
    Nothing is written to a store that agrees with the receipts.

    Args:
        models: with the recognizer directories.
        reports: with the receipts.

    Raises:
        ArtifactError: a receipt is damaged, or a model cannot be registered.
        LandmarksError: the store cannot be used.
    """
    store = open_store()
    candidates = {candidate.variant: candidate for candidate in read_candidates(models, reports)}
    run_ids: dict[str, str] = {}
    changes: list[str] = []
    for variant, candidate in candidates.items():
        run_ids[variant], changed = log_again(store, candidate)
        changes += [f"{variant}: {change}" for change in changed]
    problems: list[str] = []
    if (reports / REGISTRATION_FILE).is_file():
        changed, problems = _reconcile_registration(store, reports / REGISTRATION_FILE, candidates, run_ids)
        changes += changed
    experiments = {store.client.get_run(run_id).info.experiment_id for run_id in run_ids.values()}
    return SyncReport(store.address, len(candidates), tuple(changes), tuple(problems), max(experiments, default=None))


def _reconcile_registration(
    store: Store, path: Path, candidates: Mapping[str, Candidate], run_ids: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    receipt = read_sealed(path)
    changes: list[str] = []
    problems: list[str] = []
    found: dict[str, RegisteredVersion] = {}
    try:
        # in order of creation, so that an empty registry gives them the same numbers
        for variant, facts in sorted(receipt["versions"].items(), key=lambda item: int(item[1]["version"])):
            version = find_version(store, receipt["model_name"], facts["fingerprint"])
            candidate = _match(candidates.get(variant), facts)
            if candidate:
                version, changed = _reconcile_version(store, candidate, version, receipt, run_ids[variant])
                changes += [f"{variant}: {change}" for change in changed]
            if version:
                found[variant] = version
            else:
                problems.append(f"{variant}: the registered model is no longer in the workspace. Run `dvc repro`.")
        changes += _set_missing_aliases(store, receipt, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is not the receipt of a registration ({error!r}). Run `dvc repro`.") from error
    return changes, problems


def _match(candidate: Candidate | None, facts: Mapping[str, Any]) -> Candidate | None:
    """Return the candidate with the scores of its registration, if the workspace still has the registered model."""
    if candidate is None:
        return None
    try:
        fingerprint = compute_recognizer_fingerprint(candidate.recognizer)
    except ArtifactError:
        return None
    return replace(candidate, metrics=facts["scores"]) if fingerprint == facts["fingerprint"] else None


def _reconcile_version(
    store: Store, candidate: Candidate, version: RegisteredVersion | None, receipt: Mapping[str, Any], run_id: str
) -> tuple[RegisteredVersion, list[str]]:
    name = receipt["model_name"]
    if version and is_complete(store, version, candidate.recognizer):
        tags = build_tags(candidate, receipt["tags"])
        return version, reconcile_version(store, version, tags, describe_candidate(candidate, name, receipt["tags"]))
    logged = register_candidate(store, candidate, name, run_id, receipt["tags"])
    return logged, [f"version {logged.version} of {name}"]


def _set_missing_aliases(store: Store, receipt: Mapping[str, Any], found: Mapping[str, RegisteredVersion]) -> list[str]:
    changes: list[str] = []
    for variant in found:
        alias = CHAMPION if variant == receipt["champion"] else CHALLENGER
        if find_alias(store, receipt["model_name"], alias) is None:
            set_alias(store, found[variant], alias)
            changes.append(f"{variant}: alias {alias}")
    return changes
