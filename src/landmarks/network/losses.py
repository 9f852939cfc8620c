"""The loss of a batch: cross-entropy with label smoothing, class weights, blended photos and angular margins."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from landmarks.params import ArcFaceParams

# acos has an infinite slope at 1 and -1, also where the value is clipped to just these
_COSINE_LIMIT = 1.0 - 1e-6


def compute_class_weights(label_counts: npt.NDArray[np.int64], weighting: str) -> npt.NDArray[np.float32]:
    """Weight of each label, float32 (labels,), with mean 1 over the photos.

    >>> compute_class_weights(np.array([1, 3]), "inverse").tolist()
    [2.0, 0.6666666865348816]
    """
    power = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}[weighting]
    weights = np.maximum(label_counts, 1).astype(np.float64) ** -power
    mean = (weights * label_counts).sum() / label_counts.sum()
    return np.asarray(weights / mean, np.float32)


def compute_margins(label_counts: npt.NDArray[np.int64], params: ArcFaceParams) -> npt.NDArray[np.float32]:
    """Dynamic margin of each label in radians, float32 (labels,): the fewer photos, the larger.

    Where all labels have the same number of photos each gets the middle of the range.

    References:
        Ha et al., "Google Landmark Recognition 2020 Competition Third Place Solution", 2020, section 2.3.

    >>> from landmarks.params import ArcFaceParams
    >>> params = ArcFaceParams(scale=16, min_margin_radians=0.1, max_margin_radians=0.5, margin_warmup_epochs=0,
    ...                        subcenters=1)
    >>> compute_margins(np.array([1, 16, 81]), params).astype(float).round(3).tolist()
    [0.5, 0.2, 0.1]
    """
    rarity = np.maximum(label_counts, 1).astype(np.float64) ** -0.25
    spread = rarity.max() - rarity.min()
    position = (rarity - rarity.min()) / spread if spread else np.full(len(rarity), 0.5)
    low, high = params.min_margin_radians, params.max_margin_radians
    return np.asarray(low + position * (high - low), np.float32)


def add_margins(logits: tf.Tensor, labels: tf.Tensor, margins: tf.Tensor, scale: float) -> tf.Tensor:
    """Widen the angle between each photo and its own landmark by a margin, up to opposite directions.

    Args:
        logits: float32 (n, L), `scale` times the cosines.
        labels: int32 (n,).
        margins: float32 (n,), in radians.
        scale: of the logits.

    Returns:
        logits: float32 (n, L), changed in the column of each photo's label alone.

    References:
        Deng et al., "ArcFace", 2019, equation 3.
    """
    own = tf.gather(logits, labels, batch_dims=1) / scale
    angles = tf.acos(tf.clip_by_value(own, -_COSINE_LIMIT, _COSINE_LIMIT))
    widened = scale * tf.cos(tf.minimum(angles + margins, np.pi))
    places = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
    return tf.tensor_scatter_nd_update(logits, places, widened)


def smooth_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy of each photo, float32 (n,), with part of the truth spread evenly over all labels.

    References:
        Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.
    """
    own = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not smoothing:
        return own
    spread = tf.reduce_logsumexp(logits, axis=1) - tf.reduce_mean(logits, axis=1)
    return (1.0 - smoothing) * own + smoothing * spread


@dataclass(frozen=True)
class ClassificationLoss:
    """Losses of a batch of photos, each perhaps blended of two.

    Attributes:
        class_weights: float32 (L,).
        smoothing: part of the truth that is spread over all labels.
        margins: float32 (L,), in radians; None without a cosine head.
        scale: of the logits of a cosine head.
    """

    class_weights: tf.Tensor
    smoothing: float
    margins: tf.Tensor | None = None
    scale: float = 1.0

    def __call__(
        self,
        logits: tf.Tensor,
        labels: tf.Tensor,
        margin_strength: tf.Tensor,
        others: tf.Tensor | None = None,
        shares: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The loss of each photo, float32 (n,).

        Args:
            logits: float32 (n, L).
            labels: int32 (n,), of the photo.
            margin_strength: float32 (), from 0 to 1, while the margins grow.
            others: int32 (n,), of the photo blended into it; None where nothing is blended.
            shares: float32 (n,), how much of the blend is the photo itself.
        """
        own = self._measure(logits, labels, margin_strength)
        if others is None or shares is None:
            return own
        return shares * own + (1.0 - shares) * self._measure(logits, others, margin_strength)

    def _measure(self, logits: tf.Tensor, labels: tf.Tensor, margin_strength: tf.Tensor) -> tf.Tensor:
        if self.margins is not None:
            margins = margin_strength * tf.gather(self.margins, labels)
            logits = add_margins(logits, labels, margins, self.scale)
        return smooth_cross_entropy(logits, labels, self.smoothing) * tf.gather(self.class_weights, labels)
