"""Candidates: the trained and evaluated variants in the workspace, which `register` compares and `sync` logs again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from landmarks.errors import ArtifactError
from landmarks.evaluation.model_card import ModelFacts, build_model_card
from landmarks.evaluation.receipt import METRICS_FILE, EvaluationReceipt, read_evaluation_receipt
from landmarks.files.parsing import read_record
from landmarks.files.seals import read_sealed
from landmarks.recognizer.format import BUNDLE_FOLDER, Bundle, compute_recognizer_fingerprint, read_bundle
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.tracking.receipts import (
    HISTORY_FILE,
    RECEIPT_FILE,
    Receipt,
    describe_params,
    read_history,
    read_receipt,
)
from landmarks.tracking.reconcile import reconcile_evaluation, reconcile_run
from landmarks.tracking.registration import discard_unfinished, log_model
from landmarks.tracking.registry import RegisteredVersion
from landmarks.tracking.runs import Store

REGISTRATION_FILE = "registration.json"
CHAMPION, CHALLENGER = "champion", "challenger"
_TAGGED_METRICS = ("top1", "macro_recall", "auroc")  # all others are in the run


@dataclass(frozen=True)
class Candidate:
    """A variant in the workspace.

    Attributes:
        variant: `plain` or `augmented`.
        receipt: of its run.
        evaluated: receipt of its evaluation; None if it is not evaluated yet.
        metrics: of its evaluation; empty if it is not evaluated yet.
        recognizer: `models/VARIANT`.
        training: `reports/train/VARIANT`.
        evaluation: `reports/evaluate/VARIANT`.
    """

    variant: str
    receipt: Receipt
    evaluated: EvaluationReceipt | None
    metrics: Mapping[str, float]
    recognizer: Path
    training: Path
    evaluation: Path

    def read_bundle(self) -> Bundle:
        """Read its `bundle.json`.

        Raises:
            ArtifactError: the file is missing or cannot be used.
        """
        return read_bundle(self.recognizer / BUNDLE_FOLDER)

    def describe_version(self, version: RegisteredVersion) -> dict[str, object]:
        """Return its entry in `registration.json`, from which `landmarks sync` registers it again."""
        return {
            "version": version.version,
            "run_id": self.receipt.run_id,
            "fingerprint": version.tags["fingerprint"],
            "scores": dict(self.metrics),
        }


def read_candidates(models: Path, reports: Path) -> list[Candidate]:
    """Read all variants that have a receipt in `reports/train`, `plain` first.

    Raises:
        ArtifactError: a receipt or the metrics of an evaluation are damaged.
    """
    candidates = []
    for path in sorted((reports / "train").glob(f"*/{RECEIPT_FILE}"), reverse=True):
        variant = path.parent.name
        evaluation = reports / "evaluate" / variant
        evaluated = read_evaluation_receipt(evaluation) if evaluation.is_dir() else None
        metrics = read_record(evaluation / METRICS_FILE, dict[str, float]) if evaluated else {}
        receipt = read_receipt(path)
        candidates.append(Candidate(variant, receipt, evaluated, metrics, models / variant, path.parent, evaluation))
    return candidates


def log_again(store: Store, candidate: Candidate) -> tuple[str, list[str]]:
    """Reconcile the run and the evaluation of a candidate with the store; delete what killed registrations left.

    Returns:
        The id of the run in this store, and descriptions of the changes.
    """
    history = read_history(candidate.training / HISTORY_FILE)
    run_id, changes = reconcile_run(store, candidate.receipt, history, candidate.training)
    changes += discard_unfinished(store, store.client.get_run(run_id).info.experiment_id, candidate.variant)
    if candidate.evaluated:
        params = describe_params(candidate.evaluated.params)
        changes += reconcile_evaluation(store, run_id, candidate.metrics, candidate.evaluation, params)
    return run_id, changes


def build_tags(candidate: Candidate, common: Mapping[str, str]) -> dict[str, str]:
    """Build the tags of a version: its variant, its origin (`common`) and its scores."""
    scores = {name: repr(candidate.metrics[name]) for name in _TAGGED_METRICS if name in candidate.metrics}
    return {"variant": candidate.variant, **common, **scores}


def describe_candidate(candidate: Candidate, model_name: str, tags: Mapping[str, str]) -> str:
    """Build the model card of a candidate.

    Args:
        candidate: with its recognizer directory in place.
        model_name: name of the registered model.
        tags: of its version; those about the origin go into the card.

    Raises:
        ArtifactError: a file of the bundle is missing.
    """
    bundle = candidate.read_bundle()
    origin = {name: tags[name] for name in ("git_commit", "dvc_lock") if name in tags}
    lineage = {
        "MLflow run": candidate.receipt.run_id,
        "bundle": bundle.fingerprint,
        "data": bundle.shards_fingerprint,
        **origin,
    }
    return build_model_card(
        ModelFacts(
            model_name=model_name,
            variant=candidate.variant,
            dataset=candidate.receipt.dataset.name,
            landmarks=read_vocabulary(candidate.recognizer / BUNDLE_FOLDER / VOCABULARY_FILE),
            image_size=bundle.image_format.image_size,
            metrics=candidate.metrics,
            params=candidate.receipt.params,
            lineage=lineage,
        )
    )


def register_candidate(
    store: Store, candidate: Candidate, model_name: str, run_id: str, common: Mapping[str, str]
) -> RegisteredVersion:
    """Register a candidate, or return the version that has it already.

    Args:
        store: with the registry.
        candidate: with its recognizer directory in place.
        model_name: name of the registered model.
        run_id: of its run in this store.
        common: tags about the origin, the same for all candidates.

    Raises:
        ArtifactError: the model does not load, or does not answer as its serving export.
    """
    return log_model(
        store,
        candidate.recognizer,
        model_name=model_name,
        variant=candidate.variant,
        run_id=run_id,
        tags=build_tags(candidate, common),
        card=describe_candidate(candidate, model_name, common),
    )


class Champion(NamedTuple):
    """The recognizer directory that `register` made the champion, its registered name, and its version."""

    folder: Path
    name: str
    version: str


def find_champion(models: Path, reports: Path) -> Champion:
    """Find the recognizer directory that `register` made the champion.

    Raises:
        ArtifactError: nothing is registered from this workspace, or the directory has changed since.
    """
    path = reports / REGISTRATION_FILE
    if not path.is_file():
        raise ArtifactError(
            f"{path} is missing: no model of this workspace has passed `register`. Run `dvc repro`, or name a model: "
            f"--model {models}/augmented."
        )
    receipt = read_sealed(path)
    try:
        variant = str(receipt["champion"])
        registered = receipt["versions"][variant]["fingerprint"]
        name, version = str(receipt["model_name"]), str(receipt["versions"][variant]["version"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not the receipt of a registration ({error!r}). Run `dvc repro`.") from error
    recognizer = models / variant
    if compute_recognizer_fingerprint(recognizer) != registered:
        raise ArtifactError(
            f"{recognizer} changed after it became the champion, and has not passed `register` since. Run `dvc repro`, "
            f"or use it anyway: --model {recognizer}."
        )
    return Champion(recognizer, name, version)
