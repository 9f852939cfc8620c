"""evaluate: measure a recognizer on the test split, draw charts, and log both to the run that trained it."""

from pathlib import Path

import numpy as np
import pandas as pd

from landmarks.evaluation.measurement import measure
from landmarks.evaluation.receipt import METRICS_FILE, EvaluationReceipt, write_evaluation_receipt
from landmarks.evaluation.report import EMBEDDINGS_FILE, TABLES
from landmarks.files.writing import replace_folder, write_json
from landmarks.network.input_pipeline import read_augmented_examples
from landmarks.network.variant import AUGMENTED
from landmarks.params import AugmentationParams, EvaluateParams, flatten_params
from landmarks.plotting.measurement import draw_measurement
from landmarks.plotting.training import draw_augmented, draw_learning_curves
from landmarks.recognizer.format import BUNDLE_FOLDER, check_recognizer
from landmarks.schema.columns import Split
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.shards.format import open_shards
from landmarks.tracking.receipts import (
    HISTORY_FILE,
    RECEIPT_FILE,
    read_history,
    read_receipt,
)
from landmarks.tracking.store import log_evaluation


def evaluate(
    shards: Path,
    recognizer: Path,
    train_reports: Path,
    out: Path,
    params: EvaluateParams,
    augmentation: AugmentationParams,
) -> Path:
    """Write the evaluation of a recognizer directory and log it to its MLflow run.

    Args:
        shards: `data/shards`.
        recognizer: `models/VARIANT`, with bundle and index.
        train_reports: `reports/train/VARIANT`, with the receipt and the history of the run.
        out: `reports/evaluate/VARIANT`, replaced as a whole.
        params: the section `evaluate`.
        augmentation: the section `augmentation`, to draw augmented photos.

    Raises:
        ArtifactError: something is missing or damaged, or recognizer and shards do not belong together.
        DataError: there are no test photos.
        LandmarksError: the tracking store cannot be used.
    """
    receipt = read_receipt(train_reports / RECEIPT_FILE)
    history = pd.DataFrame(read_history(train_reports / HISTORY_FILE))
    manifest = open_shards(shards, tuple(Split))
    fingerprint = check_recognizer(recognizer)
    found = measure(shards, recognizer, params)
    settings = flatten_params(params, "evaluate")
    best_epoch = receipt.metrics.get("best_epoch")
    with replace_folder(out) as folder:
        write_json(folder / METRICS_FILE, found.metrics)
        for name in TABLES:
            getattr(found.tables, name).to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        np.save(folder / EMBEDDINGS_FILE, found.embeddings)
        draw_measurement(folder, found, read_vocabulary(recognizer / BUNDLE_FOLDER / VOCABULARY_FILE))
        # charts of the training are drawn here, so that a change of plotting/ does not train again
        draw_learning_curves(folder / "learning_curves.png", history, None if best_epoch is None else int(best_epoch))
        if receipt.variant == AUGMENTED:
            draw_augmented(folder / "augmented.png", *read_augmented_examples(shards, augmentation))
        write_evaluation_receipt(folder, EvaluationReceipt(fingerprint, manifest.fingerprint, settings))
    log_evaluation(receipt, found.metrics, out, settings)
    return out
