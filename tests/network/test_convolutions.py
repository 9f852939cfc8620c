"""Convolutions as products have the values and gradients of TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from landmarks.network.convolutions import convolve


def compute(by_hand: bool, size: int, side: int, stride: int, kind: tf.DType) -> list[np.ndarray]:
    random = np.random.default_rng(size * 100 + side * 10 + stride)
    padding = "same" if size == 3 else "valid"
    features = tf.constant(random.normal(size=(3, side, side, 8)).astype(np.float32))
    kernel = tf.constant(random.normal(size=(size, size, 8, 16)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch([features, kernel])
        seen, weights = tf.cast(features, kind), tf.cast(kernel, kind)
        if by_hand:
            result = convolve(seen, weights, stride, padding)
        else:  # in float32: with bfloat16, oneDNN leaves gradients where filters meet padding alone undefined
            seen, weights = tf.cast(seen, tf.float32), tf.cast(weights, tf.float32)
            result = tf.nn.conv2d(seen, weights, stride, padding.upper())
        # another weight for each value, so that no gradient is symmetric
        loss = tf.reduce_sum(tf.cast(result, tf.float32) * random.normal(size=result.shape))
    return [np.asarray(tf.cast(value, tf.float32)) for value in (result, *tape.gradient(loss, [features, kernel]))]


@pytest.mark.parametrize("kind", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("size", "side"), [*((1, side) for side in (1, 2, 3, 5, 8)), *((3, side) for side in (1, 2, 3, 4, 5, 8)), (7, 9)]
)
def test_values_and_gradients_are_those_of_tensorflow(size: int, side: int, stride: int, kind: tf.DType) -> None:
    ours, theirs = (compute(by_hand, size, side, stride, kind) for by_hand in (True, False))
    tolerance = 2e-6 if kind == tf.float32 else 2e-2
    for found, expected in zip(ours, theirs, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_a_side_that_is_not_known_or_not_square_is_left_to_tensorflow() -> None:
    random = np.random.default_rng(0)
    kernel = tf.constant(random.normal(size=(3, 3, 4, 4)).astype(np.float32))
    for shape in ((2, 2, 4), (2, 4, 4)):
        features = tf.constant(random.normal(size=(1, *shape)).astype(np.float32))
        unknown = tf.function(lambda x: convolve(x, kernel, 1, "same"), input_signature=[tf.TensorSpec([None] * 4)])
        expected = tf.nn.conv2d(features, kernel, 1, "SAME")
        for found in (convolve(features, kernel, 1, "same"), unknown(features)):
            np.testing.assert_allclose(found, expected, atol=1e-5)
