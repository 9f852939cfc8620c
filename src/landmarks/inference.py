"""The network over a whole split of the shards, batch by batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from landmarks.data.schema import Split
from landmarks.data.shards import ShardManifest, iterate_batches
from landmarks.errors import ArtifactError
from landmarks.serving_network import Floats, ServingNetwork

BATCH = 256


@dataclass(frozen=True)
class Batch:
    """What the network makes of some photos.

    Attributes:
        image_ids: of the n photos.
        labels: int32 (n,), the truth; -1 for photos of no landmark.
        probabilities: float32 (n, L).
        embeddings: float32 (n, d), rows of unit length.
    """

    image_ids: list[str]
    labels: npt.NDArray[np.int32]
    probabilities: Floats
    embeddings: Floats

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the most likely label is the true one, bool (n,); never for photos of no landmark."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.labels)


def run_split(network: ServingNetwork, shards: Path, split: Split) -> Iterator[Batch]:
    """Run the network over a split.

    Raises:
        ArtifactError: the shards are missing or damaged.
    """
    for image_ids, labels, pixels in iterate_batches(shards, split, BATCH):
        probabilities, embeddings = network.run(pixels)
        yield Batch(image_ids, labels, probabilities, embeddings)


def check_fits(network: ServingNetwork, manifest: ShardManifest) -> None:
    """Refuse a network that cannot answer for these shards: other images or another number of labels.

    Raises:
        ArtifactError: they do not fit.
    """
    image = network.image_format
    pairs = {
        "image_size": (image.image_size, manifest.image_size),
        "fit": (image.fit, manifest.fit),
        "labels": (network.labels, manifest.labels),
    }
    _refuse(pairs)


def check_trained_on(network: ServingNetwork, manifest: ShardManifest) -> None:
    """Refuse a network that was not trained on these very shards.

    Raises:
        ArtifactError: it was trained on others.
    """
    check_fits(network, manifest)
    _refuse({"shards_fingerprint": (network.facts.get("shards_fingerprint"), manifest.fingerprint)})


def _refuse(pairs: Mapping[str, tuple[object, object]]) -> None:
    for name, (of_bundle, of_shards) in pairs.items():
        if of_bundle != of_shards:
            raise ArtifactError(
                f"The bundle was made for {name} {of_bundle}, the shards have {of_shards}. "
                "Train again on these shards, or restore those of the bundle: `dvc repro`."
            )
