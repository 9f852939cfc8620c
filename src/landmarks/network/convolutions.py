"""Convolutions by the fastest way that TensorFlow has on a CPU for their shape, which is often a matrix product.

On a CPU the filter gradients of oneDNN reach a sixth to a half of the speed of a product of matrices. Convolutions over
features of a few pixels, the last stages of a ResNet on small photos, are slow in every direction. All functions here
give the values and gradients of `tf.nn.conv2d` up to rounding; docs/decisions/0018 has the measurements.

Shapes: n photos, sides of s pixels, c input channels, o output channels.
"""

from collections.abc import Callable
from functools import cache

import tensorflow as tf

_Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

_MOST_POSITIONS_SIDE = 2  # of features whose 3x3 convolution is a product over pairs of positions
_MOST_SHIFTED_SIDE = 4  # of features whose 3x3 filter gradient is nine products


def convolve(features: tf.Tensor, kernel: tf.Tensor, stride: int = 1, padding: str = "valid") -> tf.Tensor:
    """Convolve features (n, s, s, c) with a kernel (k, k, c, o) of the same precision, as `tf.nn.conv2d` does.

    Args:
        features: float32 or bfloat16.
        kernel: of the type of `features`.
        stride: in both directions.
        padding: `valid` or `same`.

    Returns:
        (n, t, t, o), of the type of `features`.
    """
    size, side = int(kernel.shape[0]), features.shape[1]
    is_square = side is not None and side == features.shape[2]
    if _has_gpu() or not is_square:
        return tf.nn.conv2d(features, kernel, stride, padding.upper())
    if size == 1:
        return _convolve_pixels(features, kernel, stride)
    if size == 3 and stride == 1 and padding == "same":
        if side <= _MOST_POSITIONS_SIDE:
            return _convolve_positions(features, kernel)
        if side <= _MOST_SHIFTED_SIDE:
            return _convolve_shifted(features, kernel)
    if side < size:
        # with bfloat16, oneDNN leaves the gradients of taps that meet padding alone as they were in memory
        result = tf.nn.conv2d(tf.cast(features, tf.float32), tf.cast(kernel, tf.float32), stride, padding.upper())
        return tf.cast(result, features.dtype)
    return tf.nn.conv2d(features, kernel, stride, padding.upper())


@cache
def _has_gpu() -> bool:
    """Whether a GPU computes; its own convolutions are fast."""
    return bool(tf.config.list_physical_devices("GPU"))


def _convolve_pixels(features: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Convolve with a 1x1 kernel: a product over all pixels that the stride leaves."""
    if stride > 1:
        features = tf.nn.avg_pool2d(features, 1, stride, "VALID")  # its gradient is faster than that of a slice
    side, (inner, outer) = features.shape[1], kernel.shape[2:]
    rows = tf.matmul(tf.reshape(features, (-1, inner)), tf.reshape(kernel, (inner, outer)))
    return tf.reshape(rows, (-1, side, side, outer))


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def _convolve_positions(features: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
    """Convolve 1x1 or 2x2 features, padded, with a 3x3 kernel.

    Every output position sees every input position through one tap of the kernel, so an output position is a product of
    all of a photo's features with those taps. Taps that reach beyond the border are never touched.
    """
    side, (inner, outer) = features.shape[1], kernel.shape[2:]
    places = [(row, column) for row in range(side) for column in range(side)]
    # taps[q][r]: the tap between input position q and output position r
    taps = [[(row - r + 1) * 3 + column - c + 1 for r, c in places] for row, column in places]
    count = len(places)
    parts = tf.unstack(tf.reshape(kernel, (9, inner, outer)))

    def gather(output: int) -> tf.Tensor:
        return tf.concat([parts[taps[place][output]] for place in range(count)], 0)

    rows = tf.reshape(features, (-1, count * inner))
    results = tf.stack([tf.matmul(rows, gather(output)) for output in range(count)], 1)

    def compute_gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        upstream_rows = tf.reshape(upstream, (-1, count * outer))
        features_gradient = tf.stack(
            [
                tf.matmul(upstream_rows, tf.concat([parts[tap] for tap in taps[place]], 1), transpose_b=True)
                for place in range(count)
            ],
            1,
        )
        inputs = tf.unstack(tf.reshape(features, (-1, count, inner)), axis=1)
        outputs = tf.unstack(tf.reshape(upstream, (-1, count, outer)), axis=1)
        kernel_gradient = []
        for tap in range(9):
            pairs = [(q, r) for q in range(count) for r in range(count) if taps[q][r] == tap]
            if pairs:
                seen, wanted = tf.concat([inputs[q] for q, _ in pairs], 0), tf.concat([outputs[r] for _, r in pairs], 0)
                kernel_gradient.append(tf.matmul(seen, wanted, transpose_a=True))
            else:
                kernel_gradient.append(tf.zeros((inner, outer), kernel.dtype))
        return tf.reshape(features_gradient, tf.shape(features)), tf.reshape(tf.stack(kernel_gradient), kernel.shape)

    return tf.reshape(results, (-1, side, side, outer)), compute_gradients


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def _convolve_shifted(features: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
    """Convolve with a 3x3 kernel and padding; the filter gradient is one product for each of the nine shifts."""
    side, (inner, outer) = features.shape[1], kernel.shape[2:]

    def compute_gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features_gradient = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(features), filter=kernel, out_backprop=upstream, strides=[1] * 4, padding="SAME"
        )
        padded = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]])
        rows = tf.reshape(upstream, (-1, outer))
        shifts = [padded[:, row : row + side, column : column + side] for row in range(3) for column in range(3)]
        products = [tf.matmul(tf.reshape(shift, (-1, inner)), rows, transpose_a=True) for shift in shifts]
        return features_gradient, tf.reshape(tf.stack(products), kernel.shape)

    return tf.nn.conv2d(features, kernel, 1, "SAME"), compute_gradients
