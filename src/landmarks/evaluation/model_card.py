"""The model card: what a registered model is for, what it learned from, how good it is, and where it fails.

References:
    Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from landmarks.schema.vocabulary import Landmark

_NAMES_SHOWN = 40
_SCORES = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy", "macro_recall": "Mean recall over landmarks"}
_OTHER_FIGURES = {
    "top1_without_near_duplicates": "Top-1 accuracy without photos that resemble a training photo",
    "ece": "Expected calibration error",
    "auroc": "AUROC, photos of landmarks against photos of none",
    "trivial_auroc": "AUROC of a linear model on bytes, mean colour and 6 x 6 pixels",
    "threshold": "Threshold of rejection",
    "answered_fraction": "Photos of landmarks answered above the threshold",
    "answered_distractors_fraction": "Photos of no landmark answered all the same",
    "answer_precision": "Right among the answers above the threshold",
}
_INTENDED_USE = """\
## Intended use

Naming the landmark in a photo among the landmarks it knows, and finding similar photos: to sort, label and search
photo collections, with a person to look over what matters. It was trained from scratch as an example of a
reproducible pipeline.

It is not made for navigation, for evidence, for finding out where a person was, or for any decision about people.
"""
_LIMITS = """\
## Limits

* It knows the landmarks below and no others. A photo of something else gets a low score at best; the threshold rejects
  most of such photos, never all.
* Accuracy differs between landmarks: `per_landmark.csv` of the evaluation has each one's. Landmarks with few photos,
  unusual viewpoints, night, interiors and details are recognized worse than the figures above say.
* The split is random by photo. Photos of one visit may be in training and in the test, so photos from elsewhere are
  recognized worse than these.
* The scores are calibrated on photos like those it learned from.
"""
_LICENCE = """\
## Licence

Code and weights: Apache-2.0. The photos it learned from stay under the licences of their authors, which may ask for
attribution wherever photos are shown; the model contains embeddings of them, not the photos.
"""


@dataclass(frozen=True)
class ModelFacts:
    """What a card tells.

    Attributes:
        model_name: of the registered model.
        variant: of the training.
        dataset: name of the photos.
        landmarks: that it can name.
        image_size: side of the network's input in pixels.
        metrics: of the evaluation, by the names of `metrics.json`.
        params: of the training, as texts.
        lineage: where it comes from: run, commit, fingerprints.
    """

    model_name: str
    variant: str
    dataset: str
    landmarks: Sequence[Landmark]
    image_size: int
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    lineage: Mapping[str, str]


def build_model_card(facts: ModelFacts) -> str:
    """The card, in Markdown. The same facts give the same text."""
    title = f"# {facts.model_name}, variant {facts.variant}\n"
    what = (
        f"A ResNet-50 for {facts.image_size} px photos that names {len(facts.landmarks)} landmarks and embeds photos "
        "for similarity search.\n"
    )
    parts = (title, what, _describe_metrics(facts.metrics), _INTENDED_USE, _LIMITS, _describe_data(facts), _LICENCE)
    lists = (_list("Lineage", facts.lineage), _list("Training", facts.params), _describe_landmarks(facts.landmarks))
    return "\n".join((*parts, *lists))


def _describe_metrics(metrics: Mapping[str, float]) -> str:
    photos = f"{metrics['test_photos']:,.0f} photos" if "test_photos" in metrics else "the photos"
    rows = [_describe_score(name, label, metrics) for name, label in _SCORES.items() if name in metrics]
    rows += [f"| {label} | {metrics[name]:.3f} | |" for name, label in _OTHER_FIGURES.items() if name in metrics]
    head = ["## Metrics", "", f"On {photos} of the test split, which training never saw.", ""]
    return "\n".join([*head, "| figure | value | 95 % interval |", "|---|---|---|", *rows, ""])


def _describe_score(name: str, label: str, metrics: Mapping[str, float]) -> str:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
    return f"| {label} | {metrics[name]:.3f} | {interval} |"


def _describe_data(facts: ModelFacts) -> str:
    splits = {split: [getattr(landmark, split) for landmark in facts.landmarks] for split in ("train", "val", "test")}
    rows = [f"| {split} | {sum(counts):,} | {min(counts):,} | {max(counts):,} |" for split, counts in splits.items()]
    head = ["## Data", "", f"Photos of the set `{facts.dataset}`, split by a hash of their ids.", ""]
    columns = ["| split | photos | fewest per landmark | most per landmark |", "|---|---|---|---|"]
    return "\n".join([*head, *columns, *rows, ""])


def _list(title: str, values: Mapping[str, str]) -> str:
    return "\n".join([f"## {title}", "", *(f"* {name}: `{value}`" for name, value in sorted(values.items())), ""])


def _describe_landmarks(landmarks: Sequence[Landmark]) -> str:
    names = [landmark.name or f"landmark {landmark.landmark_id}" for landmark in landmarks[:_NAMES_SHOWN]]
    rest = len(landmarks) - len(names)
    more = [f"* and {rest:,} more: `vocabulary.csv` has them all"] if rest else []
    return "\n".join(["## Landmarks", "", *(f"* {name}" for name in names), *more, ""])
