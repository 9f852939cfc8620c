"""All charts of an evaluation, drawn into one folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from landmarks.evaluation.measurement import Measurement
from landmarks.evaluation.report import list_names
from landmarks.plotting.evaluation import draw_confusion_matrix, draw_gallery, draw_reliability
from landmarks.plotting.ood import ShownPhoto, draw_landmark_scores, draw_neighbours, draw_precision_coverage
from landmarks.schema.network_format import Pixels
from landmarks.schema.vocabulary import Landmark


def draw_measurement(folder: Path, found: Measurement, landmarks: Sequence[Landmark]) -> None:
    """Draw confusion matrix, reliability, galleries of predictions, landmark scores and example searches.

    Args:
        folder: the folder for the PNG files.
        found: the measurement.
        landmarks: the vocabulary, by label.
    """
    names = list_names(landmarks)
    label_of = {name: label for label, name in enumerate(names)}
    predictions, metrics = found.tables.predictions, found.metrics
    actual, predicted = (predictions[column].map(label_of).to_numpy(np.int64) for column in ("actual", "predicted"))
    is_right = actual == predicted
    draw_confusion_matrix(folder / "confusion_matrix.png", actual, predicted, names)
    draw_reliability(folder / "reliability.png", found.tables.reliability, metrics)
    draw_precision_coverage(folder / "precision_coverage.png", found.tables.precision_coverage)
    scores = predictions["landmark_score"].to_numpy()
    draw_landmark_scores(
        folder / "landmark_scores.png",
        scores[is_right],
        scores[~is_right],
        found.distractor_scores,
        metrics["threshold"],
    )
    title = f"{len(found.right_photos)} of {is_right.sum():,} right predictions, a random sample"
    _draw_answers(folder / "gallery_right.png", title, found.right_photos, predictions)
    title = f"The {len(found.wrong_photos)} of {(~is_right).sum():,} wrong predictions with the highest scores"
    _draw_answers(folder / "gallery_worst.png", title, found.wrong_photos, predictions)
    _draw_examples(folder / "neighbours.png", found, landmarks, names)


def _draw_answers(path: Path, title: str, photos: Mapping[str, Pixels], predictions: pd.DataFrame) -> None:
    shown = predictions.set_index("image_id").loc[list(photos)].reset_index()
    draw_gallery(path, title, list(photos.values()), shown)


def _draw_examples(path: Path, found: Measurement, landmarks: Sequence[Landmark], names: Sequence[str]) -> None:
    label_of = {landmark.landmark_id: landmark.label for landmark in landmarks}
    rows = [
        [
            ShownPhoto(example.pixels, names[example.label]),
            *(
                ShownPhoto(
                    pixels,
                    names[label_of[item.landmark_id]],
                    item.similarity,
                    label_of[item.landmark_id] == example.label,
                    ", ".join(filter(None, (item.author, item.license))),
                )
                for item, pixels in example.neighbours
            ),
        ]
        for example in found.examples
    ]
    title = f"{len(rows)} random test photos, each with the most similar training photos"
    draw_neighbours(path, title, rows)
