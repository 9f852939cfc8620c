"""What the benchmarks of serving share: a recognizer of the true size, its service, photos, and clients."""

import asyncio
import contextlib
import csv
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from landmarks.files.seals import compute_digests
from landmarks.params import read_params
from landmarks.recognizer.format import (
    DISTRACTORS_FILE,
    EMBEDDINGS_FILE,
    ITEMS_FILE,
    PCA_FILE,
    Bundle,
    Index,
    LogisticCoefficients,
    ScorerCoefficients,
    read_bundle,
    write_index_file,
)
from landmarks.recognizer.pca import PCA
from landmarks.recognizer.thumbnails import open_thumbnails
from landmarks.schema.network_format import ImageFormat
from landmarks.schema.vocabulary import Landmark
from landmarks.serving.receipt import RECEIPT_PATH, Origin, PackageReceipt, write_receipt

PROJECT = Path(__file__).parents[1]
LABELS, GALLERY_PHOTOS, IMAGE_SIZE = 44, 24_000, 64
RUN_ID = "0" * 32


def make_recognizer(folder: Path) -> Path:
    """A random ResNet-50 with 44 landmarks, a gallery of 24,000 random embeddings, and 3,000 known distractors.

    The gallery is along as many random directions as the default params say.
    """
    from landmarks.export.litert import export_bundle
    from landmarks.network.networks import build_classifier, build_recognizer
    from landmarks.network.trained import Training, write_network

    params = read_params(PROJECT / "experiments/default.yaml")
    landmarks = [Landmark(label, 1000 + label, f"Landmark {label}", 500, 50, 50) for label in range(LABELS)]
    network = build_recognizer(build_classifier(IMAGE_SIZE, LABELS, params.network), params.network.flip_tta)
    training = Training("plain", ImageFormat(IMAGE_SIZE, "crop", params.prepare.max_pixels), "none", "float32")
    trained = write_network(folder / "network", network, training)
    bundle = export_bundle(trained, folder / "bundle", landmarks, "int8")
    _write_gallery(folder / "index", read_bundle(bundle), params.index.pca_dimensions)
    return folder


def _write_gallery(folder: Path, bundle: Bundle, dimensions: int | None) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(GALLERY_PHOTOS, bundle.embedding_dim)).astype(np.float32)
    probe = tuple(embeddings[0].tolist())
    if dimensions:
        pca = PCA(np.linalg.qr(embeddings[:dimensions].T)[0])
        pca.save(folder / PCA_FILE)
        embeddings = pca.apply(embeddings)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.save(folder / EMBEDDINGS_FILE, embeddings.astype(np.float16))
    np.save(folder / DISTRACTORS_FILE, embeddings[::8].astype(np.float16))
    with (folder / ITEMS_FILE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("image_id", "label"))
        writer.writerows((f"{row:016x}", row % LABELS) for row in range(GALLERY_PHOTOS))
    with open_thumbnails(folder) as thumbnails:
        for _ in range(GALLERY_PHOTOS):
            thumbnails.add(random.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8))
    fusion = LogisticCoefficients(weights=(1.0, 5.0, 1.0, -5.0, 1.0, -1.0), bias=0.0)
    index = Index(
        bundle_fingerprint=bundle.fingerprint,
        photos=GALLERY_PHOTOS,
        scorer=ScorerCoefficients(landmark=fusion, answer=fusion, probe=LogisticCoefficients(weights=probe, bias=0.0)),
        threshold=0.5,
        precision_target=0.9,
        files=compute_digests(folder),
    )
    write_index_file(folder, index)


def make_photos(count: int = 32) -> list[bytes]:
    """Ordinary photos: JPEG, 800 x 600, about 80 kB."""
    photos = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8)).resize(
            (800, 600), Image.Resampling.BICUBIC
        )
        grain = random.integers(-6, 7, (600, 800, 3))
        pixels = np.clip(np.asarray(coarse).astype(int) + grain, 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=85)
        photos.append(stream.getvalue())
    return photos


@dataclass(frozen=True)
class Served:
    """A service in a process of its own; `process` is the one that answers."""

    address: str
    process: psutil.Process
    ready_seconds: float


@contextlib.contextmanager
def serve_recognizer(model: Path, folder: Path) -> Iterator[Served]:
    """`bentoml serve` of a recognizer directory, with a model store of its own."""
    home = folder / "bentoml"
    for store in ("models", "bentos", "tmp"):
        (home / store).mkdir(parents=True)
    os.environ.update(BENTOML_HOME=str(home), BENTOML_DO_NOT_TRACK="true")
    from landmarks.serving.packaging import import_recognizer

    tag = import_recognizer(model, "bench", "1", RUN_ID, {})
    origin = dict.fromkeys(Origin.model_fields) | {"metrics": {}}
    receipt = PackageReceipt(
        tag="bench:v1-none",
        model_tag=tag,
        model_name="bench",
        model_version="1",
        run_id=RUN_ID,
        alias="champion",
        origin=Origin.model_validate(origin),
        service=read_params(PROJECT / "experiments/default.yaml").service,
    )
    write_receipt(folder / RECEIPT_PATH, receipt)
    shutil.copy(PROJECT / "bentofile.yaml", folder)
    bentoml = Path(sys.executable).with_name("bentoml")
    with run_server([str(bentoml), "serve", "--host", "127.0.0.1", "--port"], folder, "/readyz") as served:
        yield served


@contextlib.contextmanager
def run_server(command: Sequence[str], folder: Path, ready_path: str) -> Iterator[Served]:
    """A server whose command ends with its port, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    with (
        (folder / "server.log").open("ab") as log,
        subprocess.Popen([*command, str(port)], cwd=folder, stdout=log, stderr=log) as process,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}{ready_path}", process)
            ready = time.perf_counter() - start
            parent = psutil.Process(process.pid)
            workers = [child for child in parent.children() if "_bentoml_impl.worker.service" in child.cmdline()]
            yield Served(f"127.0.0.1:{port}", workers[0] if workers else parent, ready)
        finally:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.terminate()
            for member in psutil.wait_procs(family, timeout=10)[1]:  # LitServe leaves its workers behind
                member.kill()


def _wait(address: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise SystemExit("the server ended before it was ready; its output is in server.log")


@dataclass
class Load:
    """What clients saw: seconds of each answer, and how often each status came."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    duration: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.seconds) / self.duration

    def describe(self) -> str:
        """Requests per second, p50, p95 and p99 in ms, and what was not 200."""
        p50, p95, p99 = (1000 * float(np.quantile(self.seconds, part)) for part in (0.5, 0.95, 0.99))
        failed = {status: count for status, count in self.statuses.items() if status != 200}
        return f"{self.rate:8.1f} | {p50:7.1f} | {p95:7.1f} | {p99:7.1f} | {failed or 'none'}"


def build_requests(photos: Sequence[bytes], path: str = "/classify") -> list[bytes]:
    """Whole HTTP requests, so that the clients, on the same cores, cost little."""
    made = []
    for photo in photos:
        head = (
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        )
        body = head + photo + b"\r\n--x--\r\n"
        lines = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        made.append(f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)
    return made


def run_load(address: str, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """So many clients, each with one connection, each sending its next request when it has its answer."""
    return asyncio.run(_run_load(address, requests, clients, seconds))


async def _run_load(address: str, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    load, start = Load(), time.perf_counter()
    await asyncio.gather(*(_run_client(address, requests, number, start + seconds, load) for number in range(clients)))
    load.duration = time.perf_counter() - start
    return load


async def _run_client(address: str, requests: Sequence[bytes], number: int, end: float, load: Load) -> None:
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    while (start := time.perf_counter()) < end:
        writer.write(requests[number % len(requests)])
        number += 1
        status = await _read_answer(reader)
        load.seconds.append(time.perf_counter() - start)
        load.statuses[status] = load.statuses.get(status, 0) + 1
    writer.close()


def send_once(address: str, requests: Sequence[bytes], clients: int) -> dict[int, int]:
    """Send each request once, so many at a time, each over a connection of its own; how often each status came."""
    return asyncio.run(_send_once(address, requests, clients))


async def _send_once(address: str, requests: Sequence[bytes], clients: int) -> dict[int, int]:
    host, port = address.split(":")
    free = asyncio.Semaphore(clients)

    async def send(request: bytes) -> int:
        async with free:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request)
            status = await _read_answer(reader)
            writer.close()
            return status

    return dict(Counter(await asyncio.gather(*map(send, requests))))


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ")[1])
