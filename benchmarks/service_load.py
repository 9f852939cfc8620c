"""The service beside the plain way, FastAPI and `model.predict`, in one run: `python benchmarks/service_load.py`.

Requests per second and latency at 1, 8 and 32 clients, and at 1 client beside the bare call: decoding and one run of
the network, in a process without a server. Targets: at 8 clients 5 times the requests per second of the plain way; at
1 client p50 under 2 times the bare call. All of it stays on 127.0.0.1, and takes two minutes.
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from serving_setup import build_requests, make_photos, make_recognizer, run_load, run_server, serve_recognizer

CLIENTS = (1, 8, 32)
WARM_UP_SECONDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="recognizer directory; one of random weights where not given")
    parser.add_argument("--seconds", type=float, default=15, help="per row of the table")
    parser.add_argument("--plain", metavar="PORT", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain is not None:
        serve_plainly(options.model, options.plain)
        return
    with tempfile.TemporaryDirectory(prefix="landmarks-load-") as temporary:
        folder = Path(temporary)
        model = options.model.resolve() if options.model else make_recognizer(folder / "model")
        compare(model, folder, options.seconds)


def compare(model: Path, folder: Path, seconds: float) -> None:
    photos = make_photos()
    bare = measure_bare_call(model, photos)
    requests = build_requests(photos)
    plain_command = [sys.executable, str(Path(__file__).resolve()), "--model", str(model), "--plain"]
    with serve_recognizer(model, folder) as ours, run_server(plain_command, folder, "/docs") as plain:
        for address in (ours.address, plain.address):
            run_load(address, requests, 4, WARM_UP_SECONDS)
        rates, medians = {}, {}
        print("| clients | way | requests/s | p50 ms | p95 ms | p99 ms | not 200 |\n|---|---|---|---|---|---|---|")
        for clients in CLIENTS:
            for way, address in (("service", ours.address), ("plain", plain.address)):
                load = run_load(address, requests, clients, seconds)
                rates[way, clients], medians[way, clients] = load.rate, float(np.median(load.seconds))
                print(f"| {clients} | {way} | {load.describe()} |", flush=True)
        memory = ours.process.memory_info().rss / 1e6
    speedup, ratio = rates["service", 8] / rates["plain", 8], medians["service", 1] / bare
    print(f"\nready after {ours.ready_seconds:.1f} s (plain {plain.ready_seconds:.1f} s)")
    print(f"{memory:.0f} MB resident at the end")
    print(f"at 8 clients {speedup:.1f} times the requests/s of the plain way (target 5)")
    print(
        f"at 1 client p50 {ratio:.2f} times decoding and one run of the network, {1000 * bare:.1f} ms (target under 2)"
    )


def measure_bare_call(model: Path, photos: list[bytes]) -> float:
    """Median seconds of decoding a photo and running the network on it."""
    from landmarks.photos.decoding import decode_image
    from landmarks.recognizer.serving_network import ServingNetwork

    network = ServingNetwork.load(model / "bundle")
    seconds = []
    for photo in photos * 5:
        start = time.perf_counter()
        network.run(decode_image(photo, network.image_format)[None])
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[len(photos) :]))


def serve_plainly(model: Path, port: int) -> None:
    """The plain way: the Keras model of the same bundle behind FastAPI, one `predict` for each request."""
    import keras
    import uvicorn
    from fastapi import FastAPI, UploadFile
    from PIL import Image

    network = keras.models.load_model(model / "bundle" / "model.keras", compile=False)
    size = network.input_shape[1]
    app = FastAPI()

    @app.post("/classify")
    def classify(image: UploadFile) -> dict[str, Any]:
        photo = Image.open(io.BytesIO(image.file.read())).convert("RGB").resize((size, size))
        probabilities = network.predict(np.asarray(photo)[None], verbose=0)["probabilities"][0]
        best = np.argsort(-probabilities)[:5]
        return {"predictions": [{"label": int(label), "score": float(probabilities[label])} for label in best]}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
