"""The training loop: a custom loop over a distribution strategy, resumable after every epoch.

Keras's `fit` neither resumes exactly nor gives bit-identical results, so this module has its own loop. Keras callbacks
run through `keras.callbacks.CallbackList`. Nothing is compiled with XLA, which is several times slower on a CPU.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from landmarks.errors import LandmarksError
from landmarks.network.checkpoint import Checkpoint, Progress
from landmarks.network.ema import EMA
from landmarks.network.fused import FusedAdamW, share_step
from landmarks.network.input_pipeline import TrainingData
from landmarks.network.losses import ClassificationLoss, compute_class_weights, compute_margins
from landmarks.params import NetworkParams, TrainParams
from landmarks.schema.library_settings import check_keras
from landmarks.terminal import show_progress

HISTORY_COLUMNS = (
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "train_inference_accuracy",
    "val_loss",
    "val_accuracy",
    "images_per_second",
)
NO_IMPROVEMENT = {"val_loss": math.inf, "val_accuracy": -math.inf}


@dataclass(frozen=True)
class TrainingResult:
    """A trained classifier with the weights of its best epoch, and one row of metrics per epoch."""

    classifier: keras.Model
    history: tuple[dict[str, float], ...]
    best_epoch: int


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Learning-rate schedule: linear warm-up to the peak, then cosine decay to zero, or a constant rate.

    References:
        Goyal et al. 2017 (warm-up); Loshchilov and Hutter, "SGDR", 2017, equation 5 (cosine).
    """

    def __init__(self, peak: float, warmup_steps: float, total_steps: int, cosine: bool) -> None:
        self.peak, self.warmup_steps, self.total_steps, self.cosine = peak, warmup_steps, total_steps, cosine

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Return the learning rate at a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        warmup = (step + 1.0) / max(self.warmup_steps, 1.0)
        done = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1.0)
        decay = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0))) if self.cosine else 1.0
        return self.peak * tf.where(step < self.warmup_steps, warmup, decay)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, for Keras."""
        return {key: getattr(self, key) for key in ("peak", "warmup_steps", "total_steps", "cosine")}


def train_classifier(
    build: Callable[[], keras.Model],
    data: TrainingData,
    params: TrainParams,
    network: NetworkParams,
    strategy: tf.distribute.Strategy,
    work: Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingResult:
    """Train a classifier for `params.epochs` epochs, or until early stopping.

    Args:
        build: builds the network, from uint8 photos to logits; called inside the scope of the strategy. Its batch
            normalisation must be that of `fused`, since Keras's own moves its averages once for every part.
        data: the training data.
        params: the section `train`.
        network: the section `network`; its head must be that of `build`.
        strategy: one device or several.
        work: folder of the checkpoint; a killed training resumes after the last epoch that was saved there.
        callbacks: Keras callbacks; epochs are numbered from 0, logs have the columns of the history.

    Raises:
        LandmarksError: the loss is NaN or infinite, or the devices cannot share the parts of a batch.
        ArtifactError: the checkpoint in `work` belongs to another network.
    """
    check_keras()
    parts = share_parts(params.parts, strategy.num_replicas_in_sync)
    keras.utils.set_random_seed(params.seed)
    with strategy.scope():
        classifier = build()
        optimizer = build_optimizer(params, data.steps, fused=strategy.num_replicas_in_sync == 1)
        optimizer.build(classifier.trainable_variables)  # its variables must exist before a checkpoint is loaded
    ema = EMA(classifier.variables, params.ema_decay) if params.ema_decay else None
    variables = [*classifier.variables, *optimizer.variables, *(ema.variables if ema else ())]
    checkpoint = Checkpoint(work)
    progress = checkpoint.load(variables)
    step = _build_step(classifier, optimizer, build_loss(data, params, network), data, params, strategy, parts)
    measure = _build_measure(classifier, params.parts, data.none_label)
    hooks = keras.callbacks.CallbackList(list(callbacks), model=classifier)
    classifier.stop_training = False

    def advance(batch: Any, margin_strength: float) -> tf.Tensor:
        sums = step(batch, tf.constant(margin_strength))
        if ema:
            ema.count_step()
        return sums

    hooks.on_train_begin()
    photos = data.steps * data.batch_size
    with show_progress(description="training", total=params.epochs * photos, initial=progress.epoch * photos) as bar:
        while not (progress.finished or classifier.stop_training):
            hooks.on_epoch_begin(progress.epoch)
            logs = {"learning_rate": float(optimizer.learning_rate)}
            batches = strategy.experimental_distribute_dataset(data.train(progress.epoch))
            strength = _grow(progress.epoch, network.arcface.margin_warmup_epochs)
            logs |= _run_epoch(batches, partial(advance, margin_strength=strength), hooks, bar)
            # early stopping and the best epoch go by the weights that are kept in the end, the averaged ones
            with ema.applied() if ema else nullcontext():
                _, logs["train_inference_accuracy"] = measure(data.train_sample(progress.epoch))
                logs["val_loss"], logs["val_accuracy"] = measure(data.val(progress.epoch))
            _advance(progress, logs, params, data.is_reduced(progress.epoch))
            bar.set_postfix(epoch=progress.epoch, val_accuracy=f"{logs['val_accuracy']:.3f}")
            hooks.on_epoch_end(progress.epoch - 1, logs)
            progress.finished |= classifier.stop_training
            checkpoint.save(progress, variables)
    hooks.on_train_end()
    checkpoint.load_best(progress, variables)
    if ema:
        ema.apply()
    return TrainingResult(classifier, tuple(progress.history), progress.best_epoch)


def share_parts(parts: int, devices: int) -> int:
    """Return how many parts of a batch each device gets.

    Raises:
        LandmarksError: the devices cannot have equally many.
    """
    if parts % devices:
        raise LandmarksError(
            f"train.parts is {parts}, and {devices} devices cannot have equally many of them. Set train.parts to a "
            f"multiple of {devices}, such as {devices * math.ceil(parts / devices)}, or train.devices to one."
        )
    return parts // devices


def build_optimizer(params: TrainParams, steps: int, fused: bool = True) -> keras.optimizers.Optimizer:
    """Build the optimizer with its learning-rate schedule over `params.epochs` epochs of `steps` steps.

    The fused kernel of AdamW works on one device only; several devices need Keras's own update.
    """
    rate = WarmupDecay(
        params.learning_rate, params.warmup_epochs * steps, params.epochs * steps, params.decay == "cosine"
    )
    if params.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=params.momentum, nesterov=params.momentum > 0)
    if params.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    kind = FusedAdamW if fused else keras.optimizers.AdamW
    optimizer = kind(rate, weight_decay=params.weight_decay)
    # decaying biases and the scales of batch normalisation does not regularise
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def build_loss(data: TrainingData, params: TrainParams, network: NetworkParams) -> ClassificationLoss:
    """Build the loss for a recipe and a head."""
    weights = tf.constant(compute_class_weights(data.label_counts, params.class_weighting))
    if network.head == "softmax":
        return ClassificationLoss(weights, params.label_smoothing)
    margins = tf.constant(compute_margins(data.label_counts, network.arcface))
    return ClassificationLoss(weights, params.label_smoothing, margins, network.arcface.scale)


def _grow(epoch: int, epochs: float) -> float:
    """Grow linearly from 0 at the first epoch to 1 after `epochs`."""
    return min(1.0, epoch / epochs) if epochs else 1.0


def _build_step(
    classifier: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    measure_loss: ClassificationLoss,
    data: TrainingData,
    params: TrainParams,
    strategy: tf.distribute.Strategy,
    parts: int,
) -> Callable[..., tf.Tensor]:
    """Build the training step: from a batch to the sum of its losses and its correct predictions, before the update.

    Each device divides its batch into `parts` parts. They are independent of each other up to the sum of their
    gradients, so TensorFlow computes them at the same time.
    """
    # Keras decouples weight decay from the momentum of SGD, but the usual recipes add the L2 penalty to the gradient.
    # Gradients are summed over replicas, so each one adds its share.
    decay = params.weight_decay / strategy.num_replicas_in_sync if params.optimizer == "sgd" else 0.0
    variables = classifier.trainable_variables

    def replica_step(
        margin_strength: tf.Tensor, photos: tf.Tensor, labels: tf.Tensor, *blended: tf.Tensor
    ) -> tf.Tensor:
        with share_step() as shared, tf.GradientTape() as tape:
            logits = tf.concat(
                [tf.cast(classifier(part, training=True), tf.float32) for part in tf.split(photos, parts)], 0
            )
            losses = measure_loss(logits, labels, margin_strength, *blended)
            # by the global batch size, since the strategy sums the gradients of the replicas
            loss = tf.reduce_sum(losses) / data.batch_size
        gradients = tape.gradient(loss, variables)
        if decay:
            gradients = [
                gradient + decay * variable.value if len(variable.shape) > 1 else gradient
                for gradient, variable in zip(gradients, variables, strict=True)
            ]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        shared.update_averages()
        return tf.stack([tf.reduce_sum(losses), _count_right(logits, labels)])

    @tf.function(jit_compile=False, autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def step(batch: tuple[tf.Tensor, ...], margin_strength: tf.Tensor) -> tf.Tensor:
        sums = strategy.run(replica_step, args=(margin_strength, *batch))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    return step  # type: ignore[no-any-return, unused-ignore]


def _build_measure(
    classifier: keras.Model, parts: int, labels: int | None
) -> Callable[[tf.data.Dataset], tuple[float, float]]:
    """Build a function from a dataset to its mean cross-entropy and accuracy in inference mode, over so many labels.

    Batches are divided into parts as in training, also those that cannot be divided evenly.
    """

    def answer(photos: tf.Tensor) -> tf.Tensor:
        count = tf.shape(photos)[0]
        size = (count + parts - 1) // parts
        # the last photo fills up the last part
        filled = tf.gather(photos, tf.minimum(tf.range(size * parts), count - 1))
        with share_step():
            logits = [classifier(part, training=False) for part in tf.split(filled, parts)]
        return tf.cast(tf.concat(logits, 0)[:count, :labels], tf.float32)

    def measure_batch(photos: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = answer(photos)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        count = tf.cast(tf.size(labels), tf.float32)
        return tf.stack([tf.reduce_sum(losses), _count_right(logits, labels), count])

    @cache
    def trace(side: int) -> Callable[..., tf.Tensor]:
        # batches of any length, but each size of photos by itself: the fast convolutions go by it
        signature = [tf.TensorSpec((None, side, side, 3), tf.uint8), tf.TensorSpec((None,), tf.int32)]
        return tf.function(measure_batch, input_signature=signature, jit_compile=False, autograph=False)  # type: ignore[no-any-return, unused-ignore]

    def measure(dataset: tf.data.Dataset) -> tuple[float, float]:
        measured = [trace(photos.shape[1])(photos, labels).numpy() for photos, labels in dataset]
        sums = np.array(measured, np.float64).sum(axis=0)
        return float(sums[0] / sums[2]), float(sums[1] / sums[2])

    return measure


def _count_right(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == labels, tf.float32))


def _run_epoch(
    batches: Any, step: Callable[..., tf.Tensor], hooks: keras.callbacks.CallbackList, bar: "tqdm[NoReturn]"
) -> dict[str, float]:
    started = time.perf_counter()
    loss = right = photos = 0.0
    for number, batch in enumerate(batches):
        hooks.on_train_batch_begin(number)
        batch_loss, batch_right = step(batch).numpy().tolist()
        _check_finite(batch_loss, f"at step {number + 1} of the epoch")
        # a batch on several devices is a `PerReplica`, whose `values` are the parts
        size = sum(int(part.shape[0]) for part in getattr(batch[1], "values", (batch[1],)))
        loss, right, photos = loss + batch_loss, right + batch_right, photos + size
        bar.update(size)
        hooks.on_train_batch_end(number, {"loss": batch_loss / size})
    return {
        "train_loss": loss / photos,
        "train_accuracy": right / photos,
        "images_per_second": photos / (time.perf_counter() - started),
    }


def _check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise LandmarksError(
            f"The loss became {loss} {where}. Lower train.learning_rate, lengthen train.warmup_epochs, or set "
            "train.precision to float32."
        )


def _advance(progress: Progress, logs: dict[str, float], params: TrainParams, is_reduced: bool) -> None:
    """Add an epoch to the progress, and decide whether it was the best and whether training is finished.

    While photos are smaller than those of the shards, metrics on val are of that size. Each such epoch counts as the
    best, and none of them can trigger early stopping.
    """
    _check_finite(logs["val_loss"], f"on the validation photos after epoch {progress.epoch + 1}")
    progress.epoch += 1
    progress.history.append({"epoch": progress.epoch, **logs})
    value = logs[params.early_stopping_monitor]
    best = NO_IMPROVEMENT[params.early_stopping_monitor] if progress.best_value is None else progress.best_value
    is_better = value < best if params.early_stopping_monitor == "val_loss" else value > best
    if is_reduced or is_better:
        # values at a reduced size are not comparable with those at full size
        progress.best_value = None if is_reduced else value
        progress.best_epoch, progress.epochs_without_gain = progress.epoch, 0
    else:
        progress.epochs_without_gain += 1
    patience = params.early_stopping_patience or params.epochs
    progress.finished = progress.epoch >= params.epochs or progress.epochs_without_gain >= patience
