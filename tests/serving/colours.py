"""A recognizer small enough to see through, and a service of it: in this process, or as `bentoml serve` runs it."""

import contextlib
import functools
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio.from_thread
import bentoml
import httpx
import numpy as np
import psutil
from PIL import Image
from starlette.applications import Starlette

from landmarks.files.seals import compute_digests, write_sealed
from landmarks.params import ServiceParams
from landmarks.recognizer.format import check_recognizer
from landmarks.recognizer.thumbnails import open_thumbnails
from landmarks.schema.vocabulary import Landmark, write_vocabulary
from landmarks.serving.packaging import build_bento
from landmarks.serving.receipt import RECEIPT_PATH, Origin, PackageReceipt, write_receipt
from local_servers import answers, find_free_port, wait_for

SIZE = 16
LANDMARKS = (
    Landmark(0, 7, "Red Tower", 2, 1, 1),
    Landmark(1, 11, "Grüne Brücke", 1, 1, 1),
    Landmark(2, 40, "Blue Dome", 1, 1, 1),
)
GALLERY = {"r0": (255, 0, 0), "r1": (255, 60, 0), "g0": (0, 255, 0), "b0": (0, 0, 255)}
THRESHOLD = 0.5
RUN_ID = "0123456789abcdef0123456789abcdef"
PROJECT = Path(__file__).parents[2]
BENTOML = Path(sys.executable).with_name("bentoml")
ORIGIN = Origin(
    variant="plain",
    registered="2026-01-31T12:00:00+00:00",
    metrics={"top1": 0.75},
    fingerprint=None,
    data_fingerprint="bb22",
    git_commit="cc33",
    dvc_lock=None,
)

# A process of its own: TensorFlow would stay in this one.
_EXPORT = f"""
import sys
import keras
from keras import layers, ops

inputs = keras.Input(({SIZE}, {SIZE}, 3), dtype="uint8")
colour = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(inputs))
embedding = layers.UnitNormalization(name="embedding")(colour)
probabilities = layers.Softmax(name="probabilities")(layers.Rescaling(10.0)(embedding))
model = keras.Model(inputs, {{"probabilities": probabilities, "embedding": embedding}})
model.export(sys.argv[1], format="litert", verbose=False)
"""


def make_photo(colour: tuple[int, int, int], side: int = 40, image_format: str = "PNG") -> bytes:
    """A photo of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(stream, image_format)
    return stream.getvalue()


def write_recognizer(folder: Path) -> Path:
    """Three landmarks, told apart by the mean colour of a photo."""
    bundle, index = folder / "bundle", folder / "index"
    bundle.mkdir()
    index.mkdir()
    subprocess.run([sys.executable, "-c", _EXPORT, str(bundle / "serving.tflite")], check=True, capture_output=True)
    (bundle / "model.keras").write_bytes(b"not needed to serve")
    write_vocabulary(bundle / "vocabulary.csv", LANDMARKS)
    facts = {
        "format": 2,
        "variant": "plain",
        "image_size": SIZE,
        "fit": "crop",
        "max_pixels": 50_000_000,
        "labels": 3,
        "embedding_dim": 3,
        "precision": "float32",
        "shards_fingerprint": "none",
        "files": compute_digests(bundle),
    }
    write_gallery(index, write_sealed(bundle / "bundle.json", facts))
    return folder


def write_gallery(index: Path, fingerprint: str) -> None:
    colours = np.array(list(GALLERY.values()), np.float32)
    np.save(index / "embeddings.npy", colours / np.linalg.norm(colours, axis=1, keepdims=True))
    rows = [f"{image_id},{'rgb'.index(image_id[0])}" for image_id in GALLERY]
    (index / "items.csv").write_text("\n".join(["image_id,label", *rows]) + "\n", encoding="utf-8")
    np.save(index / "distractors.npy", np.full((1, 3), 3**-0.5, np.float32))  # grey
    with open_thumbnails(index) as thumbnails:
        for colour in GALLERY.values():
            thumbnails.add(np.full((SIZE, SIZE, 3), colour, np.uint8))
    facts = {
        "format": 5,
        "bundle_fingerprint": fingerprint,
        "photos": len(GALLERY),
        # steep in the similarity to the nearest photo of the gallery, 0.5 at about 0.9
        "scorer": {
            "landmark": {"weights": [0.0, 40.0, 0.0, -0.1, 0.0], "bias": -36.0},
            "answer": {"weights": [0.0, 40.0, 0.0, -0.1, 0.0], "bias": -36.0},
            "probe": None,
        },
        "threshold": THRESHOLD,
        "precision_target": 0.9,
        "files": compute_digests(index),
    }
    write_sealed(index / "index.json", facts)


def pack(
    model_tag: str, limits: ServiceParams, version: str = "3", origin: Origin = ORIGIN, project: Path = PROJECT
) -> PackageReceipt:
    stored = bentoml.models.BentoModel(model_tag).stored
    fingerprint = check_recognizer(Path(stored.path), with_keras=False) if stored else None
    return build_bento(
        model_tag,
        model_name="colours",
        version=version,
        run_id=RUN_ID,
        alias="champion",
        origin=origin.model_copy(update={"fingerprint": fingerprint}),
        service=limits,
        project=project,
    )


def write_workspace(folder: Path, receipt: PackageReceipt) -> Path:
    """A project's root as `bentoml serve` sees it."""
    shutil.copy(PROJECT / "bentofile.yaml", folder)
    write_receipt(folder / RECEIPT_PATH, receipt)
    return folder


def find_server(address: str) -> psutil.Process:
    """The `bentoml serve` behind an address."""
    port = address.rsplit(":", 1)[1]
    (server,) = (child for child in psutil.Process().children() if {port, "serve"} <= set(child.cmdline()))
    return server


def find_worker(address: str) -> psutil.Process:
    """The process that answers at an address."""
    (worker,) = (
        child for child in find_server(address).children() if "_bentoml_impl.worker.service" in child.cmdline()
    )
    return worker


class Client:
    """Asks an application in this process; like a server, it answers a fault of ours with 500 and goes on."""

    def __init__(self, app: Starlette, portal: anyio.from_thread.BlockingPortal) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://service")
        self._portal = portal

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        return self._portal.call(functools.partial(self._client.request, method, path, **content))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.request("POST", path, **content)


def check_problem(answer: httpx.Response, status: int, words: str = "") -> dict[str, Any]:
    """An error is problem details (RFC 9457), with the id that the header tells, and shows nothing of the machine."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert list(problem) == ["type", "title", "status", "detail", "instance", "request_id", "error"]
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["instance"] == answer.request.url.raw_path.decode().partition("?")[0]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["error"] == problem["detail"]
    assert words in problem["detail"]
    for leak in ("Traceback", 'File "', ".py", "/tmp", "site-packages", "PIL", "Error("):
        assert leak not in answer.text
    return problem


@contextlib.contextmanager
def serve(
    arguments: list[str],
    folder: Path,
    program: Path = Path(sys.executable),
    settings: Mapping[str, str] = {},
    port: int | None = None,
) -> Iterator[str]:
    """A real `bentoml serve`, on a free port where none is given, once it is ready; gives its address."""
    port = port or find_free_port()
    command = [str(program.with_name("bentoml")), "serve", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "serve.log"
    environment = os.environ | settings
    with (
        log.open("ab") as output,  # another service of the same folder may be writing it
        subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environment) as process,
    ):
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/readyz"), process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)
