"""The machine that a training runs on: its threads, devices and precision, and what of it can change the weights."""

import logging
import os
import platform
import re
import timeit
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import tensorflow as tf

from landmarks.network.networks import Precision
from landmarks.processors import count_processors
from landmarks.schema.library_settings import find_recorded

_CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16 = re.compile(r"\b(?:avx512_bf16|amx_bf16|bf16)\b")  # of x86 and ARM
_LEAST_GAIN = 1.3  # below, the conversions around the products cost what these gain
_SIDE = 1024  # of the matrices that are timed
# of x86 and ARM: those that kernels of linear algebra are chosen by
_INSTRUCTION_SETS = re.compile(r"\b(?:avx\w*|amx\w*|fma|f16c|sse4_\d|asimd\w*|sve\w*|bf16|i8mm|fphp)\b")

log = logging.getLogger(__name__)


def configure_runtime(parts: int) -> None:
    """Make training on a CPU fast and reproducible: as many operations at a time as a batch has parts.

    Each operation has one thread. With several, TensorFlow splits its sums by their number, and differently from run to
    run while other operations run too; with one, nothing depends on the number of processors. Call this before the
    first TensorFlow operation of the process; later it has no effect.
    """
    with suppress(RuntimeError):  # raised once TensorFlow has started its threads
        tf.config.threading.set_inter_op_parallelism_threads(parts)
        tf.config.threading.set_intra_op_parallelism_threads(1)
    processors = count_processors()
    if processors > parts and not tf.config.list_physical_devices("GPU"):
        log.warning(
            "Training uses %d of %d processors. With train.parts: %d it would take down to %.0f %% of the time; batch "
            "normalisation would then see that many smaller parts of a batch.",
            parts,
            processors,
            processors,
            100 * parts / processors,
        )


def describe_machine(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Describe what of this machine can change weights; an unfinished training goes on only where it is the same.

    Returns:
        `devices`: the GPUs, or the CPU with its instruction sets; `environment`: settings of TensorFlow and its
        libraries, as `NAME=VALUE`, separated by spaces.
    """
    gpus = [_name_gpu(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        "devices": ", ".join(gpus) or _name_cpu(),
        "environment": " ".join(f"{name}={value}" for name, value in find_recorded(environ).items()),
    }


def choose_precision(wanted: str) -> Precision:
    """Choose the precision; `auto` is bfloat16 where it is fast: on a GPU from Ampere on, on a CPU where measured so.

    A CPU whose instructions know bfloat16 may still convert on the way, so a product of matrices is timed in both.
    """
    if wanted != "auto":
        return "bfloat16" if wanted == "bfloat16" else "float32"
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return "bfloat16" if capability >= (8, 0) else "float32"
    if not _BFLOAT16.search(_read_cpuinfo()):
        return "float32"
    gain = measure_bfloat16_gain()
    precision: Precision = "bfloat16" if gain >= _LEAST_GAIN else "float32"
    log.info("A product of matrices is %.1f times as fast in bfloat16, so training is in %s.", gain, precision)
    return precision


def measure_bfloat16_gain() -> float:
    """Measure how many times as fast a product of matrices is in bfloat16 as in float32, in a fraction of a second."""
    seconds = []
    for kind in (tf.float32, tf.bfloat16):
        matrix = tf.cast(tf.random.stateless_normal((_SIDE, _SIDE), (0, 0)), kind)
        tf.matmul(matrix, matrix)
        seconds.append(min(timeit.repeat(lambda: tf.matmul(matrix, matrix).numpy(), number=1, repeat=5)))  # noqa: B023
    return seconds[0] / seconds[1]


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
