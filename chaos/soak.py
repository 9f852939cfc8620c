"""Honest load on a running service for minutes, with a hostile request now and then; the tries are its seconds."""

import base64
import io
import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from hostile_requests import MAKERS
from PIL import Image

from chaos.campaign import Tally
from chaos.requests import is_sound, send_hostile
from chaos.small_service import Served, serve_small

PROMISE = "Under honest load with hostile requests among it, memory, latency and open files stay level."
TRIES = 600
CLIENTS = 4
HOSTILE = 25  # of so many requests one is hostile
SAMPLE_SECONDS = 1.0
MOST_GROWTH = 1.1  # of memory, and
MOST_MORE_MEGABYTES = 30
MOST_SLOWER = 1.5
MOST_MORE_FILES = 8


@dataclass
class Sample:
    """What was measured in one part of the time: seconds of honest answers, resident MB and open files."""

    latency: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


class Soak:
    """The load, and what is measured in each quarter of it."""

    def __init__(self, served: Served, seconds: float, seed: int) -> None:
        self.tally = Tally()
        self.quarters = [Sample() for _ in range(4)]
        self._served = served
        self._seconds = seconds
        self._seed = seed
        self._begun = time.monotonic()
        self._photos = [_make_photo(number) for number in range(16)]

    def run(self) -> None:
        """Ask with all clients until the time is up."""
        over = threading.Event()
        sampler = threading.Thread(target=self._take_samples, args=(over,))
        sampler.start()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(self._ask, range(CLIENTS)))
        over.set()
        sampler.join()

    @property
    def _quarter(self) -> Sample | None:
        passed = int(4 * (time.monotonic() - self._begun) / self._seconds)
        return self.quarters[passed] if passed < len(self.quarters) else None

    def _take_samples(self, over: threading.Event) -> None:
        while not over.wait(min(SAMPLE_SECONDS, self._seconds / 40)):
            if quarter := self._quarter:
                quarter.memory.append(self._served.read_memory())
                quarter.files.append(self._served.worker.num_fds())

    def _ask(self, client: int) -> None:
        rng = random.Random(f"{self._seed}-{client}")
        with httpx.Client(base_url=self._served.address, timeout=60) as session:
            for number in itertools.count(client):
                if (quarter := self._quarter) is None:
                    return
                if number % HOSTILE == 0:
                    self._ask_hostilely(rng)
                    continue
                begun = time.monotonic()
                answer = self._ask_honestly(session, self._photos[number % len(self._photos)], number)
                quarter.latency.append(time.monotonic() - begun)
                if answer.status_code == 200:
                    self.tally.count("200 of honest requests")
                else:
                    self.tally.fail(f"an honest request was answered {answer.status_code}: {answer.text[:200]}")

    @staticmethod
    def _ask_honestly(session: httpx.Client, photo: bytes, number: int) -> httpx.Response:
        match number % 6:
            case 0:
                return session.post("/search", files={"image": photo})
            case 1:
                return session.post("/embed", content=photo, headers={"content-type": "image/jpeg"})
            case 2:
                return session.post("/classify", json={"image": base64.b64encode(photo).decode()})
            case 3:
                return session.get(f"/thumbnails/{'rgb'[number % 3]}0")
        return session.post("/classify", files={"image": photo})

    def _ask_hostilely(self, rng: random.Random) -> None:
        kind = rng.choice(list(MAKERS))
        outcome = send_hostile(self._served.port, MAKERS[kind](rng))
        if is_sound(outcome):
            self.tally.count("hostile requests answered below 500 or closed")
        else:
            self.tally.fail(f"{kind}: {outcome}")


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Load a service for that many seconds."""
    with serve_small(scratch) as served:
        soak = Soak(served, tries, seed)
        soak.run()
    _compare(soak)
    return soak.tally


def _compare(soak: Soak) -> None:
    """Compare the last quarter with the second; the first is for warming up."""
    (_, early, _, late), tally = soak.quarters, soak.tally
    memory = [float(np.mean(sample.memory)) for sample in (early, late)]
    latency = [1000 * float(np.median(sample.latency)) for sample in (early, late)]
    files = [max(sample.files) for sample in (early, late)]
    for name, values in (("MB", memory), ("ms", latency), ("open files", files)):
        for when, value in zip(("second", "last"), values, strict=True):
            tally.figures[f"{name} in the {when} quarter"] = round(value, 1)
    if memory[1] > max(memory[0] * MOST_GROWTH, memory[0] + MOST_MORE_MEGABYTES):
        tally.fail(f"memory grew from {memory[0]:.0f} to {memory[1]:.0f} MB")
    if latency[1] > latency[0] * MOST_SLOWER:
        tally.fail(f"the median answer took {latency[0]:.1f} ms, and {latency[1]:.1f} ms in the end")
    if files[1] > files[0] + MOST_MORE_FILES:
        tally.fail(f"{files[0]} files were open, and {files[1]} in the end")


def _make_photo(seed: int) -> bytes:
    """An ordinary photo: JPEG, 800 x 600, about 80 kB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    photo = Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=90)
    return stream.getvalue()
