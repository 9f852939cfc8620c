"""ResNet-50 with a softmax or an ArcFace head, from uint8 photos to logits.

With `stem: standard` and `shortcut: strided` the backbone has the layers, names and order of
`keras.applications.ResNet50`, so that published weight files fit. That function does not expose batch-normalisation
momentum, zero-initialised residuals or precision per layer; this one does. Saved networks consist of Keras's own layers
only, so loading them needs no code of this package.

References:
    He et al., "Deep Residual Learning for Image Recognition", 2016, table 1 (stride on the first 1x1 convolution).
    He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", 2019, section 4.2, figures
    2b (ResNet-C: the deep stem) and 2c (ResNet-D: the pooled shortcut).
    Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018, equation 3 (GeM pooling).
    Deng et al., "Sub-center ArcFace", 2020, section 3.2 (the closest of several centres per landmark).
    Touvron et al., "Fixing the Train-Test Resolution Discrepancy", 2019, section 3 (the centre crop at test time).
"""

import warnings
from typing import Any, Literal

import keras
from keras import layers

from landmarks.errors import ArtifactError
from landmarks.network.fused import FastConvolution, FusedBatchNormalization, fold_bias
from landmarks.params import NetworkParams
from landmarks.schema.library_settings import check_keras
from landmarks.schema.network_format import EMBEDDING, PROBABILITIES

Precision = Literal["float32", "bfloat16"]
Scaling = Literal["symmetric", "unit", "imagenet"]

# (name, filters of the 3x3 convolution, blocks, stride of the first block)
_STACKS = (("conv2", 64, 3, 1), ("conv3", 128, 4, 2), ("conv4", 256, 6, 2), ("conv5", 512, 3, 2))
_IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)
_DEEP_STEM_FILTERS = 32  # of its first two convolutions
_EPSILON = 1.001e-5  # of batch normalisation, as in keras.applications
_GEM_FLOOR = 1e-6  # the gradient of a power is infinite at zero, and ReLU gives many zeros

_ROWS = "rows"  # the layer whose output is the embedding before it gets unit length


class _Layers:
    """Creates layers that share the precision of one network, and are either those of `fused` or Keras's own."""

    def __init__(self, params: NetworkParams, precision: Precision, fast: bool) -> None:
        check_keras()
        self.policy = keras.DTypePolicy("mixed_bfloat16" if precision == "bfloat16" else "float32")
        self._params = params
        self._convolution = FastConvolution if fast else layers.Conv2D
        self._normalization = FusedBatchNormalization if fast else layers.BatchNormalization

    def convolution(self, filters: int, size: int, name: str, stride: int = 1, padding: str = "valid") -> layers.Layer:
        return self._convolution(filters, size, strides=stride, padding=padding, name=name, dtype=self.policy)

    def normalization(self, name: str, zero: bool = False) -> layers.Layer:
        return self._normalization(
            momentum=self._params.batch_norm_momentum,
            epsilon=_EPSILON,
            gamma_initializer="zeros" if zero and self._params.zero_init_residual else "ones",
            name=name,
            dtype=self.policy,
        )

    def relu(self, name: str) -> layers.Layer:
        return layers.Activation("relu", name=name, dtype=self.policy)

    def padding(self, pixels: int, name: str) -> layers.Layer:
        return layers.ZeroPadding2D(pixels, name=name, dtype=self.policy)


def build_backbone(
    image_size: int | None,
    params: NetworkParams,
    precision: Precision = "float32",
    fast: bool = False,
) -> keras.Model:
    """Build ResNet-50 without its head: scaled photos (n, s, s, 3) to features (n, ceil(s / 32), ceil(s / 32), 2048).

    With `stem: small` the features have twice the height and width. With an `image_size` of None, s is variable.
    """
    make = _Layers(params, precision, fast)
    inputs = keras.Input((image_size, image_size, 3), dtype="float32")
    x = _add_stem(inputs, make, params.stem)
    x = make.padding(1, "pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool", dtype=make.policy)(x)
    for name, filters, blocks, stride in _STACKS:
        for block in range(1, blocks + 1):
            shortcut = x
            if block == 1:
                shortcut = _add_shortcut(x, make, f"{name}_block1_0", 4 * filters, stride, params.shortcut)
            x = _add_block(x, shortcut, make, f"{name}_block{block}", filters, stride if block == 1 else 1)
    return keras.Model(inputs, x, name="resnet50")


def _add_stem(x: object, make: _Layers, stem: str) -> object:
    """Add the layers before the first pooling: photos (n, s, s, 3) to features (n, s / 2, s / 2, 64), `small` to s."""
    if stem == "standard":
        x = make.padding(3, "conv1_pad")(x)
        x = make.convolution(64, 7, "conv1_conv", stride=2)(x)
    elif stem == "deep":
        for number, stride in (("1", 2), ("2", 1)):
            x = make.convolution(_DEEP_STEM_FILTERS, 3, f"stem{number}_conv", stride, padding="same")(x)
            x = make.normalization(f"stem{number}_bn")(x)
            x = make.relu(f"stem{number}_relu")(x)
        x = make.convolution(64, 3, "conv1_conv", padding="same")(x)
    else:
        x = make.convolution(64, 3, "conv1_conv", padding="same")(x)
    x = make.normalization("conv1_bn")(x)
    return make.relu("conv1_relu")(x)


def _add_shortcut(x: object, make: _Layers, name: str, filters: int, stride: int, shortcut: str) -> object:
    """Add the projection beside the first block of a stack; without the pooling it sees a quarter of the positions."""
    if shortcut == "pooled" and stride > 1:
        x = layers.AveragePooling2D(stride, stride, padding="same", name=f"{name}_pool", dtype=make.policy)(x)
        stride = 1
    return make.normalization(f"{name}_bn")(make.convolution(filters, 1, f"{name}_conv", stride)(x))


def _add_block(x: object, shortcut: object, make: _Layers, name: str, filters: int, stride: int) -> object:
    x = make.convolution(filters, 1, f"{name}_1_conv", stride)(x)
    x = make.normalization(f"{name}_1_bn")(x)
    x = make.relu(f"{name}_1_relu")(x)
    x = make.convolution(filters, 3, f"{name}_2_conv", padding="same")(x)
    x = make.normalization(f"{name}_2_bn")(x)
    x = make.relu(f"{name}_2_relu")(x)
    x = make.convolution(4 * filters, 1, f"{name}_3_conv")(x)
    x = make.normalization(f"{name}_3_bn", zero=True)(x)
    x = layers.Add(name=f"{name}_add", dtype=make.policy)([shortcut, x])
    return make.relu(f"{name}_out")(x)


def build_classifier(
    image_size: int | None,
    labels: int,
    params: NetworkParams,
    precision: Precision = "float32",
    scaling: Scaling = "symmetric",
    fast: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build the network for training: photos uint8 (n, s, s, 3) to logits float32 (n, labels).

    Scaling is a layer of the network, so that training and serving cannot differ: `symmetric` maps 0..255 to -1..1,
    `unit` maps to 0..1, and `imagenet` subtracts the mean colour, as the published weights expect.

    Args:
        image_size: s; None for variable size.
        labels: number of landmarks.
        params: the section `network`.
        precision: of the backbone.
        scaling: of the pixel values.
        fast: build it of the layers of `fused`, which train faster and have the same weights.
        seed: of the dropout.
    """
    # === Layers ===
    backbone = build_backbone(image_size, params, precision, fast)
    dropout = layers.Dropout(params.dropout, seed=seed, name="dropout")

    # === Functional model ===
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    features = layers.Activation("linear", name="features", dtype="float32")(backbone(_build_scaling(scaling)(inputs)))
    rows = dropout(_embed(_pool(features, params), params, fast))
    is_arcface = params.head == "arcface"
    logits = _build_arcface_head(rows, labels, params) if is_arcface else layers.Dense(labels, name="logits")(rows)
    return keras.Model(inputs, logits, name="classifier")


def _pool(features: object, params: NetworkParams) -> object:
    """Pool features (n, h, w, c) to one row per photo, float32."""
    if params.pooling == "flatten":
        return layers.Flatten(name="flatten")(features)
    pool = layers.GlobalAveragePooling2D(name="pool")
    if params.pooling == "average":
        return pool(features)
    powered = keras.ops.power(keras.ops.maximum(features, _GEM_FLOOR), params.gem_power)
    return keras.ops.power(pool(powered), 1.0 / params.gem_power)


def _embed(pooled: object, params: NetworkParams, fast: bool) -> object:
    if params.reduced_dim is None:
        return layers.Activation("linear", name=_ROWS)(pooled)
    reduced = layers.Dense(params.reduced_dim, use_bias=False, name="reduction")(pooled)
    # cosines compare directions, so the embedding is centred and every dimension gets the same scale
    normalization = FusedBatchNormalization if fast else layers.BatchNormalization
    return normalization(momentum=params.batch_norm_momentum, epsilon=_EPSILON, name=_ROWS)(reduced)


def _build_arcface_head(rows: Any, labels: int, params: NetworkParams) -> object:
    """Compute scaled cosines between each row and the closest centre of each landmark; the loss adds the margins."""
    directions = layers.Dense(
        labels * params.arcface.subcenters,
        use_bias=False,
        kernel_constraint=keras.constraints.UnitNorm(axis=0),
        kernel_initializer=keras.initializers.RandomNormal(stddev=float(rows.shape[-1]) ** -0.5),
        name="directions",
    )
    cosines = directions(layers.UnitNormalization(name="unit_rows")(rows))
    if params.arcface.subcenters > 1:
        grouped = layers.Reshape((params.arcface.subcenters, labels), name="subcenters")(cosines)
        cosines = layers.GlobalMaxPooling1D(name="closest")(grouped)
    return layers.Rescaling(params.arcface.scale, name="logits")(cosines)


def _build_scaling(scaling: Scaling) -> layers.Layer:
    if scaling == "imagenet":
        return layers.Rescaling(1.0, offset=[-mean for mean in _IMAGENET_MEAN_RGB], name="scaling")
    if scaling == "unit":
        return layers.Rescaling(1 / 255, name="scaling")
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="scaling")


def build_recognizer(
    classifier: keras.Model, flip_tta: bool = False, center_crop: float = 1.0, landmarks: int | None = None
) -> keras.Model:
    """Build the network for inference from the layers of a classifier, with test-time augmentation.

    Args:
        classifier: made by `build_classifier`.
        flip_tta: average the outputs for each photo and its mirror image.
        center_crop: crop this central part of each side, and resize it to s.
        landmarks: number of labels that are landmarks, the first ones; all of them if None.

    Returns:
        A model from uint8 (n, s, s, 3) to `probabilities: float32 (n, landmarks)` and
        `embedding: float32 (n, d), rows of unit length`; d is `params.reduced_dim`, or 2048 of the pooled features.
        What the probabilities lack to 1 is the probability of no landmark.
    """
    check_keras()
    rows = classifier.get_layer(_ROWS).output
    if any(layer.name == "flatten" for layer in classifier.layers):
        # flattened features depend on positions in the photo; embeddings for similarity must not
        rows = layers.GlobalAveragePooling2D(name="embedding_pool")(classifier.get_layer("features").output)
    probabilities = layers.Softmax(name="softmax")(classifier.output)
    if landmarks not in (None, classifier.output_shape[-1]):
        probabilities = probabilities[:, :landmarks]
    body = keras.Model(classifier.input, [rows, probabilities], name="body")
    inputs = keras.Input(classifier.input_shape[1:], dtype="uint8", name="image")
    seen = _enlarge_center(inputs, center_crop) if center_crop < 1 else inputs
    if flip_tta:
        # photos and mirror images as one batch, so that the exported graph holds the backbone once
        both = keras.ops.concatenate([seen, keras.ops.flip(seen, axis=2)], axis=0)
        rows, probabilities = [keras.ops.add(*keras.ops.split(output, 2, axis=0)) / 2.0 for output in body(both)]
    else:
        rows, probabilities = body(seen)
    outputs = {
        PROBABILITIES: layers.Activation("linear", name=PROBABILITIES)(probabilities),
        EMBEDDING: layers.UnitNormalization(name=EMBEDDING)(rows),
    }
    return keras.Model(inputs, outputs, name="recognizer")


def _enlarge_center(inputs: Any, part: float) -> Any:
    """Crop the central part of photos, uint8 (n, s, s, 3), and resize it to their size."""
    side = inputs.shape[1]
    kept = round(side * part)
    start = (side - kept) // 2
    center = keras.ops.cast(inputs[:, start : start + kept, start : start + kept], "float32")
    enlarged = keras.ops.image.resize(center, (side, side), interpolation="bilinear")
    # augmented training photos are rounded to uint8 too
    return keras.ops.cast(keras.ops.round(enlarged), "uint8")


def load_backbone_weights(classifier: keras.Model, path: str) -> None:
    """Load a weight file of `keras.applications.ResNet50(include_top=False)` into a classifier's backbone.

    These weights expect BGR. The input channels of the first convolution are reversed, so that photos can stay RGB.

    Raises:
        ArtifactError: the file is missing or holds other weights.
    """
    backbone = classifier.get_layer("resnet50")
    try:
        with warnings.catch_warnings():
            # for a wrong file Keras warns about every missing layer before it raises
            warnings.simplefilter("ignore", UserWarning)
            backbone.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{path} cannot be loaded into ResNet-50 without its top ({error}). Give a weight file made by "
            "`keras.applications.ResNet50(include_top=False).save_weights(...)`."
        ) from error
    kernel, bias = backbone.get_layer("conv1_conv").get_weights()
    backbone.get_layer("conv1_conv").set_weights([kernel[:, :, ::-1, :], bias])
    for layer in backbone.layers:
        if isinstance(layer, FastConvolution):
            fold_bias(layer, backbone.get_layer(layer.name.removesuffix("_conv") + "_bn"))
