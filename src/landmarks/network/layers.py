"""Layers for training alone. Their weights fit Keras's own layers, of which everything that is saved is built."""

import keras
import tensorflow as tf
from keras import layers


class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Keras's batch normalisation through TensorFlow's fused kernel: photos of one device, float32, channels last.

    Keras computes mean, variance and the rest one operation at a time; one kernel passes over the features less often.
    The moving averages are the same: the kernel's variance, of a sample, is brought back to that of a population.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:  # noqa: ARG002
        """Normalise features: float32 (n, h, w, c)."""
        scale, offset = tf.convert_to_tensor(self.gamma.value), tf.convert_to_tensor(self.beta.value)
        mean = tf.convert_to_tensor(self.moving_mean.value)
        variance = tf.convert_to_tensor(self.moving_variance.value)
        normalize = tf.compat.v1.nn.fused_batch_norm
        if not training:
            outputs, _, _ = normalize(inputs, scale, offset, mean, variance, self.epsilon, is_training=False)
            return outputs
        outputs, batch_mean, batch_variance = normalize(inputs, scale, offset, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        batch_variance *= (count - 1.0) / count
        self.moving_mean.assign(keras.ops.stop_gradient(mean * self.momentum + batch_mean * (1.0 - self.momentum)))
        self.moving_variance.assign(
            keras.ops.stop_gradient(variance * self.momentum + batch_variance * (1.0 - self.momentum))
        )
        return outputs
