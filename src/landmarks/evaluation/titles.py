"""Titles of the metrics in `metrics.json`, for the model card and the summary."""

from typing import NamedTuple


class MetricTitle(NamedTuple):
    """How a metric is written: in full, and in a narrow table."""

    full: str
    short: str = ""


# in the order in which they are shown
TITLES = {
    "top1": MetricTitle("Top-1 accuracy", "top-1"),
    "top5": MetricTitle("Top-5 accuracy", "top-5"),
    "macro_recall": MetricTitle("Macro recall (mean over landmarks)", "macro recall"),
    "top1_without_near_duplicates": MetricTitle("Top-1 accuracy without near-duplicates of training photos"),
    "ece": MetricTitle("Expected calibration error (ECE) of the confidence", "calibration error"),
    "ece_if_calibrated_low": MetricTitle("ECE of a perfectly calibrated model on as many photos, 95 % range, from"),
    "ece_if_calibrated_high": MetricTitle("ECE of a perfectly calibrated model on as many photos, 95 % range, to"),
    "softmax_ece": MetricTitle("ECE of the softmax probability, on landmark photos"),
    "auroc": MetricTitle("AUROC, landmark photos against distractors (non-landmark photos)", "OOD detection, AUROC"),
    "shortcut_baseline_auroc": MetricTitle(
        "AUROC of the shortcut baseline: a linear model on file size, sharpness, colour and 6 x 6 pixels",
        "shortcut baseline, AUROC",
    ),
    "threshold": MetricTitle("Operating point (threshold of the landmark score)"),
    "answered_fraction": MetricTitle("Landmark photos at or above the threshold"),
    "answered_distractors_fraction": MetricTitle("Distractors at or above the threshold"),
    "answer_precision": MetricTitle("Correct answers among those at or above the threshold"),
}
