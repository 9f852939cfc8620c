"""The trained and evaluated variants in the workspace: what `register` chooses from and `sync` logs again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from landmarks.errors import ArtifactError
from landmarks.evaluation.model_card import ModelFacts, build_model_card
from landmarks.files import read_json
from landmarks.recognizer.format import BUNDLE_FOLDER, Bundle, compute_recognizer_fingerprint, read_bundle
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.tracking.receipts import (
    EVALUATION_PARAMS_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    RECEIPT_FILE,
    Receipt,
    describe_params,
    read_history,
    read_receipt,
)
from landmarks.tracking.reconcile import agree_evaluation, agree_run
from landmarks.tracking.runs import Store

REGISTRATION_FILE = "registration.json"
CHAMPION, CHALLENGER = "champion", "challenger"
_TAGGED_METRICS = (
    *(f"{name}{part}" for name in ("top1", "top5", "macro_recall") for part in ("", "_low", "_high")),
    "auroc",
    "ece",
)


@dataclass(frozen=True)
class Candidate:
    """A variant in the workspace: the receipt of its run, and where its files are.

    Attributes:
        variant: of the training.
        receipt: of its run.
        metrics: of its evaluation; empty where there is none yet.
        recognizer: `models/VARIANT`.
        training: `reports/train/VARIANT`.
        evaluation: `reports/evaluate/VARIANT`.
    """

    variant: str
    receipt: Receipt
    metrics: Mapping[str, float]
    recognizer: Path
    training: Path
    evaluation: Path

    def read_bundle(self) -> Bundle:
        """The content of its `bundle.json`.

        Raises:
            ArtifactError: the file is missing or cannot be used.
        """
        return read_bundle(self.recognizer / BUNDLE_FOLDER)


def read_candidates(models: Path, reports: Path) -> list[Candidate]:
    """All variants that have a receipt in `reports/train`, `plain` first.

    Raises:
        ArtifactError: a receipt is damaged.
    """
    receipts = sorted((reports / "train").glob(f"*/{RECEIPT_FILE}"), reverse=True)
    return [_read_candidate(path.parent.name, models, reports) for path in receipts]


def log_again(store: Store, candidate: Candidate) -> tuple[str, list[str]]:
    """Make the store hold the run and the evaluation of a candidate.

    Returns:
        The id of the run in this store, and what was changed, in words.
    """
    history = read_history(candidate.training / HISTORY_FILE)
    run_id, changes = agree_run(store, candidate.receipt, history, candidate.training)
    if candidate.metrics:
        path = candidate.evaluation / EVALUATION_PARAMS_FILE
        params = describe_params(read_json(path)) if path.is_file() else {}
        changes += agree_evaluation(store, run_id, candidate.metrics, candidate.evaluation, params)
    return run_id, changes


def build_tags(candidate: Candidate, common: Mapping[str, str]) -> dict[str, str]:
    """The tags of a version: its variant, where it comes from, and its scores."""
    scores = {name: repr(candidate.metrics[name]) for name in _TAGGED_METRICS if name in candidate.metrics}
    return {"variant": candidate.variant, **common, **scores}


def describe_candidate(candidate: Candidate, model_name: str, tags: Mapping[str, str]) -> str:
    """The model card of a candidate.

    Args:
        candidate: with its recognizer directory in place.
        model_name: it is registered under.
        tags: of its version; those that tell the origin go into the card.

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


def find_champion(models: Path, reports: Path) -> Path:
    """The recognizer directory that `register` made the champion.

    Raises:
        ArtifactError: nothing is registered from this workspace, or the directory holds another model by now.
    """
    path = reports / REGISTRATION_FILE
    if not path.is_file():
        raise ArtifactError(
            f"{path} is missing: no model of this workspace has passed `register`. Run `dvc repro`, or choose one "
            f"yourself: --model {models}/augmented."
        )
    receipt = read_json(path)
    try:
        variant = str(receipt["champion"])
        registered = receipt["versions"][variant]["fingerprint"]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not the receipt of a registration ({error!r}). Run `dvc repro`.") from error
    recognizer = models / variant
    if compute_recognizer_fingerprint(recognizer) != registered:
        raise ArtifactError(
            f"{recognizer} was made again after it became the champion, and has not passed `register` since. Run "
            f"`dvc repro`, or choose it all the same: --model {recognizer}."
        )
    return recognizer


def _read_candidate(variant: str, models: Path, reports: Path) -> Candidate:
    evaluation = reports / "evaluate" / variant
    metrics = read_json(evaluation / METRICS_FILE) if (evaluation / METRICS_FILE).is_file() else {}
    if not isinstance(metrics, dict):
        raise ArtifactError(f"{evaluation / METRICS_FILE} holds no figures by name. Run `dvc repro` again.")
    training = reports / "train" / variant
    receipt = read_receipt(training / RECEIPT_FILE)
    return Candidate(variant, receipt, metrics, models / variant, training, evaluation)
