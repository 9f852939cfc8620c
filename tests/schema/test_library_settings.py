"""What the machine says to libraries changes no network: by the environment, by keras.json, or by the caller."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import pytest

from landmarks.errors import LandmarksError
from landmarks.network.networks import build_backbone
from landmarks.params import read_params
from landmarks.schema.library_settings import check_keras, find_recorded, load_keras, pin_environment

PARAMS = Path(__file__).parents[2] / "experiments" / "default.yaml"
DESCRIBE = """
import keras.config as config
import landmarks.network
print(config.backend(), config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name,
    config.max_epochs(), config.max_steps_per_epoch(), config.is_nnx_enabled())
"""
EXPECTED = "tensorflow float32 1e-07 channels_last float32 None None False\n"


def test_what_networks_read_is_the_same_whatever_stands_in_the_environment() -> None:
    odd = {
        "KERAS_BACKEND": "jax",
        "KERAS_MAX_EPOCHS": "1",
        "KERAS_MAX_STEPS_PER_EPOCH": "x",
        "KERAS_NNX_ENABLED": "1",
        "KERAS_HOME": "/keras",
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CONFIG": "{",
        "DNNL_DEFAULT_FPMATH_MODE": "BF16",
        "PANDAS_FUTURE_INFER_STRING": "0",
        "MPLBACKEND": "what",
        "BENTOML_CONFIG_OPTIONS": "x",
        "TQDM_NCOLS": "x",
        "MLFLOW_RUN_ID": "0",
        "MLFLOW_EXPERIMENT_NAME": "other",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    }
    pin_environment(odd)
    assert {name: odd.pop(name) for name in list(odd) if not name.endswith("_NUM_THREADS")} == {
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": "/keras",  # where published weights are kept
        "KERAS_NNX_ENABLED": "0",
        "TF_USE_LEGACY_KERAS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "MPLBACKEND": "agg",
        "GX_ANALYTICS_ENABLED": "false",
    }
    assert odd.keys() == {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}


def test_ways_to_a_store_threads_and_choices_of_the_user_stay() -> None:
    own = {
        "MLFLOW_TRACKING_URI": "http://server",
        "MLFLOW_TRACKING_TOKEN": "t",
        "MLFLOW_REGISTRY_URI": "http://other",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "9",
        "MLFLOW_S3_ENDPOINT_URL": "http://s3",
        "MLFLOW_WORKSPACE": "team",
        "BENTOML_HOME": "/bentos",
        "BENTOML_PORT": "1",
        "TQDM_DISABLE": "1",
        "LANDMARKS_API_KEY": "key",
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    environ = dict(own)
    pin_environment(environ)
    assert environ | own == environ


def test_what_may_be_right_and_changes_bits_is_found() -> None:
    environ = {
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_XLA_FLAGS": "--x",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--y",
        "NVIDIA_TF32_OVERRIDE": "0",
        "CUDA_HOME": "/c",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_USE_LEGACY_KERAS": "0",
        "DNNL_VERBOSE": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_CORETYPE": "Haswell",
        "HOME": "/h",
        "NVIDIA_VISIBLE_DEVICES": "all",
    }
    assert find_recorded(environ) == {
        "NVIDIA_TF32_OVERRIDE": "0",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_XLA_FLAGS": "--x",
        "XLA_FLAGS": "--y",
    }


def describe(environment: Mapping[str, str], code: str = DESCRIBE) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": "/usr/bin", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_settings_of_another_project_are_overridden_without_the_command_line(tmp_path: Path) -> None:
    other = {"floatx": "float16", "epsilon": 1e-3, "backend": "torch", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(other | {"nnx_enabled": True}))
    environment = {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax", "KERAS_MAX_EPOCHS": "1"}
    code = f"import landmarks.network{DESCRIBE}"
    assert describe(environment, code).stdout == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("content", ["[]", '{"epsilon": 1}'])
def test_settings_that_keras_cannot_read_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "keras.json").write_text(content)
    last = describe({"KERAS_HOME": str(tmp_path)}, "import landmarks.network").stderr.splitlines()[-1]
    assert last.startswith("landmarks.errors.LandmarksError: Keras cannot be imported:")
    assert last.endswith(f"Correct or delete its settings, {tmp_path}/keras.json.")


CHANGES: dict[str, Any] = {
    "floatx": "float16",
    "epsilon": 1e-3,
    "image_data_format": "channels_first",
    "dtype_policy": "mixed_float16",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_by_the_caller_is_refused_where_networks_are_built(name: str) -> None:
    check_keras()
    getattr(keras.config, f"set_{name}")(CHANGES[name])
    try:
        with pytest.raises(LandmarksError, match="Keras was set to"):
            build_backbone(32, read_params(PARAMS).network)
    finally:
        load_keras()
    check_keras()
