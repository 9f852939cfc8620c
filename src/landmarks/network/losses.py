"""Training loss: cross-entropy with label smoothing, class weights, mixed photos and angular margins."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from landmarks.params import ArcFaceParams

# the gradient of acos is infinite at 1 and -1, so cosines are clipped just inside
_COSINE_LIMIT = 1.0 - 1e-6


def compute_class_weights(label_counts: npt.NDArray[np.int64], weighting: str) -> npt.NDArray[np.float32]:
    """Compute the weight of each label, float32 (labels,), with mean 1 over the photos.

    >>> compute_class_weights(np.array([1, 3]), "inverse").tolist()
    [2.0, 0.6666666865348816]
    """
    power = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}[weighting]
    weights = np.maximum(label_counts, 1).astype(np.float64) ** -power
    mean = (weights * label_counts).sum() / label_counts.sum()
    return np.asarray(weights / mean, np.float32)


def compute_margins(label_counts: npt.NDArray[np.int64], params: ArcFaceParams) -> npt.NDArray[np.float32]:
    """Compute the dynamic margin of each label in radians, float32 (labels,): the fewer photos, the larger.

    If all labels have the same number of photos, each gets the middle of the range.

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
    """Add a margin to the angle between each photo and its own landmark, up to pi.

    Args:
        logits: float32 (n, L), `scale` times the cosines.
        labels: int32 (n,).
        margins: float32 (n,), in radians.
        scale: of the logits.

    Returns:
        logits: float32 (n, L), changed only in the column of each photo's label.

    References:
        Deng et al., "ArcFace", 2019, equation 3.
    """
    own = tf.gather(logits, labels, batch_dims=1) / scale
    angles = tf.acos(tf.clip_by_value(own, -_COSINE_LIMIT, _COSINE_LIMIT))
    widened = scale * tf.cos(tf.minimum(angles + margins, np.pi))
    places = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
    return tf.tensor_scatter_nd_update(logits, places, widened)


def smooth_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Compute the label-smoothed cross-entropy of each photo, float32 (n,).

    References:
        Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7.
    """
    own = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not smoothing:
        return own
    # cross-entropy against the uniform distribution, without building an (n, L) target
    spread = tf.reduce_logsumexp(logits, axis=1) - tf.reduce_mean(logits, axis=1)
    return (1.0 - smoothing) * own + smoothing * spread


@dataclass(frozen=True)
class ClassificationLoss:
    """Loss of a batch of photos, which may be mixed in pairs (mixup, CutMix).

    Attributes:
        class_weights: float32 (L,).
        smoothing: label smoothing.
        margins: float32 (L,), in radians; None for a softmax head.
        scale: of the logits of an ArcFace head.
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
        """Compute the loss of each photo, float32 (n,).

        Args:
            logits: float32 (n, L).
            labels: int32 (n,).
            margin_strength: float32 (), factor of the margins, from 0 to 1 during their warm-up.
            others: int32 (n,), labels of the photos mixed in; None if no photos are mixed.
            shares: float32 (n,), weight of the photo itself in the mixture.
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
