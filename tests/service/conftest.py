"""A recognizer small enough to see through: three landmarks, told apart by the mean colour of a photo."""

import contextlib
import functools
import io
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import numpy as np
import pytest
from bentoml._internal.bento import BentoStore
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from PIL import Image
from starlette.applications import Starlette

from landmarks.adapters.bento import build_bento, import_recognizer
from landmarks.data.vocabulary import Landmark, write_vocabulary
from landmarks.files import compute_fingerprint, compute_sha256, write_json
from landmarks.params import ServiceParams
from landmarks.service import build_service
from landmarks.serving.receipt import RECEIPT_PATH, PackageReceipt

SIZE = 16
LANDMARKS = (
    Landmark(0, 7, "Red Tower", 2, 1, 1),
    Landmark(1, 11, "Grüne Brücke", 1, 1, 1),
    Landmark(2, 40, "Blue Dome", 1, 1, 1),
)
GALLERY = {"r0": (255, 0, 0), "r1": (255, 60, 0), "g0": (0, 255, 0), "b0": (0, 0, 255)}
THRESHOLD = 0.9
RUN_ID = "0123456789abcdef0123456789abcdef"
PROJECT = Path(__file__).parents[2]

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


@pytest.fixture(scope="session")
def recognizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recognizer")
    bundle, index = folder / "bundle", folder / "index"
    bundle.mkdir()
    index.mkdir()
    subprocess.run([sys.executable, "-c", _EXPORT, str(bundle / "serving.tflite")], check=True, capture_output=True)
    (bundle / "model.keras").write_bytes(b"not needed to serve")
    write_vocabulary(bundle / "vocabulary.csv", LANDMARKS)
    facts = {
        "format": 1,
        "variant": "plain",
        "image_size": SIZE,
        "fit": "crop",
        "max_pixels": 50_000_000,
        "labels": 3,
        "embedding_dim": 3,
        "shards_fingerprint": "none",
        "files": {path.name: compute_sha256(path) for path in bundle.iterdir()},
    }
    fingerprint = compute_fingerprint(facts)
    write_json(bundle / "bundle.json", {**facts, "fingerprint": fingerprint})
    write_gallery(index, fingerprint)
    return folder


def write_gallery(index: Path, fingerprint: str) -> None:
    colours = np.array(list(GALLERY.values()), np.float32)
    np.save(index / "embeddings.npy", colours / np.linalg.norm(colours, axis=1, keepdims=True))
    rows = [f"{image_id},{'rgb'.index(image_id[0])}" for image_id in GALLERY]
    (index / "items.csv").write_text("\n".join(["image_id,label", *rows]) + "\n", encoding="utf-8")
    facts = {
        "format": 1,
        "bundle_fingerprint": fingerprint,
        "photos": len(GALLERY),
        "threshold": THRESHOLD,
        "precision_target": 0.9,
        "files": {path.name: compute_sha256(path) for path in index.iterdir()},
    }
    write_json(index / "index.json", facts)


@pytest.fixture(scope="session")
def limits() -> ServiceParams:
    return ServiceParams(max_body_bytes=2_000_000, max_pixels=4_000_000, default_k=2, max_k=50, max_batch_photos=4)


@pytest.fixture(scope="session")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """BentoML's stores, for this process and those it starts."""
    home = tmp_path_factory.mktemp("bentoml")
    for store in ("models", "bentos", "tmp"):
        (home / store).mkdir()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("BENTOML_HOME", str(home))
        patch.setenv("BENTOML_DO_NOT_TRACK", "True")
        stack.enter_context(BentoMLContainer.model_store.patch(ModelStore(home / "models")))
        stack.enter_context(BentoMLContainer.bento_store.patch(BentoStore(home / "bentos")))
        stack.enter_context(BentoMLContainer.tmp_bento_store_dir.patch(str(home / "tmp")))
        yield home


@pytest.fixture(scope="session")
def model_tag(bentoml_home: Path, recognizer_folder: Path) -> str:
    assert bentoml_home.is_dir()
    return import_recognizer(recognizer_folder, "colours", "3", RUN_ID, {"trained_by": "nobody"})


@pytest.fixture(scope="session")
def receipt(model_tag: str, limits: ServiceParams) -> PackageReceipt:
    return build_bento(
        model_tag, model_name="colours", version="3", run_id=RUN_ID, alias="champion", service=limits, project=PROJECT
    )


@pytest.fixture(scope="session")
def workspace(receipt: PackageReceipt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's root as `bentoml serve` sees it."""
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copy(PROJECT / "bentofile.yaml", folder)
    write_json(folder / RECEIPT_PATH, receipt.model_dump(mode="json"))
    return folder


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


@pytest.fixture(scope="session")
def client(receipt: PackageReceipt) -> Iterator[Client]:
    app = build_service(receipt).to_asgi()
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield Client(app, portal)


@contextlib.contextmanager
def serve(arguments: list[str], folder: Path, program: Path = Path(sys.executable)) -> Iterator[str]:
    """A real `bentoml serve` on a free port, once it is ready; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(program.with_name("bentoml")), "serve", *arguments, "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "serve.log"
    with log.open("wb") as output, subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as process:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"the service did not get ready:\n{log.read_text(errors='replace')}")
