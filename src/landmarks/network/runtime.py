"""The machine that a training runs on: its threads, devices and precision, and what of it can change the weights."""

import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import tensorflow as tf

from landmarks.network.networks import Precision
from landmarks.params import TrainParams
from landmarks.processors import count_processors
from landmarks.schema.library_settings import find_recorded

_CPUINFO = Path("/proc/cpuinfo")
# of x86 and ARM: those that kernels of linear algebra are chosen by
_INSTRUCTION_SETS = re.compile(r"\b(?:avx\w*|amx\w*|fma|f16c|sse4_\d|asimd\w*|sve\w*|bf16|i8mm|fphp)\b")


def configure_runtime() -> None:
    """Make training on a CPU reproducible: run one operation at a time, each on all processors.

    When operations run in parallel, TensorFlow splits their sums differently from run to run. Call this before the
    first TensorFlow operation of the process; later it has no effect.
    """
    with suppress(RuntimeError):  # raised once TensorFlow has started its threads
        tf.config.threading.set_inter_op_parallelism_threads(1)
        # TensorFlow knows of affinity, but not of the quota of a container
        tf.config.threading.set_intra_op_parallelism_threads(count_processors())


def describe_runtime(params: TrainParams, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Describe what of this machine can change weights; an unfinished training goes on only where it is the same.

    Returns:
        `devices`: the GPUs, or the CPU with its instruction sets; `threads` of one operation on a CPU; `precision`;
        `environment`: settings of TensorFlow and its libraries, as `NAME=VALUE`, separated by spaces.
    """
    gpus = [_name_gpu(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    threads = tf.config.threading.get_intra_op_parallelism_threads() or count_processors()
    return {
        "devices": ", ".join(gpus) or _name_cpu(),
        "threads": "" if gpus else str(threads),
        "precision": choose_precision(params.precision),
        "environment": " ".join(f"{name}={value}" for name, value in find_recorded(environ).items()),
    }


def choose_precision(wanted: str) -> Precision:
    """Choose the precision; `auto` is bfloat16 where it is fast: AMX on a CPU, Ampere or later on a GPU."""
    if wanted != "auto":
        return "bfloat16" if wanted == "bfloat16" else "float32"
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= (8, 0) else "float32"
    return "bfloat16" if "amx_bf16" in _read_cpuinfo() else "float32"


def choose_strategy(wanted: str) -> tf.distribute.Strategy:
    """Choose the distribution: `one` device, all `mirrored`, or `auto`: mirrored if there are several GPUs."""
    gpus = tf.config.list_logical_devices("GPU")
    if wanted == "mirrored" or (wanted == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def _name_gpu(gpu: tf.config.PhysicalDevice) -> str:
    return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))


def _name_cpu() -> str:
    text = _read_cpuinfo()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    sets = sorted(set(_INSTRUCTION_SETS.findall(flags[1]))) if flags else []
    return f"{model[1] if model else platform.machine()} ({' '.join(sets)})"


def _read_cpuinfo() -> str:
    return _CPUINFO.read_text(encoding="utf-8", errors="replace") if _CPUINFO.is_file() else ""
