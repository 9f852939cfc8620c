"""Losses against sums written out; margins against the angles they widen, finite to the ends of the range."""

import math

import numpy as np
import pytest
import tensorflow as tf

from landmarks.network.losses import (
    ClassificationLoss,
    add_margins,
    compute_class_weights,
    compute_margins,
    smooth_cross_entropy,
)
from landmarks.params import ArcFaceParams

ARCFACE = ArcFaceParams(
    scale=16.0, min_margin_radians=0.1, max_margin_radians=0.5, margin_warmup_epochs=0, subcenters=1
)


@pytest.mark.parametrize(("weighting", "power"), [("none", 0.0), ("sqrt", 0.5), ("inverse", 1.0)])
def test_class_weights_have_mean_one_over_photos(weighting: str, power: float) -> None:
    counts = np.array([1, 10, 100])
    weights = compute_class_weights(counts, weighting)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1, abs=1e-6)
    assert weights[0] / weights[2] == pytest.approx(100**power, rel=1e-5)


def test_rare_landmarks_get_the_larger_margins() -> None:
    margins = compute_margins(np.array([300, 7, 40]), ARCFACE)
    assert margins.min() == margins[0] == pytest.approx(0.1)
    assert margins.max() == margins[1] == pytest.approx(0.5)
    rarity = np.array([300, 7, 40]) ** -0.25
    assert margins[2] == pytest.approx(0.1 + 0.4 * (rarity[2] - rarity[0]) / (rarity[1] - rarity[0]))
    np.testing.assert_allclose(compute_margins(np.array([9, 9]), ARCFACE), 0.3)


def test_margins_widen_the_own_angle_alone() -> None:
    cosines = np.array([[0.5, -0.2, 0.9], [0.1, 0.0, -0.99]], np.float32)
    labels = np.array([0, 2], np.int32)
    changed = add_margins(tf.constant(16 * cosines), tf.constant(labels), tf.constant([0.3, 0.5]), 16.0).numpy() / 16
    assert changed[0, 0] == pytest.approx(math.cos(math.acos(0.5) + 0.3), abs=1e-5)
    assert changed[1, 2] == pytest.approx(-1.0, abs=1e-6)  # no further than the opposite direction
    for row, label in enumerate(labels):
        others = np.arange(3) != label
        np.testing.assert_allclose(changed[row, others], cosines[row, others], atol=1e-6)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0 + 1e-6, 0.9999999, 0.0])
def test_the_slope_is_finite_at_the_ends(cosine: float) -> None:
    logits = tf.Variable([[16.0 * cosine, 0.0]])
    with tf.GradientTape() as tape:
        loss = add_margins(logits, tf.constant([0]), tf.constant([0.3]), 16.0)[0, 0]
    slope = tape.gradient(loss, logits).numpy()
    assert np.isfinite(slope).all()
    if cosine == 0.0:
        assert slope[0, 0] == pytest.approx(math.cos(0.3), abs=1e-4)


def test_smoothing_is_cross_entropy_with_spread_targets() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 3, 1, 1, 2], np.int32)
    targets = np.full((5, 4), 0.1 / 4) + 0.9 * np.eye(4)[labels]
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(targets * log_softmax).sum(axis=1)
    np.testing.assert_allclose(smooth_cross_entropy(tf.constant(logits), tf.constant(labels), 0.1), expected, rtol=1e-5)


def test_a_blend_is_measured_against_both_of_its_landmarks() -> None:
    logits = tf.constant(np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32))
    labels, others = tf.constant([0, 1, 2]), tf.constant([3, 3, 2])
    loss = ClassificationLoss(tf.constant([1.0, 2.0, 1.0, 0.5]), 0.0, tf.constant([0.2] * 4), 4.0)
    own, other = (loss(logits, which, tf.constant(1.0)).numpy() for which in (labels, others))
    shares = np.array([1.0, 0.25, 0.5], np.float32)
    mixed = loss(logits, labels, tf.constant(1.0), others, tf.constant(shares)).numpy()
    np.testing.assert_allclose(mixed, shares * own + (1 - shares) * other, rtol=1e-5)
    without = ClassificationLoss(tf.constant([1.0] * 4), 0.0)(logits, labels, tf.constant(1.0)).numpy()
    assert (own > without * np.array([1.0, 2.0, 1.0])).all()
