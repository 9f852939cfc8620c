"""Settings that libraries take from the environment or the home folder: pinned, set aside or recorded.

docs/reliability.md lists them. The command line calls `pin_environment` before a library is imported, and whatever
needs Keras calls `load_keras`. Every stage depends on the folder of this module, because it can change a weight.
"""

import importlib
import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from landmarks.errors import LandmarksError
from landmarks.terminal import hold_stderr

# the same on every machine
_PINNED_NETWORK = {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "0", "TF_USE_LEGACY_KERAS": "0"}
_PINNED = {"MPLBACKEND": "agg", "GX_ANALYTICS_ENABLED": "false"}
# Only where the machine says nothing. By default TensorFlow uses oneDNN on recent CPUs only; without it, gradients of
# small convolutions are slow.
_DEFAULTS_NETWORK = {"TF_ENABLE_ONEDNN_OPTS": "1"}
_DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": "3"}
# Removed: limits for debugging, a cluster, and another precision than `train.precision`
_SET_ASIDE_NETWORK = re.compile(r"KERAS_(?!HOME$).+|TF_CONFIG|(TF_SET_ONEDNN|DNNL_DEFAULT|ONEDNN_DEFAULT)_FPMATH_MODE")
# Removed: of MLflow all but the way to its stores; of others what changes how tables are read, sums and checks are made
# and servers are configured
_SET_ASIDE = re.compile(
    r"MLFLOW_(?!TRACKING_|REGISTRY_|HTTP_|S3_|GCS_|BOTO_|KERBEROS_|MYSQL_|SQLALCHEMYSTORE_|WORKSPACE$|ENABLE_WORKSPACES$"
    r"|DISABLE_TELEMETRY$|LOGGING_LEVEL$|ALLOW_|ARTIFACT_UPLOAD|\w*MULTIPART|UC_|DATABRICKS_).+"
    r"|BENTOML_CONFIG.*|(PANDAS|SCIPY|SKLEARN)_.+|TQDM_(?!DISABLE$).+|GX_(?!ANALYTICS_ENABLED$).+|PYTHONWARNINGS"
)
# OpenMP and BLAS. Their threads wait for each other by spinning, so that beside a busy process a small product takes 50
# times as long; and sums that several threads share differ in their last bits. What pays for more, says how many.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# may change the last bits of weights or sums, and may be right where they are set
_RECORDED = re.compile(
    r"(?!TF_CPP_|TF_NUM_)(TF|XLA|ONEDNN|DNNL|CUBLAS|CUDNN)_(?!VERBOSE).+|NVIDIA_TF32_OVERRIDE"
    r"|(OPENBLAS|MKL)_(?!NUM_THREADS|VERBOSE).+|(NPY|FAISS)_.+"
)


def pin_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Fix what libraries take from the environment; call it in a process of our own, before they are imported."""
    _pin(environ, _PINNED_NETWORK | _PINNED, _SET_ASIDE_NETWORK, _SET_ASIDE)
    _set_defaults(environ, _DEFAULTS)
    limit_threads(environ)


def limit_threads(environ: MutableMapping[str, str] = os.environ) -> None:
    """Give OpenMP and BLAS one thread unless the environment says otherwise; call it before NumPy is imported."""
    _set_defaults(environ, dict.fromkeys(_THREADS, "1"))


def find_recorded(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Find the settings of the environment that may change the last bits of a training, by name."""
    kept = {name: value for name, value in sorted(environ.items()) if _RECORDED.fullmatch(name)}
    return {name: value for name, value in kept.items() if name not in _PINNED_NETWORK}


def load_keras() -> Any:
    """Import Keras with the settings of this package, whatever the environment and `keras.json` say.

    Raises:
        LandmarksError: `keras.json` cannot be read, or Keras has been imported with another backend.
    """
    _pin(os.environ, _PINNED_NETWORK, _SET_ASIDE_NETWORK)
    try:
        with hold_stderr():  # TensorFlow tells of the machine, however its log level is set
            keras = importlib.import_module("keras")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        folder = os.environ.get("KERAS_HOME", "~/.keras")
        raise LandmarksError(
            f"Keras cannot be imported: {error}. Correct or delete its settings, {folder}/keras.json."
        ) from error
    if keras.config.backend() != "tensorflow":
        raise LandmarksError(
            f"Keras has been imported with the backend {keras.config.backend()}, but landmarks needs tensorflow. "
            "Import landmarks.network first, or set KERAS_BACKEND=tensorflow."
        )
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)
    return keras


def check_keras() -> None:
    """Check that nothing has changed the settings since `load_keras`; networks are built and loaded with them.

    Raises:
        LandmarksError: something has.
    """
    config = importlib.import_module("keras").config
    found = config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name
    if found != (wanted := ("float32", 1e-7, "channels_last", "float32")):
        raise LandmarksError(
            f"Keras was set to {found} after landmarks had set it to {wanted} (floatx, epsilon, image_data_format, "
            "dtype_policy). Leave these settings of keras.config as they are in a process that uses landmarks."
        )


def _pin(environ: MutableMapping[str, str], pinned: Mapping[str, str], *set_aside: re.Pattern[str]) -> None:
    for name in list(environ):
        if name not in pinned and any(pattern.fullmatch(name) for pattern in set_aside):
            del environ[name]
    environ.update(pinned)
    _set_defaults(environ, _DEFAULTS_NETWORK)


def _set_defaults(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> None:
    for name, value in defaults.items():
        environ.setdefault(name, value)
