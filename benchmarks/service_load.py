"""The service beside the plain way, FastAPI and `model.predict`, in one run: `python benchmarks/service_load.py`.

Requests per second and latency at 1, 8 and 32 clients, and at 1 client beside the bare call: decoding and one run of
the network, in a process without a server. Targets: at 8 clients 10 times the requests per second of the plain way, as
many as LitServe, and a p99 within twice the p50; at 1 client p50 under 2 times the bare call. With `--beside-load`
everything is measured once more while another process keeps a processor busy. All of it stays on 127.0.0.1, and takes
two minutes, or twice that.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serving_setup import (
    Load,
    Served,
    build_requests,
    make_photos,
    make_recognizer,
    run_load,
    run_server,
    serve_recognizer,
)

CLIENTS = (1, 8, 32)
WARM_UP_SECONDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="recognizer directory; one of random weights where not given")
    parser.add_argument("--seconds", type=float, default=15, help="per row of the table")
    parser.add_argument("--beside-load", action="store_true", help="once more beside a process that is always busy")
    parser.add_argument("--litserve", metavar="PYTHON", help="of an environment with LitServe, to compare with it too")
    parser.add_argument("--plain", metavar="PORT", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain is not None:
        serve_plainly(options.model, options.plain)
        return
    with tempfile.TemporaryDirectory(prefix="landmarks-load-") as temporary:
        folder = Path(temporary)
        model = options.model.resolve() if options.model else make_recognizer(folder / "model")
        with contextlib.ExitStack() as stack:
            servers = {"service": stack.enter_context(serve_recognizer(model, folder))}
            if options.litserve:
                command = [options.litserve, str(Path(__file__).with_name("litserve_way.py")), "--model", str(model)]
                servers["LitServe"] = stack.enter_context(run_server(command, folder, "/health"))
            plain = [sys.executable, str(Path(__file__).resolve()), "--model", str(model), "--plain"]
            servers["plain"] = stack.enter_context(run_server(plain, folder, "/docs"))
            for name, server in servers.items():
                print(f"{name}: ready after {server.ready_seconds:.1f} s")
            compare(model, servers, options.seconds)
            if options.beside_load:
                with keep_busy():
                    compare(model, servers, options.seconds, " beside a busy process")
            print(f"\n{servers['service'].process.memory_info().rss / 1e6:.0f} MB resident at the end")


@contextlib.contextmanager
def keep_busy() -> Iterator[None]:
    """Keep a processor busy with another process."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def compare(model: Path, servers: dict[str, Served], seconds: float, where: str = "") -> None:
    """Measure all servers in turn and print a table and what it says of the targets."""
    photos = make_photos()
    bare = measure_bare_call(model, photos)
    requests = build_requests(photos)
    for server in servers.values():
        run_load(server.address, requests, 4, WARM_UP_SECONDS)
    loads: dict[tuple[str, int], Load] = {}
    print(
        f"\n| clients{where} | way | requests/s | p50 ms | p95 ms | p99 ms | not 200 |\n|---|---|---|---|---|---|---|"
    )
    for clients in CLIENTS:
        for way, server in servers.items():
            loads[way, clients] = run_load(server.address, requests, clients, seconds)
            print(f"| {clients} | {way} | {loads[way, clients].describe()} |", flush=True)
    ours = loads["service", 8]
    p50, p99 = (float(np.quantile(ours.seconds, part)) for part in (0.5, 0.99))
    print(f"\nat 8 clients {ours.rate / loads['plain', 8].rate:.1f} times the requests/s of the plain way (target 10)")
    if "LitServe" in servers:
        print(f"at 8 clients {ours.rate / loads['LitServe', 8].rate:.2f} times those of LitServe (target 1.0)")
    print(f"at 8 clients p99 is {p99 / p50:.1f} times p50 (target 2)")
    ratio = float(np.median(loads["service", 1].seconds)) / bare
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
