"""AdamW with one pass over the weights per step."""

import keras
import tensorflow as tf


class FusedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """Keras's AdamW through TensorFlow's fused kernel: one device, float32.

    Keras makes each operation of the formula a pass of its own over all weights; with small photos or small batches
    those passes take longer than the network. The weights after a step are the same but for rounding.

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Move one variable; Keras has applied the decay before."""
        # Keras hands on its own variable or TensorFlow's inside it
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
