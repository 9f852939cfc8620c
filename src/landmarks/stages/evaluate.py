"""Measure a recognizer on the test split, draw what a person wants to see, and log it to the run that trained it."""

import statistics
import time
from dataclasses import asdict
from hashlib import sha256
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.adapters.receipts import EVALUATION_PARAMS_FILE, METRICS_FILE, RECEIPT_FILE
from landmarks.adapters.tracking import log_evaluation, read_receipt
from landmarks.answers import Answers
from landmarks.data.images import Pixels
from landmarks.data.photo_table import read_photo_column
from landmarks.data.recognizer_files import SERVING_MODEL_FILE
from landmarks.data.schema import Split
from landmarks.data.shards import iterate_batches, read_manifest, read_split
from landmarks.data.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.errors import ArtifactError, ImageError
from landmarks.evaluation import EMBEDDINGS_FILE, Evaluation, list_names
from landmarks.evaluation import evaluate as evaluate_answers
from landmarks.figures.evaluation import draw_confusion_matrix, draw_gallery, draw_reliability
from landmarks.figures.separation import ShownPhoto, draw_landmark_scores, draw_neighbours, draw_precision_coverage
from landmarks.files import replace_folder, write_json
from landmarks.inference import BATCH, check_fits, check_trained_on, run_split
from landmarks.modeling.comparison import measure_parity
from landmarks.params import EvaluateParams, flatten_params
from landmarks.recognition import Neighbour, Recognizer
from landmarks.retrieval.metrics import score_search
from landmarks.trivial import describe_trivially, measure_trivial_auroc

_TABLES = ("per_landmark", "confusions", "predictions", "reliability", "precision_coverage")
_NEIGHBOURS = 5
_RECALLS = (1, 5, 10)
_TIMED_RUNS = 3
_EMBEDDED_PHOTOS = 2000


def evaluate(shards: Path, model_dir: Path, train_reports: Path, out: Path, params: EvaluateParams) -> Path:
    """Write the evaluation of a recognizer directory and log it to its MLflow run.

    Only the test split and the test part of the photos of no landmark are measured.

    Args:
        shards: `data/shards`.
        model_dir: `models/VARIANT`, with bundle and index.
        train_reports: `reports/train/VARIANT`, with the receipt of the run.
        out: `reports/evaluate/VARIANT`, replaced as a whole.
        params: the section `evaluate`.

    Raises:
        ArtifactError: something is missing or damaged, or recognizer and shards do not belong together.
        DataError: there are no test photos.
        LandmarksError: the tracking store cannot be used.
    """
    receipt = read_receipt(train_reports / RECEIPT_FILE)
    recognizer = Recognizer.load(model_dir)
    check_trained_on(recognizer.network, read_manifest(shards))
    evaluation = evaluate_recognizer(recognizer, shards, params)
    facts = {
        "images_per_second": _measure_speed(recognizer, shards),
        "model_bytes": float((model_dir / "bundle" / SERVING_MODEL_FILE).stat().st_size),
    }
    measured = (
        _measure_search(recognizer, shards) | _measure_trivial(shards) | _measure_parity(model_dir, recognizer, shards)
    )
    metrics = evaluation.metrics | measured | facts
    settings = flatten_params(params, "evaluate")
    with replace_folder(out) as temporary:
        write_json(temporary / METRICS_FILE, metrics)
        write_json(temporary / EVALUATION_PARAMS_FILE, settings)
        for name in _TABLES:
            getattr(evaluation, name).to_csv(temporary / f"{name}.csv", index=False, float_format="%.6g")
        _draw(temporary, evaluation, recognizer, shards, params)
        _draw_separation(temporary, evaluation, recognizer, shards)
        _draw_neighbours(temporary, recognizer, shards, params)
        np.save(temporary / EMBEDDINGS_FILE, embed_sample(recognizer, shards))
    log_evaluation(receipt, metrics, out, settings)
    return out


def evaluate_recognizer(recognizer: Recognizer, shards: Path, params: EvaluateParams) -> Evaluation:
    """Measure a recognizer on the test split of shards that it may not have been trained on.

    Raises:
        ArtifactError: the shards have another image size, fit or vocabulary.
        DataError: there are no test photos.
    """
    check_fits(recognizer.network, read_manifest(shards))
    wanted = [landmark.landmark_id for landmark in read_vocabulary(shards / VOCABULARY_FILE)]
    if wanted != [landmark.landmark_id for landmark in recognizer.landmarks]:
        raise ArtifactError(f"{shards} has other landmarks than the recognizer. Use shards of the same selection.")
    test = _collect_answers(recognizer, shards, Split.TEST)
    return evaluate_answers(
        test=test,
        distractors=_collect_answers(recognizer, shards, Split.DISTRACTORS_TEST),
        near_duplicates=np.array(read_photo_column(shards, "near_duplicate", test.image_ids), np.bool_),
        threshold=recognizer.gallery.threshold,
        landmarks=recognizer.landmarks,
        params=params,
    )


def embed_sample(recognizer: Recognizer, shards: Path, most: int = _EMBEDDED_PHOTOS) -> npt.NDArray[np.float16]:
    """Embeddings of the test photos, float16 (n, d), in the order of a hash of their ids; the first of them only."""
    found: list[tuple[str, npt.NDArray[np.float16]]] = []
    for batch in run_split(recognizer.network, shards, Split.TEST):
        hashes = (sha256(image_id.encode()).hexdigest() for image_id in batch.image_ids)
        found = sorted([*found, *zip(hashes, batch.embeddings.astype(np.float16), strict=True)], key=itemgetter(0))[
            :most
        ]
    return np.stack([embedding for _, embedding in found])


def _collect_answers(recognizer: Recognizer, shards: Path, split: Split) -> Answers:
    image_ids: list[str] = []
    labels, scores, confidences = [np.empty(0, np.int32)], [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    probabilities = [np.empty((0, recognizer.network.labels), np.float32)]
    for batch in run_split(recognizer.network, shards, split):
        image_ids += batch.image_ids
        labels.append(batch.labels)
        probabilities.append(batch.probabilities)
        scorer = recognizer.gallery.scorer
        evidence = scorer.collect(batch.probabilities, batch.embeddings)
        scores.append(scorer.score(evidence))
        confidences.append(scorer.trust(evidence))
    return Answers(
        tuple(image_ids),
        np.concatenate(labels),
        np.concatenate(probabilities),
        np.concatenate(scores),
        np.concatenate(confidences),
    )


def _measure_search(recognizer: Recognizer, shards: Path) -> dict[str, float]:
    """How well the search finds training photos of the landmark that a test photo shows."""
    batches = ((batch.embeddings, batch.labels) for batch in run_split(recognizer.network, shards, Split.TEST))
    found = score_search(recognizer.gallery.index.search, np.array(recognizer.gallery.labels), batches)
    metrics = {
        "map_at_100": found.mean_average_precision,
        "mean_first_hit": found.mean_first_hit,
        "median_first_hit": found.median_first_hit,
    }
    return metrics | {f"recall_at_{k}": found.recall_at(k) for k in _RECALLS}


def _measure_parity(model_dir: Path, recognizer: Recognizer, shards: Path) -> dict[str, float]:
    """How alike the export and the Keras model answer: `register` asks for it."""
    parity = measure_parity(model_dir / "bundle", recognizer.network.run, shards)
    return {f"parity_{name}": float(value) for name, value in asdict(parity).items()}


def _measure_trivial(shards: Path) -> dict[str, float]:
    """What a model that sees next to nothing separates: the AUROC that ours has to be compared with."""
    kinds = (Split.VAL, Split.DISTRACTORS_VAL, Split.TEST, Split.DISTRACTORS_TEST)
    features = [describe_trivially(pixels for _, _, pixels in read_split(shards, kind)) for kind in kinds]
    auroc = measure_trivial_auroc(*features)
    return {} if auroc is None else {"trivial_auroc": auroc}


def _measure_speed(recognizer: Recognizer, shards: Path) -> float:
    """Photos per second through the network, in batches: the median of a few runs after one that is not counted."""
    _, _, pixels = next(iterate_batches(shards, Split.TEST, BATCH))
    seconds = []
    for _ in range(1 + _TIMED_RUNS):
        started = time.perf_counter()
        recognizer.network.run(pixels)
        seconds.append(time.perf_counter() - started)
    return len(pixels) / statistics.median(seconds[1:])


def _draw(folder: Path, evaluation: Evaluation, recognizer: Recognizer, shards: Path, params: EvaluateParams) -> None:
    names = list_names(recognizer.landmarks)
    label_of = {name: label for label, name in enumerate(names)}
    predictions = evaluation.predictions
    actual, predicted = (predictions[column].map(label_of).to_numpy(np.int64) for column in ("actual", "predicted"))
    draw_confusion_matrix(folder / "confusion_matrix.png", actual, predicted, names)
    draw_reliability(folder / "reliability.png", evaluation.reliability, evaluation.metrics["ece"])
    right = predictions[actual == predicted]
    wrong = predictions[actual != predicted].sort_values("score", ascending=False, kind="stable")
    shown_right = right.sample(min(params.gallery_photos, len(right)), random_state=np.random.default_rng(params.seed))
    shown_wrong = wrong.head(params.gallery_photos)
    photos = _fetch_photos(shards, {*shown_right["image_id"], *shown_wrong["image_id"]})
    title = f"{len(shown_right)} of {len(right):,} right answers, drawn at random"
    draw_gallery(folder / "gallery_right.png", title, [photos[i] for i in shown_right["image_id"]], shown_right)
    title = f"The {len(shown_wrong)} of {len(wrong):,} wrong answers with the highest scores"
    draw_gallery(folder / "gallery_worst.png", title, [photos[i] for i in shown_wrong["image_id"]], shown_wrong)


def _fetch_photos(shards: Path, wanted: set[str], split: Split = Split.TEST) -> dict[str, Pixels]:
    return {
        image_id: photo.copy()
        for image_ids, _, pixels in iterate_batches(shards, split, BATCH)
        for image_id, photo in zip(image_ids, pixels, strict=True)
        if image_id in wanted
    }


def _draw_separation(folder: Path, evaluation: Evaluation, recognizer: Recognizer, shards: Path) -> None:
    gallery = recognizer.gallery
    draw_precision_coverage(folder / "precision_coverage.png", evaluation.precision_coverage)
    scores = evaluation.predictions["landmark_score"].to_numpy()
    is_right = (evaluation.predictions["actual"] == evaluation.predictions["predicted"]).to_numpy()
    distractors = _collect_answers(recognizer, shards, Split.DISTRACTORS_TEST).scores
    draw_landmark_scores(
        folder / "landmark_scores.png", scores[is_right], scores[~is_right], distractors, gallery.threshold
    )


def _draw_neighbours(folder: Path, recognizer: Recognizer, shards: Path, params: EvaluateParams) -> None:
    """Test photos beside the training photos that the search finds for them."""
    names = list_names(recognizer.landmarks)
    label_of = {landmark.landmark_id: landmark.label for landmark in recognizer.landmarks}
    photos_of_test = read_manifest(shards).count_photos(Split.TEST)
    chosen = np.random.default_rng(params.seed).permutation(photos_of_test)[: params.queries].tolist()
    every = enumerate(read_split(shards, Split.TEST))
    queries = {place: (label, pixels) for place, (_, label, pixels) in every if place in chosen}
    found = {place: _search_safely(recognizer, queries[place][1]) for place in chosen}
    wanted = {item.image_id for items in found.values() for item in items}
    photos = _fetch_photos(shards, wanted, Split.TRAIN)
    rows = []
    for place, items in found.items():
        label, pixels = queries[place]
        neighbours = [
            ShownPhoto(
                photos[item.image_id],
                names[label_of[item.landmark_id]],
                item.similarity,
                label_of[item.landmark_id] == label,
                ", ".join(filter(None, (item.author, item.license))),
            )
            for item in items
        ]
        rows += [[ShownPhoto(pixels, names[label]), *neighbours]] if items else []
    title = f"{len(rows)} test photos, drawn at random, and the training photos most similar to them"
    draw_neighbours(folder / "neighbours.png", title, rows)


def _search_safely(recognizer: Recognizer, pixels: Pixels) -> list[Neighbour]:
    try:
        return recognizer.search_pixels(pixels[None], _NEIGHBOURS)[0]
    except ImageError:  # the network finds nothing in it
        return []
