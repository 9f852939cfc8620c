"""Score a Kaggle submission against its solution, for all rows and for the rows of each usage."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landmarks.evaluation.gap import Guess, compute_submission_gap, compute_submission_top1
from landmarks.evaluation.retrieval import DEPTH, score_retrieval
from landmarks.kaggle.files import (
    ALL,
    Cell,
    Task,
    read_recognition_solution,
    read_recognition_submission,
    read_retrieval_solution,
    read_retrieval_submission,
    read_task,
)

_SHOWN_RANKS = (1, 5, 10, DEPTH)
_TITLES = {
    "gap": "GAP",
    "gap_without_distractors": "GAP without distractors",
    "top1": "top-1",
    "photos": "photos",
    "landmark_photos": "landmark photos",
    "predictions": "predictions",
    "map_at_100": "mAP@100",
    "mean_first_hit": "mean rank of the first hit",
    "median_first_hit": "median rank of the first hit",
    "queries": "queries",
    "answered_queries": "answered queries",
}


@dataclass(frozen=True)
class SubmissionScores:
    """The metrics of a submission by `Public`, `Private` and `all`; metrics undefined for a part are absent."""

    task: Task
    parts: Mapping[str, Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return all metrics as a JSON-like value."""
        return {"task": self.task.value, "scores": {name: dict(part) for name, part in self.parts.items()}}

    def describe(self) -> str:
        """Return a text table with one line per metric and one column per part."""
        parts = self.parts.values()
        rows = [("", *self.parts)]
        rows += [
            (title, *(_format(part.get(key)) for part in parts))
            for key, title in _TITLES.items()
            if any(key in part for part in parts)
        ]
        if self.task == Task.RETRIEVAL:
            for key, title in (("mean_precisions", "mean precision"), ("recalls", "recall")):
                rows += [(f"{title}@{k}", *(_format(part[key][k - 1]) for part in parts)) for k in _SHOWN_RANKS]
        width = max(len(row[0]) for row in rows)
        return "\n".join("".join([row[0].ljust(width), *(cell.rjust(12) for cell in row[1:])]) for row in rows)


def score_submission(submission: Path, solution: Path) -> SubmissionScores:
    """Score a submission; the header of the solution determines the task.

    Raises:
        ScoringError: a file is missing or malformed, the two do not match, or the solution has nothing to score.
    """
    task = read_task(solution)
    if task == Task.RECOGNITION:
        landmarks = read_recognition_solution(solution)
        predictions = read_recognition_submission(submission, landmarks)
        parts = {
            name: _score_recognition(_restrict(predictions, truth), truth, name)
            for name, truth in landmarks.split_by_usage().items()
        }
    else:
        images = read_retrieval_solution(solution)
        rankings = read_retrieval_submission(submission, images)
        parts = {
            name: _score_retrieval(_restrict(rankings, truth), truth) for name, truth in images.split_by_usage().items()
        }
    return SubmissionScores(task, parts)


def _score_recognition(
    predictions: Mapping[str, Guess | None], truth: Mapping[str, frozenset[int]], name: str
) -> dict[str, Any]:
    counts = {
        "photos": len(truth),
        "landmark_photos": sum(len(landmark_ids) > 0 for landmark_ids in truth.values()),
        "predictions": sum(guess is not None for guess in predictions.values()),
    }
    # GAP and top-1 are undefined without landmark photos. For a part that is an empty result, for all rows an error.
    if name != ALL and not counts["landmark_photos"]:
        return counts
    return {
        "gap": compute_submission_gap(predictions, truth),
        "gap_without_distractors": compute_submission_gap(predictions, truth, ignore_non_landmarks=True),
        "top1": compute_submission_top1(predictions, truth),
        **counts,
    }


def _score_retrieval(rankings: Mapping[str, tuple[str, ...]], truth: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    scores = score_retrieval(rankings, truth)
    return {
        "map_at_100": scores.mean_average_precision,
        "mean_first_hit": scores.mean_first_hit,
        "median_first_hit": scores.median_first_hit,
        "mean_precisions": scores.mean_precisions.tolist(),
        "recalls": scores.recalls.tolist(),
        "queries": scores.queries,
        "answered_queries": sum(len(ranking) > 0 for ranking in rankings.values()),
    }


def _restrict(answers: Mapping[str, Cell], truth: Mapping[str, object]) -> dict[str, Cell]:
    return {image_id: answers[image_id] for image_id in truth if image_id in answers}


def _format(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.6f}" if isinstance(value, float) else f"{value:,}"
