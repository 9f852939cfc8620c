"""The gate between evaluation and the model registry: minimum score, no regression, and parity of the export.

It works on metrics and recognizers; `tracking.gate` finds the champion in the registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from landmarks.errors import ArtifactError, GateError
from landmarks.evaluation.metrics import compute_accuracies, compute_ranks
from landmarks.export.parity import Parity
from landmarks.params import ExportParams, RegisterParams
from landmarks.photos.decoding import decode_image
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.shards.format import encode_png, iterate_batches

_ROUNDING = 1e-9  # a champion that is measured again may differ in the last digits
_BATCH = 256


@dataclass(frozen=True)
class ChampionScore:
    """Score of the current champion on the current test split; `measured` says whether it was measured for the gate."""

    version: str
    score: float
    measured: bool


def measure_accuracy(recognizer: Recognizer, shards: Path) -> dict[str, float]:
    """Compute `top1`, `top5` and `macro_recall` on the test split; photos are resized for the recognizer.

    Raises:
        ArtifactError: the shards are damaged.
    """
    image_format = recognizer.network.image_format
    ranks, labels = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for _, batch_labels, pixels in iterate_batches(shards, Split.TEST, _BATCH):
        if pixels.shape[1] != image_format.image_size:
            pixels = np.stack([decode_image(encode_png(photo), image_format) for photo in pixels])
        probabilities, _ = recognizer.network.run(pixels)
        ranks.append(compute_ranks(probabilities, batch_labels))
        labels.append(batch_labels)
    return compute_accuracies(np.concatenate(ranks), np.concatenate(labels))


def check_parity(variant: str, precision: str, metrics: Mapping[str, float], params: ExportParams) -> None:
    """Check that the export of a variant answers as its Keras network, as far as a sample of photos can tell.

    Args:
        variant: `plain` or `augmented`.
        precision: of the export.
        metrics: of its evaluation.
        params: the section `export`.

    Raises:
        ArtifactError: the evaluation did not measure parity.
        GateError: a limit is exceeded.
    """
    names = [f"parity_{field.name}" for field in fields(Parity)]
    if missing := [name for name in names if name not in metrics]:
        raise ArtifactError(f"The evaluation of {variant} has no metric {missing[0]}. Run `dvc repro evaluate`.")
    photos, differing, cosine, change = (metrics[name] for name in names)
    parity = Parity(round(photos), round(differing), cosine, change)
    deviation = parity.find_deviation(precision, params, is_sample=True)
    if deviation:
        raise GateError(
            f"The {precision} export of {variant} does not answer as its Keras network: {deviation}. Nothing was "
            "registered. The section `export` of params.yaml sets these limits and the precision."
        )


def check_minimum(variant: str, score: float, params: RegisterParams) -> None:
    """Check that the score of a variant reaches `register.min_score`.

    Raises:
        GateError: it does not.
    """
    if score < params.min_score:
        raise GateError(
            f"{_describe(variant, score, params)}, register.min_score asks for {params.min_score:.4f}. Nothing was "
            "registered. Train longer or on more photos, or lower register.min_score."
        )


def check_regression(variant: str, score: float, champion: ChampionScore, params: RegisterParams) -> None:
    """Check that a variant is not worse than the champion by more than `register.max_regression`.

    Raises:
        GateError: it is.
    """
    required = champion.score - params.max_regression
    if score < required - _ROUNDING:
        raise GateError(
            f"{_describe(variant, score, params)}, at least {required:.4f} is required: the champion, version "
            f"{champion.version} of {params.model_name}, reaches {champion.score:.4f} there, and "
            f"register.max_regression accepts {params.max_regression:.4f} less. Nothing was registered. Train longer, "
            "or raise register.max_regression."
        )


def _describe(variant: str, score: float, params: RegisterParams) -> str:
    return f"{variant} reaches {params.metric} {score:.4f} on the test split"
