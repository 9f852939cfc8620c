"""Run a network over a whole split of the shards, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.errors import ArtifactError
from landmarks.recognizer.serving_network import ServingNetwork
from landmarks.schema.columns import Split
from landmarks.schema.network_format import Floats, Pixels
from landmarks.shards.format import ShardManifest, iterate_batches, read_manifest
from landmarks.terminal import show_progress

BATCH = 256


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for n photos.

    Attributes:
        image_ids: of the n photos.
        labels: int32 (n,), the truth; -1 for distractors.
        probabilities: float32 (n, L).
        embeddings: float32 (n, d), rows of unit length.
    """

    image_ids: Sequence[str]
    labels: npt.NDArray[np.int32]
    probabilities: Floats
    embeddings: Floats

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the most likely label is the true one, bool (n,); False for distractors."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.labels)


def predict_split(network: ServingNetwork, shards: Path, split: Split) -> Iterator[tuple[Outputs, Pixels]]:
    """Run the network over a split; yield its outputs, and the pixels uint8 (n, s, s, 3), of each batch.

    Raises:
        ArtifactError: the shards are missing or damaged.
    """
    total = read_manifest(shards).count_photos(split)
    with show_progress(description=f"answering {split}", total=total, keep=False) as progress:
        for image_ids, labels, pixels in iterate_batches(shards, split, BATCH):
            probabilities, embeddings = network.run(pixels)
            yield Outputs(image_ids, labels, probabilities, embeddings), pixels
            progress.update(len(pixels))


def concatenate_outputs(batches: Sequence[Outputs], network: ServingNetwork) -> Outputs:
    """Concatenate batches; without batches, the result has 0 photos.

    Raises:
        ValueError: a probability is NaN or infinite.
    """
    if any(not np.isfinite(batch.probabilities).all() for batch in batches):
        raise ValueError("probabilities must be finite, received NaN or infinity.")
    return Outputs(
        [image_id for batch in batches for image_id in batch.image_ids],
        np.concatenate([np.empty(0, np.int32), *(batch.labels for batch in batches)]),
        np.concatenate([np.empty((0, network.labels), np.float32), *(batch.probabilities for batch in batches)]),
        np.concatenate([np.empty((0, network.embedding_dim), np.float32), *(batch.embeddings for batch in batches)]),
    )


def check_fits(network: ServingNetwork, manifest: ShardManifest) -> None:
    """Check that a network has the image format and the number of labels of the shards.

    Raises:
        ArtifactError: one of them differs.
    """
    images, shards = network.image_format, manifest.image_format
    refuse_difference("image_size", images.image_size, shards.image_size)
    refuse_difference("fit", images.fit, shards.fit)
    refuse_difference("labels", network.labels, manifest.labels)


def check_trained_on(network: ServingNetwork, manifest: ShardManifest) -> None:
    """Check that a network was trained on exactly these shards.

    Raises:
        ArtifactError: it was trained on others.
    """
    check_fits(network, manifest)
    refuse_difference("shards_fingerprint", network.bundle.shards_fingerprint, manifest.fingerprint)


def refuse_difference(name: str, of_network: object, of_shards: object) -> None:
    """Check that a property of a network is that of the shards.

    Raises:
        ArtifactError: it differs.
    """
    if of_network != of_shards:
        raise ArtifactError(
            f"The network was made for {name} {of_network}, the shards have {of_shards}. "
            "Train again on these shards, or restore the shards of the network: `dvc repro`."
        )
