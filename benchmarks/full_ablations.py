"""The ablations over the whole schedule and over several seeds, on a GPU through JAX.

    KERAS_BACKEND=jax python benchmarks/full_ablations.py [NAME ...] --shards data/shards [--experiment landmarks81]
        [--folder .work/full_ablations] [--seeds 3] [--epochs 30] [--minutes 60]

Thirty epochs of landmarks81 take two cores 40 minutes, and an H100 15 seconds. This is the recipe once more, not the
code that the pipeline runs: the network is ours, on Keras's JAX backend; loss, augmentation, optimizer and averaging
are written for JAX after `landmarks.network` (its input pipeline too), without resizing and the cosine head.
Convolutions have the precision that JAX gives float32 on the device: TF32 on an NVIDIA GPU. JAX is none of the
project's requirements; install it beside them. On a CPU, XLA takes minutes for a step.

Each training writes its figures into the folder; one that is there is not run again. All figures are of val, answered
as served, but for the two AUROC: those of the largest probability and of the largest similarity, each alone, which the
landmark score fuses with others. Seeds are the outer loop, and after --minutes no training begins: what there is by
then is printed.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from landmarks.errors import LandmarksError
from landmarks.evaluation.metrics import compute_auroc
from landmarks.evaluation.retrieval import score_search
from landmarks.network.networks import build_classifier, build_recognizer
from landmarks.params import Params, build_params, write_experiment
from landmarks.recognizer.pca import PCA
from landmarks.schema.columns import Split
from landmarks.schema.network_format import EMBEDDING, PROBABILITIES
from landmarks.shards.format import iterate_batches, read_manifest
from recipes import ABLATIONS, ANSWERS, WHOLE, Changes

Array = Any
Weights = tuple[list[Array], list[Array]]  # trained, and the others
State = dict[str, Any]

LEFT_TO_OTHERS = {"arcface", "sgd", "smaller photos at first"}
DEFAULT = [WHOLE, *ANSWERS, *(name for name in ABLATIONS if name not in {WHOLE, *LEFT_TO_OTHERS})]

STEPS_BETWEEN_AVERAGES = 4
GREY = (0.2989, 0.5870, 0.1140)
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7
SERVED_BATCH = 256


@dataclass(frozen=True)
class Photos:
    """Photos uint8 (n, s, s, 3) and labels int32 (n,)."""

    pixels: Array
    labels: Array

    @classmethod
    def read(cls, shards: Path, split: Split, limit: int | None) -> "Photos":
        """A split of the shards, on the device; of it at most the first `limit`."""
        batches = list(iterate_batches(shards, split, 1024))
        pixels, labels = (np.concatenate([batch[part] for batch in batches])[:limit] for part in (2, 1))
        return cls(jnp.asarray(pixels), jnp.asarray(labels))


# === The recipe in JAX ===


def choose_settings(params: Params, steps: int) -> dict[str, Array]:
    """What may change without the step being compiled again, as numbers."""
    train, augmentation = params.train, params.augmentation
    names = ["min_crop_area_fraction", "max_aspect_ratio", "flip", "brightness", "contrast", "saturation"]
    names += ["mixup_fraction", "mixup_alpha", "cutmix_fraction"]
    settings: dict[str, float] = {name: float(getattr(augmentation, name)) for name in names}
    settings |= {
        "peak": train.learning_rate,
        "warmup_steps": train.warmup_epochs * steps,
        "total_steps": train.epochs * steps,
        "is_cosine": train.decay == "cosine",
        "weight_decay": train.weight_decay,
        "label_smoothing": train.label_smoothing,
        "average_decay": (train.ema_decay or 0.0) ** STEPS_BETWEEN_AVERAGES,
        "steps_between": STEPS_BETWEEN_AVERAGES if train.ema_decay else 1,
    }
    return {name: jnp.float32(value) for name, value in settings.items()}


def compute_rate(step: Array, settings: dict[str, Array]) -> Array:
    warmup = (step + 1.0) / jnp.maximum(settings["warmup_steps"], 1.0)
    done = (step - settings["warmup_steps"]) / jnp.maximum(settings["total_steps"] - settings["warmup_steps"], 1.0)
    cosine = 0.5 * (1.0 + jnp.cos(math.pi * jnp.clip(done, 0.0, 1.0)))
    decay = jnp.where(settings["is_cosine"] > 0, cosine, 1.0)
    return settings["peak"] * jnp.where(step < settings["warmup_steps"], warmup, decay)


def augment(photos: Array, settings: dict[str, Array], key: Array) -> Array:
    """As `landmarks.network.input_pipeline.augment`; a crop is two products with matrices of bilinear weights."""
    keys = jax.random.split(key, 6)
    count, side = photos.shape[:2]
    area = jax.random.uniform(keys[0], (count,), minval=settings["min_crop_area_fraction"])
    log_aspect = jnp.log(settings["max_aspect_ratio"])
    aspect = jnp.exp((2.0 * jax.random.uniform(keys[1], (count,)) - 1.0) * log_aspect)
    height = jnp.minimum(jnp.sqrt(area / aspect), 1.0)
    width = jnp.minimum(jnp.sqrt(area * aspect), 1.0)
    top = jax.random.uniform(keys[2], (count,)) * (1.0 - height)
    left = jax.random.uniform(keys[3], (count,)) * (1.0 - width)
    mirrored = (settings["flip"] > 0) & (jax.random.uniform(keys[4], (count,)) < 0.5)
    rows = _weigh_places(top, top + height, side)
    columns = _weigh_places(jnp.where(mirrored, left + width, left), jnp.where(mirrored, left, left + width), side)
    product = partial(jnp.einsum, precision="highest")
    cropped = product("nyh,nhwc->nywc", rows, photos.astype(jnp.float32))
    cropped = product("nxw,nywc->nyxc", columns, cropped)
    change = jax.random.uniform(keys[5], (3, count, 1, 1, 1), minval=-1.0)
    mean = cropped.mean(axis=(1, 2, 3), keepdims=True)
    coloured = mean + (cropped - mean) * (1.0 + settings["contrast"] * change[0])
    grey = (coloured * jnp.array(GREY)).sum(axis=-1, keepdims=True)
    coloured = grey + (coloured - grey) * (1.0 + settings["saturation"] * change[1])
    coloured += 255.0 * settings["brightness"] * change[2]
    return jnp.round(jnp.clip(coloured, 0.0, 255.0))


def _weigh_places(starts: Array, ends: Array, side: int) -> Array:
    """Matrices (n, side, side) that read `side` places from `starts` to `ends`, as parts of the photo, bilinearly."""
    steps = jnp.arange(side) / (side - 1)
    places = (starts[:, None] + steps * (ends - starts)[:, None]) * (side - 1)
    return jnp.maximum(0.0, 1.0 - jnp.abs(places[:, :, None] - jnp.arange(side)))


def blend(photos: Array, settings: dict[str, Array], key: Array) -> tuple[Array, Array]:
    """As `landmarks.network.input_pipeline.blend`: photos and the shares of their own labels, float32 (n,)."""
    choice, shape, place = jax.random.split(key, 3)
    count, side = photos.shape[:2]
    drawn = jax.random.uniform(choice)
    gammas = jax.random.gamma(shape, settings["mixup_alpha"], (2, count, 1, 1, 1))
    shares = gammas.max(axis=0) / jnp.maximum(gammas.sum(axis=0), 1e-30)
    numbers = jax.random.uniform(place, (3, count, 1))
    half = jnp.sqrt(1.0 - numbers[0]) / 2.0
    places = (jnp.arange(side) + 0.5)[None] / side
    rows, columns = (jnp.abs(places - centre) < half for centre in (numbers[1], numbers[2]))
    masks = 1.0 - (rows[:, :, None] & columns[:, None, :])[..., None].astype(jnp.float32)
    is_mixup = drawn < settings["mixup_fraction"]
    is_cutmix = ~is_mixup & (drawn < settings["mixup_fraction"] + settings["cutmix_fraction"])
    weights = jnp.where(is_mixup, shares, jnp.where(is_cutmix, masks, 1.0))
    mixed = photos * weights + photos[::-1] * (1.0 - weights)
    return jnp.round(mixed), weights.mean(axis=(1, 2, 3))


def measure_losses(logits: Array, labels: Array, smoothing: Array) -> Array:
    log_probabilities = jax.nn.log_softmax(logits)
    own = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    return (1.0 - smoothing) * own - smoothing * log_probabilities.mean(axis=1)


class Trainer:
    """One network, compiled once, for all recipes that only change numbers."""

    def __init__(self, params: Params, image_size: int, labels: int) -> None:
        self._batch_size, self._image_size, self._labels = params.train.batch_size, image_size, labels
        self.classifier = self._build(params, 0)
        decayed = ("bias", "gamma", "beta")
        self._is_decayed = [variable.name not in decayed for variable in self.classifier.trainable_variables]
        self.run_epoch = jax.jit(self._run_epoch, donate_argnums=0)
        self.measure = jax.jit(self._measure)
        self._serve: dict[tuple[bool, float], Callable[[Weights, Array], tuple[Array, Array]]] = {}

    def _build(self, params: Params, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        return build_classifier(self._image_size, self._labels, params.network, seed=seed)

    def start(self, params: Params, seed: int) -> State:
        """Random weights, and the averages, moments and counts of the beginning."""
        network = self._build(params, seed)
        trained = [jnp.array(variable.value) for variable in network.trainable_variables]
        others = [jnp.array(variable.value) for variable in network.non_trainable_variables]
        return {
            "trained": trained,
            "others": others,
            "first": [jnp.zeros_like(value) for value in trained],
            "second": [jnp.zeros_like(value) for value in trained],
            "averages": jax.tree.map(jnp.copy, (trained, others)),
            "step": jnp.float32(0),
        }

    def _run_epoch(self, state: State, settings: dict[str, Array], pixels: Array, labels: Array, key: Array) -> State:
        size = min(self._batch_size, len(labels))
        steps = len(labels) // size
        order, keys = jax.random.split(key)
        batches = jax.random.permutation(order, len(labels))[: steps * size].reshape(steps, size)

        def step(state: State, item: tuple[Array, Array]) -> tuple[State, None]:
            rows, key = item
            return self._step(state, settings, pixels[rows], labels[rows], key), None

        state, _ = jax.lax.scan(step, state, (batches, jax.random.split(keys, steps)))
        return state

    def _step(self, state: State, settings: dict[str, Array], photos: Array, labels: Array, key: Array) -> State:
        keys = jax.random.split(key)
        mixed, shares = blend(augment(photos, settings, keys[0]), settings, keys[1])
        images = mixed.astype(jnp.uint8)

        def measure(trained: list[Array]) -> tuple[Array, list[Array]]:
            logits, others = self.classifier.stateless_call(trained, state["others"], images, training=True)
            own, partner = (
                measure_losses(logits, target, settings["label_smoothing"]) for target in (labels, labels[::-1])
            )
            return (shares * own + (1.0 - shares) * partner).mean(), others

        gradients, others = jax.grad(measure, has_aux=True)(state["trained"])
        return self._average(self._update(state, settings, gradients) | {"others": others}, settings)

    def _update(self, state: State, settings: dict[str, Array], gradients: list[Array]) -> State:
        """AdamW as Keras has it."""
        rate, step = compute_rate(state["step"], settings), state["step"] + 1.0
        scaled = rate * jnp.sqrt(1.0 - BETA2**step) / (1.0 - BETA1**step)
        first = [BETA1 * m + (1.0 - BETA1) * g for m, g in zip(state["first"], gradients, strict=True)]
        second = [BETA2 * v + (1.0 - BETA2) * g * g for v, g in zip(state["second"], gradients, strict=True)]
        trained = [
            value * (1.0 - rate * settings["weight_decay"] * is_decayed) - scaled * m / (jnp.sqrt(v) + EPSILON)
            for value, m, v, is_decayed in zip(state["trained"], first, second, self._is_decayed, strict=True)
        ]
        return state | {"trained": trained, "first": first, "second": second, "step": step}

    def _average(self, state: State, settings: dict[str, Array]) -> State:
        updates = jnp.floor(state["step"] / settings["steps_between"])
        kept = jnp.minimum(settings["average_decay"], updates / (9.0 + updates))
        is_due = state["step"] % settings["steps_between"] == 0

        def move(average: Array, live: Array) -> Array:
            moved = average * kept + live * (1.0 - kept) if jnp.issubdtype(live.dtype, jnp.floating) else live
            return jnp.where(is_due, moved, average)

        live = (state["trained"], state["others"])
        return state | {"averages": jax.tree.map(move, state["averages"], live)}

    def _measure(self, weights: Weights, photos: Array, labels: Array) -> Array:
        logits, _ = self.classifier.stateless_call(*weights, photos, training=False)
        return (logits.argmax(axis=1) == labels).mean()

    def answer(self, weights: Weights, mirror: bool, center_crop: float, photos: Photos) -> tuple[Array, Array]:
        """Probabilities (n, labels) and embeddings (n, d) of photos, as they are served."""
        if (mirror, center_crop) not in self._serve:
            self._serve[mirror, center_crop] = self._build_serve(mirror, center_crop)
        serve, parts = self._serve[mirror, center_crop], []
        for start in range(0, len(photos.labels), SERVED_BATCH):
            part = np.asarray(photos.pixels[start : start + SERVED_BATCH])
            padded = np.pad(part, ((0, SERVED_BATCH - len(part)), (0, 0), (0, 0), (0, 0)))
            parts.append([np.asarray(output)[: len(part)] for output in serve(weights, padded)])
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _build_serve(self, mirror: bool, center_crop: float) -> Callable[[Weights, Array], tuple[Array, Array]]:
        recognizer = build_recognizer(self.classifier, mirror, center_crop)
        # it has the classifier's variables, perhaps in another order
        variables = [*self.classifier.trainable_variables, *self.classifier.non_trainable_variables]
        places = {id(variable): place for place, variable in enumerate(variables)}
        order = [
            [places[id(variable)] for variable in part]
            for part in (recognizer.trainable_variables, recognizer.non_trainable_variables)
        ]

        def serve(weights: Weights, photos: Array) -> tuple[Array, Array]:
            values = [*weights[0], *weights[1]]
            outputs, _ = recognizer.stateless_call(*([values[place] for place in part] for part in order), photos)
            return outputs[PROBABILITIES], outputs[EMBEDDING]

        compiled: Callable[[Weights, Array], tuple[Array, Array]] = jax.jit(serve)
        return compiled


# === Measuring ===


@dataclass(frozen=True)
class Sets:
    """The photos of an ablation; `unknown` are the photos of no landmark of val, if there are any."""

    train: Photos
    val: Photos
    unknown: Photos | None

    @classmethod
    def read(cls, shards: Path, limit: int | None) -> "Sets":
        """What the shards have, of each split at most the first `limit`."""
        has_unknown = read_manifest(shards).count_photos(Split.DISTRACTORS_VAL) > 0
        return cls(
            Photos.read(shards, Split.TRAIN, limit),
            Photos.read(shards, Split.VAL, limit),
            Photos.read(shards, Split.DISTRACTORS_VAL, limit) if has_unknown else None,
        )


def change_params(base: Params, changes: Changes, epochs: int | None) -> Params:
    """Raises: LandmarksError: this file does not have the changed recipe."""
    values = base.model_dump(by_alias=True)
    for section, changed in changes.items():
        values[section].update(changed)
    values["train"]["epochs"] = epochs or values["train"]["epochs"]
    params = build_params(values)
    train = params.train
    if (
        train.optimizer != "adamw"
        or train.resizing
        or train.class_weighting != "none"
        or params.network.head != "softmax"
    ):
        raise LandmarksError("Here are AdamW, one image size, no class weights and the softmax head alone.")
    return params


def train(trainer: Trainer, params: Params, sets: Sets, seed: int) -> tuple[Weights, dict[str, Any]]:
    """The weights of the best epoch, chosen as the pipeline chooses it, and the figures of the training."""
    started = time.perf_counter()
    state = trainer.start(params, seed)
    photos, val, patience = sets.train, sets.val, params.train.early_stopping_patience or params.train.epochs
    steps = len(photos.labels) // min(params.train.batch_size, len(photos.labels))
    settings, key = choose_settings(params, steps), jax.random.key(seed)
    best, best_epoch, accuracies = state["averages"], 0, []
    for epoch in range(params.train.epochs):
        state = trainer.run_epoch(state, settings, photos.pixels, photos.labels, jax.random.fold_in(key, epoch))
        accuracies.append(float(trainer.measure(state["averages"], val.pixels, val.labels)))
        if accuracies[-1] > max(accuracies[:-1], default=-1.0):
            best, best_epoch = jax.tree.map(jnp.copy, state["averages"]), epoch + 1
        if epoch + 1 - best_epoch >= patience:
            break
    sample = slice(params.train.inference_accuracy_photos)
    figures = {
        "train_inference_accuracy": float(trainer.measure(best, photos.pixels[sample], photos.labels[sample])),
        "best_epoch": best_epoch,
        "val_accuracies": accuracies,
        "seconds": time.perf_counter() - started,
    }
    return best, figures


def measure_val(trainer: Trainer, weights: Weights, params: Params, sets: Sets) -> dict[str, Any]:
    """As served: top-1, mAP@100, and how well two plain scores tell landmarks from photos of none."""
    answer = partial(trainer.answer, weights, params.network.flip_tta, params.augmentation.center_crop)
    _, gallery = answer(sets.train)
    probabilities, queries = answer(sets.val)
    pca = PCA.fit([gallery], params.index.pca_dimensions or gallery.shape[1])
    known, queries = pca.apply(gallery), pca.apply(queries)

    def search(embeddings: Array, count: int) -> tuple[Array, Array]:
        similarities = embeddings @ known.T
        rows = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(similarities, rows, axis=1), rows

    labels = np.asarray(sets.val.labels)
    found = score_search(search, np.asarray(sets.train.labels), [(queries, labels)])
    figures = {
        "top1": float((probabilities.argmax(axis=1) == labels).mean()),
        "map_at_100": found.mean_average_precision,
    }
    if sets.unknown:
        others, embeddings = answer(sets.unknown)
        similarities = [search(part, 1)[0][:, 0] for part in (queries, pca.apply(embeddings))]
        figures["probability_auroc"] = compute_auroc(probabilities.max(axis=1), others.max(axis=1))
        figures["similarity_auroc"] = compute_auroc(*similarities)
    return figures


def run_all(args: argparse.Namespace) -> None:
    end = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as folder:
        base = write_experiment([args.experiment], path=Path(folder) / "params.yaml")
    recipes = {name: change_params(base, (ABLATIONS | ANSWERS)[name], args.epochs) for name in args.names}
    manifest, sets = read_manifest(args.shards), Sets.read(args.shards, args.photos)
    trainers: dict[tuple[Any, int], Trainer] = {}
    for seed in range(args.seeds):
        whole: tuple[Weights, dict[str, Any]] | None = None
        for name, params in recipes.items():
            path = args.folder / f"{name}, {seed}.json"
            if path.exists() or time.monotonic() > end or (name in ANSWERS and not whole):
                continue
            # what changes the first weights or the answers alone needs no other program
            network = params.network.model_copy(update={"mirror": True, "zero_init_residual": True})
            graph = (network, params.train.batch_size)
            if graph not in trainers:
                trainers[graph] = Trainer(params, manifest.image_format.image_size, manifest.labels)
            trainer = trainers[graph]
            trained = whole if name in ANSWERS and whole else train(trainer, params, sets, seed)
            whole = trained if name == WHOLE else whole
            weights, figures = trained
            figures = figures | measure_val(trainer, weights, params, sets)
            figures |= {"name": name, "seed": seed, "device": jax.devices()[0].device_kind}
            path.write_text(json.dumps(figures))
            print(f"{name}, seed {seed}: {figures['top1']:.3f} in {figures['seconds']:.0f} s", flush=True)


def print_table(folder: Path, names: list[str]) -> None:
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    whole = {run["seed"]: run for run in runs if run["name"] == WHOLE}
    columns = ("map_at_100", "probability_auroc", "similarity_auroc", "train_inference_accuracy")
    header = ["recipe", "top-1", "against whole, points: mean, and of each seed", "mAP@100"]
    header += ["AUROC of probability", "of similarity", "training photos", "best epochs"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for name in names:
        of_name = [run for run in runs if run["name"] == name]
        if not of_name:
            continue
        cells = [_describe_mean(of_name, "top1")]
        cells.append(_describe_differences([(run, whole[run["seed"]]) for run in of_name if run["seed"] in whole]))
        cells += [_describe_mean(of_name, column) for column in columns]
        cells.append(", ".join(str(run["best_epoch"]) for run in of_name))
        print(f"| {name} | {' | '.join(cells)} |")


def _describe_mean(runs: list[dict[str, Any]], column: str) -> str:
    values = [run[column] for run in runs if column in run]
    return f"{statistics.mean(values):.3f}" if values else ""


def _describe_differences(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    differences = [100 * (run["top1"] - whole["top1"]) for run, whole in pairs if run is not whole]
    each = ", ".join(f"{difference:+.1f}" for difference in differences)
    return f"{statistics.mean(differences):+.1f}: {each}" if differences else ""


def main() -> None:
    names = [*ABLATIONS, *ANSWERS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=DEFAULT, metavar="NAME", help=", ".join(names))
    parser.add_argument("--shards", type=Path, help="as `landmarks prepare` wrote them; without: print what there is")
    parser.add_argument("--experiment", default="landmarks81")
    parser.add_argument("--folder", type=Path, default=Path(".work/full_ablations"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="in place of the experiment's")
    parser.add_argument("--photos", type=int, help="at most so many of each split, to try it")
    parser.add_argument("--minutes", type=float, default=math.inf)
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"no such recipe: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if keras.backend.backend() != "jax":
        parser.error(f"KERAS_BACKEND is {keras.backend.backend()}; it must be jax")
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.shards:
        run_all(args)
    print_table(args.folder, args.names)


if __name__ == "__main__":
    main()
