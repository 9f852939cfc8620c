"""What a network could be exported to for serving: speed, size, memory, and how far the answers move.

    python benchmarks/serving_formats.py [--model models/plain] [--shards data/shards] [--rounds 3]

One Keras model is exported to each format; each is then loaded in a process of its own, the formats in turn, and
answers for one photo and for eight. Agreement with the Keras model in float32 is counted on val and test together.
ONNX Runtime and OpenVINO are measured where they are installed, which the project itself does not need:
`pip install tf2onnx onnx onnxruntime openvino nncf`.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

Pixels = npt.NDArray[np.uint8]
Outputs = dict[str, npt.NDArray[np.float32]]
Runner = Callable[[Pixels], Outputs]

REPRESENTATIVE_PHOTOS = 200
SECONDS_PER_FIGURE = 4.0


# === Exporting ===


def export_all(model_dir: Path, shards: Path, folder: Path) -> list[str]:
    """Write every format below `folder`, and the photos with what the Keras model says of them; returns their names."""
    import keras
    import tensorflow as tf

    from landmarks.schema.columns import Split
    from landmarks.shards.format import read_split

    model = keras.saving.load_model(model_dir / "bundle" / "model.keras", compile=False, safe_mode=True)
    asked = [(label, pixels) for split in (Split.VAL, Split.TEST) for _, label, pixels in read_split(shards, split)]
    labels, photos = np.array([label for label, _ in asked]), np.stack([pixels for _, pixels in asked])
    expected = [model.predict_on_batch(photos[start : start + 128]) for start in range(0, len(photos), 128)]
    arrays: dict[str, Any] = {
        name: np.concatenate([part[name] for part in expected]) for name in ("probabilities", "embedding")
    }
    np.savez(folder / "expected.npz", photos=photos, labels=labels, **arrays)
    sample = [pixels for _, _, pixels in islice(read_split(shards, Split.TRAIN), REPRESENTATIVE_PHOTOS)]

    def represent() -> Any:
        yield from ([pixels[None]] for pixels in sample)

    smaller = [tf.lite.Optimize.DEFAULT]
    settings: dict[str, dict[str, Any]] = {
        "litert-float32": {},
        "litert-float16-weights": {
            "optimizations": smaller,
            "target_spec": {"supported_types": [tf.float16]},
        },
        "litert-8bit-weights": {"optimizations": smaller},
        "litert-8bit": {"optimizations": smaller, "representative_dataset": represent},
    }
    for name, wishes in settings.items():
        model.export(folder / f"{name}.tflite", format="litert", verbose=False, **wishes)
    model.export(folder / "savedmodel", format="tf_saved_model", verbose=False)
    found = [*settings, "savedmodel"]
    if importlib.util.find_spec("tf2onnx"):
        model.export(folder / "onnx.onnx", format="onnx", verbose=False)
        if importlib.util.find_spec("onnxruntime"):
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(folder / "onnx.onnx", folder / "onnx-8bit.onnx", weight_type=QuantType.QUInt8)
            found += ["onnx", "onnx-8bit"]
        found += ["openvino-float32", "openvino-bfloat16"] if importlib.util.find_spec("openvino") else []
        if importlib.util.find_spec("nncf"):
            quantize_openvino(folder, np.stack(sample))
            found.append("openvino-8bit")
    return found


def quantize_openvino(folder: Path, photos: Pixels) -> None:
    """Calibrate 8-bit weights and activations on photos."""
    import nncf
    import openvino

    dataset = nncf.Dataset([photo[None] for photo in photos])
    quantized = nncf.quantize(openvino.Core().read_model(folder / "onnx.onnx"), dataset, subset_size=len(photos))
    openvino.save_model(quantized, folder / "openvino-8bit.xml")


# === Running one of them ===


def load_litert(path: Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=2).get_signature_runner()
    (name,) = runner.get_input_details()
    return lambda photos: runner(**{name: photos})


def load_savedmodel(path: Path) -> Runner:
    import tensorflow as tf

    served = tf.saved_model.load(str(path))
    return lambda photos: {name: value.numpy() for name, value in served.serve(photos).items()}


def load_onnx(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (photo,) = session.get_inputs()
    return lambda photos: name_outputs(names, session.run(names, {photo.name: photos}))


def load_openvino(path: Path, precision: str) -> Runner:
    import openvino

    compiled = openvino.Core().compile_model(
        str(path), "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    )

    def run(photos: Pixels) -> Outputs:
        found = compiled(photos)
        return name_outputs([output.any_name for output in compiled.outputs], [found[o] for o in compiled.outputs])

    return run


def name_outputs(names: list[str], values: Any) -> Outputs:
    """Exporters keep the names, or number them: then the embedding is the one of unit length."""
    rows = [np.asarray(value, np.float32) for value in values]
    if set(names) == {"probabilities", "embedding"}:
        return dict(zip(names, rows, strict=True))
    first_sums_to_one = bool(np.allclose(rows[0].sum(axis=1), 1.0, atol=0.02))
    probabilities, embedding = rows if first_sums_to_one else rows[::-1]
    return {"probabilities": probabilities, "embedding": embedding}


def load(name: str, folder: Path) -> Runner:
    if name.startswith("litert"):
        return load_litert(folder / f"{name}.tflite")
    if name == "savedmodel":
        return load_savedmodel(folder / name)
    if name.startswith("openvino"):
        path = folder / ("openvino-8bit.xml" if name.endswith("8bit") else "onnx.onnx")
        return load_openvino(path, "bf16" if name.endswith("bfloat16") else "f32")
    return load_onnx(folder / f"{name}.onnx")


def measure_one(name: str, folder: Path, with_answers: bool) -> dict[str, float]:
    """In a fresh process: what loading and answering cost."""
    process = psutil.Process()
    with np.load(folder / "expected.npz") as stored:
        expected = {key: stored[key] for key in stored.files}
    photos = expected["photos"]
    before, started = process.memory_info().rss, time.perf_counter()
    run = load(name, folder)
    run(photos[:1])
    figures = {"load_seconds": time.perf_counter() - started}
    for count in (1, 8):
        figures[f"ms_{count}"] = 1000 * time_calls(run, photos[:count])
    figures["memory_mb"] = (process.memory_info().rss - before) / 1e6
    if with_answers:
        figures |= compare(run, expected)
    return figures


def time_calls(run: Runner, photos: Pixels) -> float:
    """Median seconds of a call."""
    seconds = []
    ends = time.perf_counter() + SECONDS_PER_FIGURE
    while time.perf_counter() < ends:
        started = time.perf_counter()
        run(photos)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:] or seconds)


def compare(run: Runner, expected: dict[str, Any]) -> dict[str, float]:
    parts = [run(expected["photos"][start : start + 8]) for start in range(0, len(expected["photos"]), 8)]
    answers = {name: np.concatenate([part[name] for part in parts]) for name in ("probabilities", "embedding")}
    best, wanted = answers["probabilities"].argmax(axis=1), expected["probabilities"].argmax(axis=1)
    return {
        "agreement": float(np.mean(best == wanted)),
        "min_cosine": float(np.sum(answers["embedding"] * expected["embedding"], axis=1).min()),
        "top1_change": float(np.mean(best == expected["labels"]) - np.mean(wanted == expected["labels"])),
    }


# === The table ===


def measure_size(name: str, folder: Path) -> float:
    stem = "onnx" if name in ("openvino-float32", "openvino-bfloat16") else name
    found = [path for path in folder.iterdir() if path.stem == stem]
    files = [file for path in found for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/plain"))
    parser.add_argument("--shards", type=Path, default=Path("data/shards"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("NAME", "FOLDER", "ROUND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_one(args.one[0], Path(args.one[1]), args.one[2] == "0")))
        return
    with tempfile.TemporaryDirectory(prefix="landmarks-formats-") as temporary:
        folder = Path(temporary)
        names = export_all(args.model, args.shards, folder)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range(args.rounds):
            for name in names:
                command = [sys.executable, __file__, "--one", name, str(folder), str(number)]
                finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
                if finished.returncode == 0:
                    rounds[name].append(json.loads(finished.stdout.splitlines()[-1]))
        print("| format | MB | load s | memory MB | 1 photo ms | 8 photos ms | agreement | min cosine | top-1 |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, found in rounds.items():
            print(describe(name, found, measure_size(name, folder)))


def describe(name: str, found: list[dict[str, float]], megabytes: float) -> str:
    if not found:
        return f"| {name} | {megabytes:.0f} | does not run | | | | | | |"
    median = {key: statistics.median(one[key] for one in found) for key in found[-1]}
    first = found[0]
    cost = f"{median['load_seconds']:.2f} | {median['memory_mb']:.0f} | {median['ms_1']:.1f} | {median['ms_8']:.1f}"
    answers = f"{first['agreement']:.2%} | {first['min_cosine']:.4f} | {100 * first['top1_change']:+.2f}"
    return f"| {name} | {megabytes:.0f} | {cost} | {answers} |"


if __name__ == "__main__":
    main()
