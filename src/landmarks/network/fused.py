"""Keras layers and optimizers that run as single TensorFlow kernels: faster training, same weights.

Keras 3 computes batch normalisation and AdamW one operation at a time. Both classes here are for training only. Saved
networks consist of Keras's own layers, and the weights fit both.
"""

import keras
import tensorflow as tf
from keras import layers


class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation by TensorFlow's fused kernel, for one device, float32 and channels last.

    One kernel makes fewer passes over the features than Keras's separate operations.
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
        # the kernel returns the sample variance, but Keras averages the population variance
        batch_variance *= (count - 1.0) / count
        self.moving_mean.assign(keras.ops.stop_gradient(mean * self.momentum + batch_mean * (1.0 - self.momentum)))
        self.moving_variance.assign(
            keras.ops.stop_gradient(variance * self.momentum + batch_variance * (1.0 - self.momentum))
        )
        return outputs


class FusedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW by TensorFlow's fused kernel, for one device and float32.

    In Keras each operation of the formula is a separate pass over all weights. With small photos or small batches these
    passes take longer than the network itself. The updated weights are the same up to rounding.

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable; Keras has already applied the weight decay."""
        # Keras passes either its own variable or the TensorFlow variable inside it
        weights = variable if isinstance(variable, tf.Variable) else variable.value
        place = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=weights.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )
