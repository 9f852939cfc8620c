"""Keras layers and an optimizer that train faster than Keras's own, with the same weights.

They are for training only: saved networks consist of Keras's own layers, and the weights fit both. A training step
divides its batch into parts and runs inside `share_step`, where layers share what does not depend on the part.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import keras
import tensorflow as tf
from keras import layers

from landmarks.network.convolutions import convolve

_Statistics = tuple[tf.Tensor, tf.Tensor]


class Step:
    """What the layers of one training step share: kernels in the precision of the step, and batch statistics."""

    def __init__(self) -> None:
        self._kernels: dict[layers.Layer, tf.Tensor] = {}
        self._statistics: dict[FusedBatchNormalization, list[_Statistics]] = {}

    def read_kernel(self, layer: layers.Layer) -> tf.Tensor:
        """Read the kernel of a layer, once for all parts."""
        if layer not in self._kernels:
            self._kernels[layer] = tf.cast(layer.kernel.value, layer.compute_dtype)
        return self._kernels[layer]

    def add_statistics(self, layer: "FusedBatchNormalization", statistics: _Statistics) -> None:
        """Keep mean and variance of one part for `update_averages`."""
        self._statistics.setdefault(layer, []).append(statistics)

    def update_averages(self) -> None:
        """Move the running averages of all layers by the mean of the statistics over the parts, on all devices."""
        found = list(self._statistics.items())
        means = [tf.add_n(values) / len(values) for _, parts in found for values in zip(*parts, strict=True)]
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            means = context.all_reduce(tf.distribute.ReduceOp.MEAN, means)
        for place, (layer, _) in enumerate(found):
            layer.move_averages(*means[2 * place : 2 * place + 2])


_STEP: ContextVar[Step | None] = ContextVar("step", default=None)


@contextmanager
def share_step() -> Iterator[Step]:
    """Make the layers called inside the `with` block share a step; afterwards its averages can be updated."""
    step = Step()
    token = _STEP.set(step)
    try:
        yield step
    finally:
        _STEP.reset(token)


class FusedBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Batch normalisation by TensorFlow's fused kernel, channels last, float32 or bfloat16.

    One kernel makes fewer passes over the features than Keras's separate operations. Statistics are float32.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:  # noqa: ARG002
        """Normalise features (n, h, w, c) or (n, c); in training by the statistics of these n photos."""
        if len(inputs.shape) == 2:
            return self.call(inputs[:, None, None], training)[:, 0, 0]
        scale, offset = tf.convert_to_tensor(self.gamma.value), tf.convert_to_tensor(self.beta.value)
        normalize = tf.compat.v1.nn.fused_batch_norm
        if not training:
            mean, variance = (
                tf.convert_to_tensor(average.value) for average in (self.moving_mean, self.moving_variance)
            )
            outputs, _, _ = normalize(inputs, scale, offset, mean, variance, self.epsilon, is_training=False)
            return outputs
        outputs, mean, variance = normalize(inputs, scale, offset, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        # the kernel returns the sample variance, but Keras averages the population variance
        statistics = tf.stop_gradient(mean), tf.stop_gradient(variance * ((count - 1.0) / count))
        step = _STEP.get()
        if step:
            step.add_statistics(self, statistics)
        else:
            self.move_averages(*statistics)
        return outputs

    def move_averages(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Move the running averages towards a mean and a variance, each float32 (c,)."""
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average.value * self.momentum + value * (1.0 - self.momentum))


class FastConvolution(layers.Conv2D):  # type: ignore[misc]
    """A convolution before batch normalisation, by the fastest way for its shape; see `convolutions.convolve`.

    Batch normalisation takes off any bias, so it is neither added nor trained. It must be zero: `fold_bias`.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights of Keras's layer."""
        super().build(input_shape)
        self.bias.trainable = False

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve features (n, h, w, c) in the layer's precision."""
        step = _STEP.get()
        kernel = (step or Step()).read_kernel(self)
        return convolve(inputs, kernel, self.strides[0], self.padding)


def fold_bias(convolution: FastConvolution, normalization: FusedBatchNormalization) -> None:
    """Move the bias of a convolution, as in published weights, into the running mean that follows; answers stay."""
    normalization.moving_mean.assign(normalization.moving_mean.value - convolution.bias.value)
    convolution.bias.assign(tf.zeros_like(convolution.bias.value))


class FusedAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW by TensorFlow's fused kernel, for one device and float32.

    In Keras each operation of the formula is a separate pass over all weights, and each variable makes a detour through
    the distribution strategy. With small photos or small batches these passes take longer than the network itself, and
    with few batches the detour does. The updated weights are the same up to rounding.

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2.
    """

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Leave it to the update."""

    def _backend_update_step(
        self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[keras.Variable], learning_rate: tf.Tensor
    ) -> None:
        """Decay and update all variables."""
        step, rate = tf.cast(self.iterations.value + 1, tf.float32), tf.cast(learning_rate, tf.float32)
        powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        kept = 1.0 - rate * self.weight_decay
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            weights, place = variable.value, self._get_variable_index(variable)
            if self._use_weight_decay(variable):
                weights.assign(weights * kept)
            tf.raw_ops.ResourceApplyAdam(
                var=weights.handle,
                m=self._momentums[place].value.handle,
                v=self._velocities[place].value.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )
