"""The model card: intended use, data, metrics and limits of a registered model.

References:
    Mitchell et al., "Model Cards for Model Reporting", 2019.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from landmarks.evaluation.titles import TITLES
from landmarks.schema.vocabulary import Landmark

_NAMES_SHOWN = 40  # a card is also the description of a registered version, which MLflow limits in length
_INTENDED_USE = """\
## Intended use

Recognizing the landmarks listed below in photos, and finding similar photos: to sort, label and search photo
collections, with a person who checks important results. It was trained from scratch as an example of a reproducible
pipeline.

It is not intended for navigation, as evidence, to locate people, or for any decision about people.
"""
_LIMITS = """\
## Limits

* It knows only the landmarks below. The threshold rejects most distractors and photos of other landmarks,
  but never all of them.
* Accuracy differs between landmarks; `per_landmark.csv` of the evaluation lists it for each. Landmarks with few photos,
  unusual viewpoints, night, interiors and details are recognized worse than the metrics above say.
* The split is random by photo. Photos of one visit may be in both training and test, so photos from other sources are
  recognized worse.
* The scores are calibrated on photos similar to the training photos.
"""
_LICENCE = """\
## Licence

Code and weights: Apache-2.0. The training photos keep the licences of their authors, which may require attribution
wherever photos are shown. The network and the embeddings contain no photos; the index may contain thumbnails.
"""


@dataclass(frozen=True)
class ModelFacts:
    """Content of a model card.

    Attributes:
        model_name: name of the registered model.
        variant: `plain` or `augmented`.
        dataset: name of the data set.
        landmarks: the vocabulary.
        image_size: side of the network's input in pixels.
        metrics: of the evaluation, by the names of `metrics.json`.
        params: of the training, as texts.
        lineage: run, commit and fingerprints.
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
    """Write the card in Markdown. It has no date, so the same facts give the same text."""
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
    rows = []
    for name, title in TITLES.items():
        if name in metrics:
            low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
            interval = f"{low:.3f} to {high:.3f} " if low is not None and high is not None else ""
            rows.append(f"| {title.full} | {metrics[name]:.3f} | {interval}|")
    head = ["## Metrics", "", f"On {photos} of the test split, which was not used for training.", ""]
    return "\n".join([*head, "| metric | value | 95 % interval |", "|---|---|---|", *rows, ""])


def _describe_data(facts: ModelFacts) -> str:
    splits = {split: [getattr(landmark, split) for landmark in facts.landmarks] for split in ("train", "val", "test")}
    rows = [f"| {split} | {sum(counts):,} | {min(counts):,} | {max(counts):,} |" for split, counts in splits.items()]
    head = ["## Data", "", f"Photos of the data set `{facts.dataset}`, split by a hash of their ids.", ""]
    columns = ["| split | photos | minimum per landmark | maximum per landmark |", "|---|---|---|---|"]
    return "\n".join([*head, *columns, *rows, ""])


def _list(title: str, values: Mapping[str, str]) -> str:
    return "\n".join([f"## {title}", "", *(f"* {name}: `{value}`" for name, value in sorted(values.items())), ""])


def _describe_landmarks(landmarks: Sequence[Landmark]) -> str:
    names = [landmark.name or f"landmark {landmark.landmark_id}" for landmark in landmarks[:_NAMES_SHOWN]]
    rest = len(landmarks) - len(names)
    more = [f"* and {rest:,} more, listed in `vocabulary.csv`"] if rest else []
    return "\n".join(["## Landmarks", "", *(f"* {name}" for name in names), *more, ""])
