"""Train one variant from its shards: choose precision and devices, run the loop, build the network for inference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from landmarks.network.initial_weights import load_initial_weights
from landmarks.network.input_pipeline import TrainingData, open_training_data
from landmarks.network.networks import Precision, Scaling, build_classifier, build_recognizer
from landmarks.network.runtime import choose_strategy
from landmarks.network.training import TrainingResult, train_classifier
from landmarks.params import AugmentationParams, Params, flatten_params
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.shards.format import ShardManifest

PLAIN, AUGMENTED = "plain", "augmented"
LogEpoch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class TrainedVariant:
    """Result of a training.

    Attributes:
        network: for inference, in float32: photos to probabilities and embedding.
        result: the trained classifier and its history.
    """

    network: keras.Model
    result: TrainingResult


def choose_augmentation(variant: str, params: Params) -> AugmentationParams | None:
    """Return the augmentation of a variant; None for `plain`."""
    return params.augmentation if variant == AUGMENTED else None


def describe_settings(variant: str, params: Params) -> dict[str, Any]:
    """List all parameters that determine the weights of a variant, by flat names such as `train.epochs`."""
    augmentation = choose_augmentation(variant, params)
    settings = flatten_params(params.network, "network") | flatten_params(params.train, "train")
    return settings | (flatten_params(augmentation, "augmentation") if augmentation else {})


def open_variant_data(variant: str, shards: Path, manifest: ShardManifest, params: Params, work: Path) -> TrainingData:
    """Open the training data of a variant; `work` is a folder for decoded photos.

    Raises:
        ArtifactError: the table of photos is missing or belongs to other shards.
        DataError: a landmark has no training photo, or there are no validation photos.
    """
    landmarks = read_vocabulary(shards / VOCABULARY_FILE)
    return open_training_data(shards, manifest, landmarks, params.train, choose_augmentation(variant, params), work)


def train_variant(
    variant: str,
    data: TrainingData,
    manifest: ShardManifest,
    params: Params,
    precision: Precision,
    work: Path,
    log_epoch: LogEpoch,
) -> TrainedVariant:
    """Train `plain` or `augmented`.

    Args:
        variant: `plain` or `augmented`.
        data: from `open_variant_data`.
        manifest: of the shards.
        params: the sections `network`, `augmentation` and `train` are used.
        precision: of the backbone in training.
        work: folder of the checkpoint; a killed training resumes from it.
        log_epoch: called after every epoch with its number, from 1, and its metrics.

    Raises:
        ArtifactError: the checkpoint belongs to another network.
        LandmarksError: the loss is no longer a number.
    """
    augmentation = choose_augmentation(variant, params)
    strategy = choose_strategy(params.train.devices)
    image_size = None if params.train.resizing else manifest.image_format.image_size
    labels = len(data.label_counts)

    def build() -> keras.Model:
        classifier = _build(image_size, labels, params, precision, fast=True)
        load_initial_weights(classifier, params.train.initial_weights)
        return classifier

    tracking = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: log_epoch(epoch + 1, logs))
    result = train_classifier(build, data, params.train, params.network, strategy, work, [tracking])
    # without this, the names of its operations would tell how many networks the process built before
    keras.utils.clear_session()
    # built again in float32: LiteRT cannot run networks exported under mixed precision
    used = _build(manifest.image_format.image_size, labels, params, "float32", fast=False)
    used.set_weights(result.classifier.get_weights())
    center_crop = augmentation.center_crop if augmentation else 1.0
    recognizer = build_recognizer(used, params.network.flip_tta, center_crop, manifest.labels)
    return TrainedVariant(recognizer, result)


def _build(image_size: int | None, labels: int, params: Params, precision: Precision, fast: bool) -> keras.Model:
    scaling: Scaling = params.network.scaling if params.train.initial_weights == "none" else "imagenet"
    return build_classifier(image_size, labels, params.network, precision, scaling, fast, params.train.seed)
