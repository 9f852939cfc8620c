"""Odd settings of the machine: variables, files in the home folder, locale, time zone, umask, number of processors."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.campaign import Tally
from landmarks.files.digests import compute_fingerprint, compute_sha256
from tiny_params import write_tiny_params

PROMISE = (
    "Settings that libraries take from the environment and the home folder change no result: they are overridden, or "
    "recorded in the run, or refused in one sentence."
)
TRIES = 4

ROOT = Path(__file__).parents[1]
TABLES = (["acquire"], ["validate"], ["select"], ["prepare"])
LEARNING = (
    ["train", "plain"],
    ["index", "plain"],
    ["evaluate", "plain"],
    ["classify", "--json", "--model", "models/plain", "data/raw/samples"],
)
# name, variables, and files in the home folder; a file `./NAME` stands in the working directory
ODD: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
    ({"KERAS_BACKEND": "jax"}, {}),
    ({"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}, {}),
    ({"KERAS_NNX_ENABLED": "1"}, {}),
    ({"TF_USE_LEGACY_KERAS": "1"}, {}),
    ({"TF_CONFIG": '{"cluster": {"worker": ["other:1"]}'}, {}),
    ({"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "4"}, {}),
    ({"DNNL_DEFAULT_FPMATH_MODE": "BF16", "TF_SET_ONEDNN_FPMATH_MODE": "BF16"}, {}),
    ({"MPLBACKEND": "what"}, {"./matplotlibrc": "font.size: 30\naxes.facecolor: black\nnonsense\n"}),
    ({"MPLCONFIGDIR": "/proc/none"}, {}),
    ({}, {".config/matplotlib/matplotlibrc": "savefig.dpi: 20\nfigure.dpi: 20\n"}),
    ({"PANDAS_FUTURE_INFER_STRING": "0", "PANDAS_COPY_ON_WRITE": "0"}, {}),
    ({"SKLEARN_ASSUME_FINITE": "true", "SCIPY_ARRAY_API": "1"}, {}),
    ({"TQDM_NCOLS": "x", "TQDM_TOTAL": "x", "TQDM_MININTERVAL": "x"}, {}),
    ({"GX_CLOUD_MODE": "true", "GX_CLOUD_BASE_URL": "http://nowhere.invalid", "GX_HOME": "/proc/none"}, {}),
    ({"BENTOML_CONFIG": "/none", "BENTOML_CONFIG_OPTIONS": "x"}, {}),
    ({"MLFLOW_RUN_ID": "0", "MLFLOW_EXPERIMENT_NAME": "other", "MLFLOW_EXPERIMENT_ID": "99"}, {}),
    ({"MLFLOW_ENABLE_ASYNC_LOGGING": "true", "MLFLOW_ACTIVE_MODEL_ID": "m-0"}, {}),
    ({"LC_ALL": "xx_YY.ISO-8859-1", "PYTHONIOENCODING": "latin-1"}, {}),
    ({"TZ": "Asia/Kathmandu"}, {}),
    ({"PYTHONHASHSEED": "7"}, {}),
    ({"PYTHONOPTIMIZE": "1"}, {}),
    ({"PYTHONWARNINGS": "error"}, {}),
    ({"COLUMNS": "20", "LINES": "3", "FORCE_COLOR": "1", "TERM": "dumb"}, {}),
    ({"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, {}),
    ({"GIT_DIR": str(ROOT / ".git"), "GIT_WORK_TREE": str(ROOT)}, {}),
    ({}, {".keras/keras.json": '{"image_data_format": "channels_first", "epsilon": 0.1}'}),
    ({}, {".keras/keras.json": '{"floatx": "float16", "backend": "torch", "nnx_enabled": true}'}),
)
# what is refused, by the last command of a try
REFUSED: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
    ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}),
    ({"PYTHONOPTIMIZE": "2"}, {}),
    ({}, {".keras/keras.json": '{"floatx": "bfloat16"}'}),
    ({}, {".keras/keras.json": "[]"}),
)
# these may change the last bits of the weights, and then stand in the tags of the run
RECORDED: tuple[dict[str, str], ...] = (
    {"TF_ENABLE_ONEDNN_OPTS": "0"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
)
MACHINE_TAGS = ("devices", "precision", "environment")


@dataclass
class Machine:
    """A machine with odd settings.

    Attributes:
        environ: variables.
        files: their content, by path below the home folder, or below the working directory for `./NAME`.
        umask: of all files that are made.
        processors: how many may be used; None for all.
    """

    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    umask: int = 0o022
    processors: int | None = None

    def describe(self) -> str:
        """Return all that it takes to repeat a try."""
        return json.dumps([self.environ, self.files, oct(self.umask), self.processors])


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Run the first four stages and the commands that learn and answer in turn, each on a machine with odd settings."""
    tally = Tally()
    rng = random.Random(seed)
    plain, before = _make_workspace(scratch / "plain"), scratch / "before learning"
    expected = {}
    for number in range(tries):
        commands = LEARNING if number % 2 else TABLES
        if number < 2:
            failure = _run(plain, Machine(), commands)
            if failure:
                tally.fail(f"without odd settings: {failure}")
                return tally
            expected[number] = dict(_describe_results(plain))
            if commands is TABLES:
                shutil.copytree(plain, before)
        machine = _draw_machine(rng, all_at_once=number < 2, recorded=number % 4 == 3)
        workspace = scratch / str(number)
        _make_workspace(workspace)
        if commands is LEARNING:
            for part in ("data", "reports"):
                shutil.copytree(before / part, workspace / part)
        _judge(tally, machine, _run(workspace, machine, commands), expected[number % 2], workspace)
        if number % 2:
            refused = Machine(*rng.choice(REFUSED))
            _judge_refusal(tally, refused, _run(workspace, refused, [["train", "plain"]]))
        shutil.rmtree(workspace)
    return tally


def _judge(tally: Tally, machine: Machine, failure: str, expected: Mapping[str, str], workspace: Path) -> None:
    if failure:
        tally.fail(f"{failure} with {machine.describe()}")
        return
    found = dict(_describe_results(workspace))
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if not differing:
        tally.count("same results")
    elif "tags" in differing:
        tally.count("recorded in the run")
    else:
        tally.fail(f"other results {differing} with {machine.describe()}")


def _judge_refusal(tally: Tally, machine: Machine, failure: str) -> None:
    if failure.startswith("Error: ") and "\n" not in failure:
        tally.count("refused in one sentence")
    else:
        tally.fail(f"{failure or 'not refused'} with {machine.describe()}")


def _draw_machine(rng: random.Random, all_at_once: bool, recorded: bool) -> Machine:
    """Draw all odd settings, or half of them; of those that exclude each other, the last one drawn counts."""
    machine = Machine(umask=rng.choice([0o022, 0o077, 0]))
    for environ, files in rng.sample(ODD, len(ODD) if all_at_once else len(ODD) // 2):
        machine.environ |= environ
        machine.files |= files
    if recorded:
        machine.environ |= rng.choice(RECORDED)
        machine.processors = rng.choice([None, 1])
    return machine


def _make_workspace(folder: Path) -> Path:
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    write_tiny_params(folder / "params.yaml", {"index": {"pca_dimensions": 8}})
    return folder


def _run(folder: Path, machine: Machine, commands: Sequence[Sequence[str]]) -> str:
    """Run commands; return the whole text of the first error, or an empty one."""
    home = folder / "home"
    for name, text in machine.files.items():
        path = folder / name if name.startswith("./") else home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CUDA_VISIBLE_DEVICES": "",
        "MLFLOW_DISABLE_TELEMETRY": "1",
    }
    allowed = set(sorted(os.sched_getaffinity(0))[: machine.processors])
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "landmarks.cli", *command],
            cwd=folder,
            env=environ | machine.environ,
            umask=machine.umask,
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
            check=False,
        )
        if done.returncode:
            printed = done.stderr.decode("utf-8", "replace").strip()
            # progress bars and messages of libraries stand before the error
            last = printed[printed.rfind("Error: ") :] if "Traceback" not in printed else printed[-600:]
            return last or f"{' '.join(command)} exited with {done.returncode}"
        if command[0] == "classify":
            (folder / "answers.json").write_bytes(done.stdout)
    return ""


def _describe_results(folder: Path) -> Iterator[tuple[str, str]]:
    """Describe all results: the digest of each file, without what clocks and absolute paths bring in.

    What is sealed with digests of other files is left out, since those are described themselves.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or not name.startswith(("data/", "models/", "reports/", "answers")):
            continue
        if path.name == "run.json":
            tags = json.loads(path.read_text(encoding="utf-8"))["tags"]
            yield "tags", compute_fingerprint({tag: tags.get(tag) for tag in (*MACHINE_TAGS, "git_commit")})
        elif path.name == "model.keras":
            with zipfile.ZipFile(path) as archive:
                yield name, str(archive.getinfo("model.weights.h5").CRC)
        elif path.name == "history.csv":
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [{k: v for k, v in row.items() if k != _SPEED} for row in csv.DictReader(stream)]
            yield name, compute_fingerprint(rows)
        elif path.name == "metrics.json":
            metrics = json.loads(path.read_text(encoding="utf-8"))
            yield name, compute_fingerprint({k: v for k, v in metrics.items() if k not in (_SPEED, "model_bytes")})
        elif path.name not in ("bundle.json", "index.json", "evaluation.json") and "data_docs" not in path.parts:
            yield name, compute_sha256(path)


_SPEED = "images_per_second"
