"""sync: the tracking store is made to agree with the receipts in the workspace. The receipts are what counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landmarks.errors import ArtifactError
from landmarks.files import read_json
from landmarks.recognizer.format import compute_recognizer_fingerprint
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
from landmarks.tracking.registration import agree_version, is_whole, log_model
from landmarks.tracking.registry import (
    RegisteredVersion,
    find_alias,
    find_version,
    set_alias,
)
from landmarks.tracking.runs import Store
from landmarks.tracking.store import open_store

_COMPARISON = (
    "Side by side (make ui): "
    "http://127.0.0.1:5000/#/experiments/{}/runs?compareRunsMode=CHART&workflowType=machine_learning"
)


@dataclass(frozen=True)
class SyncReport:
    """What `sync` did.

    Attributes:
        store: where the runs are.
        runs: how many receipts of runs there are.
        changes: what was logged again, in words.
        problems: what could not be, and why.
        experiment_id: of the runs; None where there are none.
    """

    store: str
    runs: int
    changes: tuple[str, ...]
    problems: tuple[str, ...]
    experiment_id: str | None = None

    def describe(self) -> str:
        """The same in sentences, a line for each."""
        state = "was brought up to date" if self.changes else "agrees"
        head = f"The tracking store {self.store} {state} with the receipts of {self.runs} runs."
        changes = [f"  logged again: {change}" for change in self.changes]
        problems = [f"  not possible: {problem}" for problem in self.problems]
        page = [_COMPARISON.format(self.experiment_id)] if self.experiment_id else []
        return "\n".join([head, *changes, *problems, *page])


def sync(models: Path, reports: Path) -> SyncReport:
    """Log again what the tracking store lacks or holds differently: runs, figures, files and registered versions.

    Runs are found by the id in their receipt, or by the tag that an earlier `sync` gave them. An alias that exists is
    never moved. Where the store agrees already nothing is written.

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
        changed, problems = _agree_registration(store, reports / REGISTRATION_FILE, candidates, run_ids)
        changes += changed
    experiments = {store.client.get_run(run_id).info.experiment_id for run_id in run_ids.values()}
    return SyncReport(store.uri, len(candidates), tuple(changes), tuple(problems), max(experiments, default=None))


def _agree_registration(
    store: Store, path: Path, candidates: Mapping[str, Candidate], run_ids: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    receipt = read_json(path)
    changes: list[str] = []
    problems: list[str] = []
    found: dict[str, RegisteredVersion] = {}
    try:
        # in the order in which they were made, so that an empty registry gives them the same numbers
        for variant, facts in sorted(receipt["versions"].items(), key=lambda item: int(item[1]["version"])):
            version = find_version(store, receipt["model_name"], facts["fingerprint"])
            candidate = _match(candidates.get(variant), facts)
            if candidate:
                version, changed = _agree_version(store, candidate, version, receipt, run_ids[variant])
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
    """The candidate as it was registered, where the workspace still has that very model."""
    if candidate is None:
        return None
    try:
        fingerprint = compute_recognizer_fingerprint(candidate.recognizer)
    except ArtifactError:
        return None
    return replace(candidate, metrics=facts["scores"]) if fingerprint == facts["fingerprint"] else None


def _agree_version(
    store: Store, candidate: Candidate, version: RegisteredVersion | None, receipt: Mapping[str, Any], run_id: str
) -> tuple[RegisteredVersion, list[str]]:
    name = receipt["model_name"]
    tags = build_tags(candidate, receipt["tags"])
    card = describe_candidate(candidate, name, receipt["tags"])
    if version and is_whole(store, version, candidate.recognizer):
        return version, agree_version(store, version, tags, card)
    logged = log_model(
        store, candidate.recognizer, model_name=name, variant=candidate.variant, run_id=run_id, tags=tags, card=card
    )
    return logged, [f"version {logged.version} of {name}"]


def _set_missing_aliases(store: Store, receipt: Mapping[str, Any], found: Mapping[str, RegisteredVersion]) -> list[str]:
    changes: list[str] = []
    for variant in found:
        alias = CHAMPION if variant == receipt["champion"] else CHALLENGER
        if find_alias(store, receipt["model_name"], alias) is None:
            set_alias(store, found[variant], alias)
            changes.append(f"{variant}: alias {alias}")
    return changes
