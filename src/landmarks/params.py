"""The parameters of every stage, read from `params.yaml` and validated before anything runs.

Values are only in `params.yaml`: no field here has a default.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML
from ruamel.yaml.scalarbool import ScalarBoolean

from landmarks.errors import ParamsError
from landmarks.files.parsing import describe_problems, parse_yaml
from landmarks.files.writing import replace_file

PARAMS_PATH = Path("params.yaml")
EXPERIMENTS_PATH = Path("experiments")
DEFAULT_EXPERIMENT = "default"

_ARCFACE_DIM = 512  # usual length of ArcFace embeddings

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range of NumPy and Keras
Positive = Annotated[int, Field(ge=1)]
Item = TypeVar("Item")
Listed = Annotated[tuple[Item, ...], pydantic.Strict(False)]  # strict mode would refuse YAML's lists for tuples


class Section(BaseModel):
    """A section of `params.yaml`: frozen, without unknown keys, and strict: `12` is not a text, `true` not a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class DemoParams(Section):
    """The synthetic landmarks of `acquire.source: demo`."""

    seed: Seed
    landmarks: Annotated[int, Field(ge=2, le=24)]
    photos_per_landmark: Positive
    distractor_photos: Count
    image_size: Annotated[int, Field(ge=32, le=1024, description="Side of a drawn photo in pixels.")]


class ColumnParams(Section):
    """Names of the columns of a table of photos; null: a usual name is looked for."""

    path: str | None = Field(description="Of the photo; in a data set of Hugging Face, the photo itself.")
    label: str | None = Field(description="Text, or a landmark id.")
    split: str | None = Field(description="train, val or test.")
    author: str | None
    license: str | None
    url: str | None
    title: str | None


class AcquireParams(Section):
    """The photos and their tables."""

    source: Literal["demo", "folder", "archive", "classes", "table", "huggingface"] = Field(
        description="folder: Kaggle's layout; archive: its zip; classes: a folder per landmark; table: paths and "
        "labels; huggingface: Parquet or Arrow files."
    )
    photos: str = Field(description="The folder of the photos, or the Kaggle zip; empty for the demo.")
    table: str = Field(description="Table of photos: Kaggle's id,landmark_id; with source: table, any CSV or Parquet.")
    columns: ColumnParams
    names_csv: str = Field(
        description="Table of names: landmark_id,name, and columns such as name_de; a blank file where there is none."
    )
    distractors: str = Field(description="Folder of distractors (non-landmark photos), in place of distractors_csv.")
    distractors_csv: str = Field(
        description="Distractors in Kaggle's layout: id,category, or Google's test solution; a blank file for none."
    )
    attribution_csv: str = Field(
        description="Attribution of photos: id,url,author,license,title; a blank file for none."
    )
    listing: str = Field(
        description="Paths, sizes and times of the photos, from `landmarks init`, so that DVC notices changes; a blank "
        "file for none."
    )
    demo: DemoParams


class ValidateParams(Section):
    """The expectations of the raw data."""

    sample_photos: Count = Field(description="Number of photos that are decoded as a sample.")
    max_unreadable_fraction: Fraction = Field(description="Of that sample.")
    min_landmark_id: int | None = Field(description="null: no bound.")
    max_landmark_id: int | None = Field(description="null: no bound.")


class SelectParams(Section):
    """Selection of landmarks and photos, and their split; null is no bound."""

    min_images: Positive | None = Field(description="Minimum number of photos of a landmark, inclusive.")
    max_images: Positive | None = Field(description="Maximum number of photos of a landmark, inclusive.")
    top_k: Positive | None = Field(description="Keep only this number of landmarks, those with the most photos.")
    landmark_ids: Listed[int] | None = Field(description="Keep only these landmarks.")
    max_images_per_landmark: Positive | None = Field(description="Keep at most this number of photos per landmark.")
    fraction: Annotated[float, Field(gt=0, le=1)] = Field(description="Keep this fraction of all photos.")
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed

    @pydantic.model_validator(mode="after")
    def _leave_room_for_train(self) -> "SelectParams":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"val_fraction + test_fraction must be below 1, received {self.val_fraction} + {self.test_fraction}"
            )
        if self.min_images is not None and self.max_images is not None and self.min_images > self.max_images:
            raise ValueError(f"min_images {self.min_images} is above max_images {self.max_images}")
        return self


class PrepareParams(Section):
    """The shards of equal square images."""

    image_size: Annotated[int, Field(ge=32, le=1024, description="Side of the network's input in pixels.")]
    fit: Literal["crop", "stretch"] = Field(description="Crop the central square, or stretch the photo to a square.")
    photos_per_shard: Positive
    max_unreadable_fraction: Fraction
    max_pixels: Positive = Field(description="Photos with more pixels are not decoded.")
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64, description="Maximum Hamming distance of 64-bit hashes.")]


class ArcFaceParams(Section):
    """The ArcFace head, a cosine classifier with an additive angular margin; only for `network.head: arcface`."""

    scale: Annotated[float, Field(gt=0, description="Factor from cosines to logits.")]
    min_margin_radians: Annotated[float, Field(ge=0, le=1.5, description="Of the landmark with the most photos.")]
    max_margin_radians: Annotated[float, Field(ge=0, le=1.5, description="Of the landmark with the fewest photos.")]
    margin_warmup_epochs: Annotated[float, Field(ge=0, description="Epochs over which the margins grow from zero.")]
    subcenters: Annotated[int, Field(ge=1, description="Centres per landmark; the closest one counts.")]

    @pydantic.model_validator(mode="after")
    def _order_margins(self) -> "ArcFaceParams":
        if self.min_margin_radians > self.max_margin_radians:
            raise ValueError(
                f"min_margin_radians {self.min_margin_radians} is above max_margin_radians {self.max_margin_radians}"
            )
        return self


class NetworkParams(Section):
    """The architecture: ResNet-50 and its head."""

    scaling: Literal["symmetric", "unit"] = Field(
        description="Of pixel values: to -1..1, or to 0..1; with published weights, their own scaling is used."
    )
    stem: Literal["deep", "standard", "small"] = Field(
        description="deep: three 3x3 convolutions (ResNet-C); standard: one 7x7, as published; small: one 3x3 without "
        "a stride, 4 times the cost. Pooling follows."
    )
    shortcut: Literal["pooled", "strided"] = Field(
        description="Where a stack halves the size, the shortcut averages 2x2 positions (ResNet-D), or skips three of "
        "four, as published."
    )
    pooling: Literal["average", "gem", "flatten"]
    gem_power: Annotated[float, Field(ge=1, le=10, description="1 is the average, higher is closer to the maximum.")]
    embedding_dim: Positive | None = Field(
        description="Length of a layer before the head; null: no such layer with softmax, 512 with arcface."
    )
    head: Literal["softmax", "arcface"]
    arcface: ArcFaceParams
    dropout: Annotated[float, Field(ge=0, lt=1)]
    batch_norm_momentum: Annotated[float, Field(gt=0, lt=1)]
    zero_init_residual: bool = Field(description="Start every residual branch at zero (Goyal et al. 2017).")
    flip_tta: bool = Field(
        description="Test-time augmentation: average over a photo and its mirror image, at twice the cost."
    )

    @property
    def reduced_dim(self) -> int | None:
        """Length of the layer between the pooled features and the head; None without such a layer."""
        return self.embedding_dim or (_ARCFACE_DIM if self.head == "arcface" else None)

    @pydantic.model_validator(mode="after")
    def _pool_for_cosines(self) -> "NetworkParams":
        if self.head == "arcface" and self.pooling == "flatten":
            raise ValueError("head: arcface needs pooling: average or gem, received flatten")
        return self


class AugmentationParams(Section):
    """Augmentation of training photos, for the variant `augmented`."""

    flip: bool = Field(description="Flip half of the photos horizontally.")
    min_crop_area_fraction: Annotated[float, Field(gt=0, le=1)]
    max_aspect_ratio: Annotated[float, Field(ge=1, le=2)]
    center_crop: Annotated[float, Field(ge=0.5, le=1)] = Field(
        description="Test-time augmentation: crop this central part of each side, and resize it to the full size."
    )
    brightness: Fraction = Field(description="Maximum change, as a fraction of the full range.")
    contrast: Annotated[float, Field(ge=0, lt=1)] = Field(description="Maximum relative change.")
    saturation: Annotated[float, Field(ge=0, lt=1)] = Field(description="Maximum relative change.")
    mixup_fraction: Fraction = Field(description="Fraction of the batches with mixup.")
    mixup_alpha: Annotated[float, Field(gt=0)] = Field(description="Parameter of the Beta distribution of the shares.")
    cutmix_fraction: Fraction = Field(description="Fraction of the batches with CutMix.")

    @pydantic.model_validator(mode="after")
    def _leave_room(self) -> "AugmentationParams":
        if self.mixup_fraction + self.cutmix_fraction > 1:
            raise ValueError(
                "mixup_fraction + cutmix_fraction must not be above 1, "
                f"received {self.mixup_fraction} + {self.cutmix_fraction}"
            )
        return self


class ResizingStep(Section):
    """A step of progressive resizing."""

    until: Annotated[float, Field(gt=0, lt=1, description="End of this step, as a fraction of the epochs.")]
    image_size: Annotated[int, Field(ge=32, le=1024, description="In pixels.")]


class TrainParams(Section):
    """The recipe: optimizer, schedule, regularisation and early stopping."""

    initial_weights: str = Field(description="none, imagenet, or the path of a weight file.")
    epochs: Positive
    batch_size: Annotated[int, Field(ge=1, description="Over all devices together.")]
    parts: Positive = Field(
        description="Each batch is divided into so many parts, which are computed at the same time and normalised by "
        "their own statistics. Training uses as many processors."
    )
    distractor_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        description='Of each batch, for a class "none" learnt from distractors of train; 0: no such class.'
    )
    cache_bytes: Annotated[int, Field(ge=0)] = Field(
        description="Training photos are decoded once if they fit into so many bytes on the disk, else in every epoch."
    )
    optimizer: Literal["sgd", "adam", "adamw"]
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1, description="Nesterov momentum; sgd only.")]
    weight_decay: Annotated[float, Field(ge=0, description="Per step: L2 for sgd, decoupled for adamw.")]
    warmup_epochs: Annotated[float, Field(ge=0)]
    decay: Literal["cosine", "constant"]
    resizing: Listed[ResizingStep] = Field(description="Progressive resizing: smaller photos in the first epochs.")
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        description="Decay per step of the exponential moving average (EMA) of the weights; null: no EMA."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weighting: Literal["none", "sqrt", "inverse"] = Field(description="Weight of a landmark by its photo count.")
    early_stopping_patience: Positive | None = Field(description="Epochs without improvement; null: no early stopping.")
    early_stopping_monitor: Literal["val_loss", "val_accuracy"]
    inference_accuracy_photos: Positive = Field(description="Training photos for the accuracy in inference mode.")
    precision: Literal["auto", "float32", "bfloat16"]
    devices: Literal["auto", "one", "mirrored"] = Field(description="auto: mirrored if there are several GPUs.")
    seed: Seed

    @pydantic.model_validator(mode="after")
    def _divide_batches(self) -> "TrainParams":
        if self.batch_size % self.parts:
            raise ValueError(f"batch_size must be a multiple of parts, received {self.batch_size} and {self.parts}")
        return self

    @property
    def distractors_per_part(self) -> int:
        """How many of the photos of a part are distractors; at least one, unless `distractor_fraction` is 0."""
        return max(round(self.distractor_fraction * self.batch_size / self.parts), int(self.distractor_fraction > 0))

    @pydantic.model_validator(mode="after")
    def _leave_room_for_both_kinds(self) -> "TrainParams":
        if self.distractors_per_part >= self.batch_size // self.parts:
            raise ValueError(
                f"distractor_fraction {self.distractor_fraction} leaves no landmarks among the "
                f"{self.batch_size // self.parts} photos of a part; lower it, or raise batch_size"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _order_resizing(self) -> "TrainParams":
        ends = [step.until for step in self.resizing]
        if ends != sorted(set(ends)):
            raise ValueError(f"resizing: `until` must rise from step to step, received {ends}")
        return self


class ExportParams(Section):
    """The LiteRT export: the precision of its weights, and the limits of parity with the Keras network."""

    precision: Literal["auto", "float32", "int8"] = Field(
        description="int8: 8-bit weights; auto: int8 if it is within the limits, else float32."
    )
    min_agreement: Fraction = Field(description="int8: minimum fraction of photos with the same predicted landmark.")
    max_top1_change: Fraction = Field(description="int8: maximum change of top-1.")
    min_float_agreement: Fraction = Field(description="float32: as min_agreement; one photo may always differ.")
    min_float_cosine: Fraction = Field(description="float32: minimum cosine of the two embeddings of a photo.")


class IndexParams(Section):
    """The gallery, and the operating point of OOD detection."""

    precision_target: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Fraction of landmarks among val photos above the threshold, with equal weight of both kinds."
    )
    distractor_penalty: bool = Field(description="Use similarity to known distractors, and a probe, as evidence.")
    pca_dimensions: Positive | None = Field(
        description="Length of the embeddings in the gallery after PCA; null: no PCA."
    )
    thumbnails: bool = Field(description="Store thumbnails of the gallery photos, for the service.")


class EvaluateParams(Section):
    """The evaluation on the test split."""

    bootstrap_samples: Annotated[int, Field(ge=100)]
    calibration_bins: Annotated[int, Field(ge=2)]
    gallery_photos: Positive = Field(description="Photos in the charts of correct and of wrong answers.")
    confusions: Positive = Field(description="Rows of the table of most frequent confusions.")
    queries: Positive = Field(description="Test photos in the chart of neighbours.")
    seed: Seed


class RegisterParams(Section):
    """The gate between evaluation and the model registry."""

    model_name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    metric: Literal["top1", "top5", "macro_recall"]
    min_score: Fraction
    max_regression: Fraction = Field(description="Maximum loss of the metric against the current champion.")


class PackageParams(Section):
    """The deployable service."""

    alias: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(description="Alias of the registered version.")


class ServiceParams(Section):
    """The limits of the service; they travel inside the Bento."""

    max_body_bytes: Positive
    max_pixels: Positive
    default_k: Positive
    max_k: Positive
    max_batch_photos: Positive
    max_waiting: Positive = Field(description="Maximum number of concurrent requests; others get status 503.")
    max_waiting_bytes: Positive = Field(description="Maximum size of all bodies in memory; others get status 503.")
    receive_seconds: Annotated[float, Field(gt=0, description="Time limit to receive a body.")]
    answer_seconds: Annotated[float, Field(gt=0, description="Time limit to answer, after which the status is 503.")]

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "ServiceParams":
        if self.default_k > self.max_k:
            raise ValueError(f"default_k {self.default_k} is above max_k {self.max_k}")
        if self.max_body_bytes > self.max_waiting_bytes:
            raise ValueError(
                f"max_body_bytes {self.max_body_bytes} is above max_waiting_bytes {self.max_waiting_bytes}"
            )
        return self


class DriftParams(Section):
    """The two-sample tests of `landmarks drift`, served photos against test photos."""

    min_photos: Annotated[int, Field(ge=10, description="Minimum number of photos in each sample.")]
    max_scores: Positive = Field(description="Maximum number of scores in each sample, drawn at random.")
    max_embeddings: Positive = Field(description="Maximum number of embeddings; all pairs are computed.")
    significance: Annotated[float, Field(gt=0, lt=1, description="Level of significance of all tests together.")]
    min_score_effect: Fraction = Field(description="Minimum Kolmogorov-Smirnov distance.")
    neighbours: Annotated[int, Field(ge=1, le=10, description="Nearest neighbours of each embedding.")]
    min_embedding_effect: Fraction = Field(description="Minimum excess of neighbours from the same sample.")
    resamples: Annotated[int, Field(ge=100, description="Resamples of permutation test and bootstrap.")]
    seed: Seed


class TrackingParams(Section):
    """The MLflow experiment; the address of the store is in MLFLOW_TRACKING_URI."""

    experiment: Annotated[str, Field(min_length=1)]


class Params(Section):
    """All of `params.yaml`."""

    acquire: AcquireParams
    validate_: ValidateParams = Field(alias="validate")
    select: SelectParams
    prepare: PrepareParams
    network: NetworkParams
    augmentation: AugmentationParams
    train: TrainParams
    export: ExportParams
    index: IndexParams
    evaluate: EvaluateParams
    register_: RegisterParams = Field(alias="register")
    package: PackageParams
    service: ServiceParams
    drift: DriftParams
    tracking: TrackingParams

    @pydantic.model_validator(mode="after")
    def _fit_published_weights(self) -> "Params":
        found = (self.network.stem, self.network.shortcut)
        if self.train.initial_weights != "none" and found != ("standard", "strided"):
            raise ValueError(
                "train.initial_weights needs the published layout, network.stem: standard and network.shortcut: "
                f"strided, received {found[0]} and {found[1]}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _keep_one_size_when_flattened(self) -> "Params":
        if self.train.resizing and self.network.pooling == "flatten":
            raise ValueError("train.resizing needs network.pooling: average or gem; flatten takes one image size")
        return self


def read_params(path: Path = PARAMS_PATH) -> Params:
    """Read and validate a params file.

    Raises:
        ParamsError: the file is missing or not YAML, a key is missing or unknown, or a value has the wrong type or is
            out of range.
    """
    return _check(_read_yaml(path), path)


def build_params(values: dict[str, Any]) -> Params:
    """Validate params in a nested dict.

    Raises:
        ParamsError: a key is missing or unknown, or a value has the wrong type or is out of range.
    """
    return _check(values, Path("the given values"))


def write_experiment(names: Sequence[str], folder: Path = EXPERIMENTS_PATH, path: Path = PARAMS_PATH) -> Params:
    """Override the default params with `<folder>/<name>.yaml` for each name in turn, and write the result to `path`.

    An experiment with `base: OTHER` overrides that other one. Comments are kept. Environment variables in texts
    (`${LANDMARKS_SAMPLES}/...`) are expanded.

    Raises:
        ParamsError: an experiment is unknown or is its own base, a variable is not set, or the result is not valid.
    """
    chosen = [name for name in names if name != DEFAULT_EXPERIMENT]
    changes = [values for name in chosen for values in _read_experiment(name, folder)]
    merged = _read_yaml(_find_experiment(DEFAULT_EXPERIMENT, folder))
    for values in changes:
        _merge(merged, values)
    params = _check(merged, folder / f"{'+'.join(names)}.yaml")
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        _yaml().dump(merged, stream)
    return params


def read_experiment_values(path: Path) -> dict[str, Any]:
    """Read the values of an experiment or a params file, neither merged nor checked.

    Raises:
        ParamsError: the file is missing or not YAML of sections.
    """
    values: dict[str, Any] = _read_yaml(path)
    return values


def flatten_params(section: Section, prefix: str) -> dict[str, Any]:
    """Flatten a section to names such as `train.epochs`, for MLflow."""
    flat: dict[str, Any] = {}
    for name, value in section:
        key = f"{prefix}.{name}"
        flat |= flatten_params(value, key) if isinstance(value, Section) else {key: _simplify(value)}
    return flat


def _simplify(value: Any) -> Any:
    return (
        [_simplify(item) for item in value]
        if isinstance(value, tuple)
        else (value.model_dump() if isinstance(value, Section) else value)
    )


def list_experiments(folder: Path = EXPERIMENTS_PATH) -> list[str]:
    """List the names that `write_experiment` accepts."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _find_experiment(name: str, folder: Path) -> Path:
    if name not in list_experiments(folder):
        known = ", ".join(list_experiments(folder)) or "none"
        raise ParamsError(f"There is no experiment {name!r} in {folder}/. Known experiments: {known}.")
    return folder / f"{name}.yaml"


def _read_experiment(name: str, folder: Path, above: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Read the values of an experiment after those of its base; `above` are the experiments that lead to it."""
    if name in above:
        raise ParamsError(f"An experiment is its own base: {', '.join((*above, name))}. Remove a `base:` of these.")
    values: dict[str, Any] = _expand(_read_yaml(_find_experiment(name, folder)), name)
    base = values.pop("base", None)
    return [*([] if base is None else _read_experiment(base, folder, (*above, name))), values]


def _yaml() -> YAML:
    yaml = YAML()  # YAML 1.2, where 1e-3 is a number; PyYAML (YAML 1.1) reads a text
    yaml.width = 120
    yaml.preserve_quotes = True
    return yaml


def _read_yaml(path: Path) -> Any:
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"), _yaml())
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing. Run from the project's root, or `landmarks params default`.") from None
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise ParamsError(f"{path} must hold sections such as `acquire:`, received {type(value).__name__}.")
    return value


def _check(values: dict[str, Any], path: Path) -> Params:
    try:
        return Params.model_validate(_convert_booleans(values))
    except pydantic.ValidationError as error:
        lines = [f"  {problem}" for problem in describe_problems(error, "params")]
        raise ParamsError("\n".join([f"{path} is not valid:", *lines, "Fix these values and try again."])) from None


def _convert_booleans(value: Any) -> Any:
    """Convert ruamel's booleans to `bool`: those with an anchor are subclasses of `int`, which strict mode refuses."""
    if isinstance(value, dict):
        return {key: _convert_booleans(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_convert_booleans(item) for item in value]
    return bool(value) if isinstance(value, ScalarBoolean) else value


def _merge(base: Any, changes: Any) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _expand(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, name) for key, item in value.items()}
    if not isinstance(value, str) or "$" not in value:
        return value
    expanded = os.path.expandvars(value)
    if "$" in expanded:
        raise ParamsError(
            f"The experiment {name!r} needs an environment variable that is not set: {value}. Set it and try again."
        )
    return str(Path(expanded).resolve())
