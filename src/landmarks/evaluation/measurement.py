"""Measure a recognizer on the test split: all metrics, and the photos for the charts, in one pass over each split."""

import statistics
import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError
from landmarks.evaluation.baseline import describe_photos, measure_baseline_auroc
from landmarks.evaluation.metrics import Bools, Ints
from landmarks.evaluation.predictions import BestPhotos, Observer, predict
from landmarks.evaluation.report import Evaluation, evaluate
from landmarks.evaluation.retrieval import find_search_hits, score_hits
from landmarks.export.parity import ParityMeter
from landmarks.export.predict import Outputs, check_fits, check_trained_on
from landmarks.network.trained import load_network
from landmarks.params import EvaluateParams
from landmarks.recognizer.format import BUNDLE_FOLDER, SERVING_MODEL_FILE
from landmarks.recognizer.recognizer import Neighbour, Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.network_format import Floats, Pixels
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.shards.format import read_manifest, read_photos, read_split
from landmarks.shards.photo_table import read_photo_column

EMBEDDED_PHOTOS = 2000  # kept for `landmarks drift`, whose tests compare all pairs
_NEIGHBOURS = 5  # shown for each example of the search
_RECALLS = (1, 5, 10)
_TIMED_RUNS = 3
# what the shortcut baseline learns from, landmarks and distractors, and what it is measured on
_BASELINE_SPLITS = (
    (Split.VAL,),
    (Split.DISTRACTORS_TRAIN, Split.DISTRACTORS_VAL),
    (Split.TEST,),
    (Split.DISTRACTORS_TEST,),
)


@dataclass(frozen=True)
class SearchExample:
    """A test photo with its search results.

    Attributes:
        label: of the test photo.
        pixels: of the test photo, uint8 (s, s, 3).
        neighbours: the most similar gallery photos, each with its pixels.
    """

    label: int
    pixels: Pixels
    neighbours: tuple[tuple[Neighbour, Pixels], ...]


@dataclass(frozen=True)
class Measurement:
    """Results of a recognizer on the test split.

    Attributes:
        metrics: by the names of `metrics.json`.
        tables: the tables behind the metrics.
        distractor_scores: float32 (m,), landmark scores of the test distractors.
        right_photos: a random sample of photos with a correct answer; pixels by image id.
        wrong_photos: photos with the most confident wrong answers; pixels by image id, highest score first.
        examples: of the search, drawn at random.
        embeddings: float16 (k, d), of the test photos with the lowest hashes of their ids.
    """

    metrics: dict[str, float]
    tables: Evaluation
    distractor_scores: Floats
    right_photos: dict[str, Pixels]
    wrong_photos: dict[str, Pixels]
    examples: tuple[SearchExample, ...]
    embeddings: npt.NDArray[np.float16]


def measure(shards: Path, folder: Path, params: EvaluateParams) -> Measurement:
    """Measure a recognizer directory on the test split of the shards that it was trained on.

    Digests are not compared; see `recognizer.format.check_recognizer` and `shards.format.open_shards`.

    Args:
        shards: `data/shards`.
        folder: `models/VARIANT`, the recognizer directory.
        params: the section `evaluate`.

    Raises:
        ArtifactError: something is missing or cannot be used, or recognizer and shards do not belong together.
        DataError: there are no test photos.
    """
    recognizer = Recognizer.load(folder, verify=False)
    check_trained_on(recognizer.network, read_manifest(shards))
    parity = ParityMeter(load_network(folder / BUNDLE_FOLDER))
    speed = _SpeedMeter(recognizer)

    def compare(outputs: Outputs, pixels: Pixels) -> None:
        parity.add(pixels, outputs.labels, outputs.probabilities, outputs.embeddings)

    found = measure_recognizer(recognizer, shards, params, compare, speed.observe)
    found.metrics.update({f"parity_{name}": float(value) for name, value in asdict(parity.measure()).items()})
    found.metrics["images_per_second"] = speed.images_per_second
    found.metrics["model_bytes"] = float((folder / BUNDLE_FOLDER / SERVING_MODEL_FILE).stat().st_size)
    return found


def measure_recognizer(
    recognizer: Recognizer, shards: Path, params: EvaluateParams, *observers: Observer
) -> Measurement:
    """Measure a recognizer on the test split of shards, also of others than it was trained on.

    Args:
        recognizer: the recognizer.
        shards: with the photos.
        params: the section `evaluate`.
        observers: called with the outputs and the pixels of every batch of test photos.

    Raises:
        ArtifactError: the shards have another image size, fit or vocabulary.
        DataError: there are no test photos.
    """
    check_fits(recognizer.network, read_manifest(shards))
    wanted = [landmark.landmark_id for landmark in read_vocabulary(shards / VOCABULARY_FILE)]
    if wanted != [landmark.landmark_id for landmark in recognizer.landmarks]:
        raise ArtifactError(f"{shards} has other landmarks than the recognizer. Use shards of the same selection.")
    right, wrong = _keep_right_photos(params), _keep_wrong_photos(params)
    queries, search = _QueryKeeper(shards, params), _SearchMeter(recognizer)
    embeddings = EmbeddingSample(EMBEDDED_PHOTOS)
    features = {split: list[npt.NDArray[np.float64]]() for splits in _BASELINE_SPLITS for split in splits}

    def describe(split: Split) -> Observer:
        return lambda _, pixels: features[split].append(describe_photos(pixels))

    own = (right.observe, wrong.observe, queries.observe, search.observe, embeddings.observe, describe(Split.TEST))
    test = predict(recognizer, shards, Split.TEST, *own, *observers)
    distractors = predict(recognizer, shards, Split.DISTRACTORS_TEST, describe(Split.DISTRACTORS_TEST))
    # the baseline needs no outputs of the network, so what it learns from is only decoded
    for split in (*_BASELINE_SPLITS[0], *_BASELINE_SPLITS[1]):
        features[split] = [describe_photos(pixels for _, _, pixels in read_split(shards, split))]
    tables = evaluate(
        test=test,
        distractors=distractors,
        near_duplicates=np.array(read_photo_column(shards, "near_duplicate", test.image_ids), np.bool_),
        threshold=recognizer.gallery.threshold,
        landmarks=recognizer.landmarks,
        params=params,
    )
    stacked = [
        np.concatenate([part for split in splits for part in features[split]] or [np.empty((0, 0))])
        for splits in _BASELINE_SPLITS
    ]
    auroc = measure_baseline_auroc(*stacked)
    baseline = {} if auroc is None else {"shortcut_baseline_auroc": auroc}
    return Measurement(
        metrics=tables.metrics | search.measure() | baseline,
        tables=tables,
        distractor_scores=distractors.scores,
        right_photos=right.photos,
        wrong_photos=wrong.photos,
        examples=tuple(queries.search(recognizer, shards)),
        embeddings=embeddings.collect(),
    )


class EmbeddingSample:
    """Collects the embeddings of the photos with the lowest hashes of their ids, for `landmarks drift`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[str, npt.NDArray[np.float16]]] = []

    def observe(self, outputs: Outputs, _: Pixels) -> None:
        """Add a batch."""
        hashes = (_hash(image_id) for image_id in outputs.image_ids)
        found = zip(hashes, outputs.embeddings.astype(np.float16), strict=True)
        self._kept = sorted([*self._kept, *found], key=itemgetter(0))[: self._most]

    def collect(self) -> npt.NDArray[np.float16]:
        """Return the embeddings, float16 (k, d), in the order of the hashes."""
        return np.stack([embedding for _, embedding in self._kept])


class _SearchMeter:
    """Measures the similarity search: test photos as queries, training photos of their landmark as relevant."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._search = recognizer.gallery.index.search
        self._gallery_labels = np.array(recognizer.gallery.labels)
        self._found: list[tuple[Bools, Ints]] = []

    def observe(self, outputs: Outputs, _: Pixels) -> None:
        self._found.append(find_search_hits(self._search, self._gallery_labels, outputs.embeddings, outputs.labels))

    def measure(self) -> dict[str, float]:
        scores = score_hits(self._found)
        metrics = {
            "map_at_100": scores.mean_average_precision,
            "mean_first_hit": scores.mean_first_hit,
            "median_first_hit": scores.median_first_hit,
        }
        return metrics | {f"recall_at_{k}": scores.recall_at(k) for k in _RECALLS}


class _SpeedMeter:
    """Measures photos per second of the network on one batch: the median of a few runs after a warm-up."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._network = recognizer.network
        self.images_per_second = 0.0

    def observe(self, _: Outputs, pixels: Pixels) -> None:
        if self.images_per_second:  # the first batch is enough
            return
        seconds = []
        for _run in range(1 + _TIMED_RUNS):  # the first one warms up
            started = time.perf_counter()
            self._network.run(pixels)
            seconds.append(time.perf_counter() - started)
        self.images_per_second = len(pixels) / statistics.median(seconds[1:])


class _QueryKeeper:
    """Collects a random sample of test photos, and searches the gallery for them."""

    def __init__(self, shards: Path, params: EvaluateParams) -> None:
        photos = read_manifest(shards).count_photos(Split.TEST)
        self._chosen = np.random.default_rng(params.seed).permutation(photos)[: params.queries].tolist()
        self._kept: dict[int, tuple[int, Pixels, Floats]] = {}
        self._seen = 0

    def observe(self, outputs: Outputs, pixels: Pixels) -> None:
        for row in range(len(outputs.labels)):
            if self._seen + row in self._chosen:
                kept = (int(outputs.labels[row]), pixels[row].copy(), outputs.embeddings[row])
                self._kept[self._seen + row] = kept
        self._seen += len(outputs.labels)

    def search(self, recognizer: Recognizer, shards: Path) -> list[SearchExample]:
        """Search for the sample, in the order in which it was drawn; photos with a zero embedding are left out."""
        queries = [self._kept[place] for place in self._chosen if self._kept[place][2].any()]
        if not queries:
            return []
        found = recognizer.search_embeddings(np.stack([embedding for *_, embedding in queries]), _NEIGHBOURS)
        rows = {item.image_id: recognizer.gallery.find_row(item.image_id) for items in found for item in items}
        photos = read_photos(shards, Split.TRAIN, set(rows.values()))
        return [
            SearchExample(label, pixels, tuple((item, photos[rows[item.image_id]]) for item in items))
            for (label, pixels, _), items in zip(queries, found, strict=True)
        ]


def _keep_right_photos(params: EvaluateParams) -> BestPhotos:
    def find_keys(outputs: Outputs) -> list[tuple[int, str]]:
        rows = np.flatnonzero(outputs.correct).tolist()
        return [(row, _hash(f"{params.seed}:{outputs.image_ids[row]}")) for row in rows]

    return BestPhotos(params.gallery_photos, find_keys)


def _keep_wrong_photos(params: EvaluateParams) -> BestPhotos:
    def find_keys(outputs: Outputs) -> list[tuple[int, float]]:
        rows = np.flatnonzero(~outputs.correct).tolist()
        return [(row, -float(outputs.probabilities[row].max())) for row in rows]

    return BestPhotos(params.gallery_photos, find_keys)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
