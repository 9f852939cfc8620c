"""Kills of `landmarks tag` and of `landmarks tag --undo` over a folder of photos, some with sidecars of others."""

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from chaos.campaign import Tally
from landmarks.albums.xmp import Sidecar
from landmarks.files.parsing import read_json
from tiny_recognizers import BLUE, GREEN, GREY, RED, make_photos, write_tiny_bundle, write_tiny_index

PROMISE = (
    "`landmarks tag` may be killed (`kill -9`) at any moment: the next run ends with the same sidecars, byte for byte, "
    "and leaves nothing else. So may `--undo`, which ends with the bytes of before."
)
TRIES = 20
_PHOTOS = 240
_COLOURS = (RED, GREEN, BLUE, GREY)


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Kill a run and an undo once per try, each at a random moment."""
    tally, rng = Tally(), random.Random(f"albums {seed}")
    model, album = write_model(scratch / "model"), scratch / "album"
    write_album(album, rng)
    before = read_tree(album)
    tag = [sys.executable, "-m", "landmarks.cli", "tag", str(album), "--model", str(model)]
    undo = [sys.executable, "-m", "landmarks.cli", "tag", str(album), "--undo"]
    _run(tag, scratch / "first")
    tagged = read_tree(album)
    _run(undo, scratch / "first")
    if read_tree(album) != before or tagged == before:
        tally.fail("an undisturbed run and its undo do not end with the bytes of before")
    for number in range(tries):
        cache, part = scratch / f"cache-{number}", rng.random()
        # half of the undone runs were killed themselves, so that undo finds what a kill leaves
        steps = [("tag", tag, tagged), ("undo", undo, before)]
        for name, command, expected in steps if number % 2 else [("tag", tag, None), *steps[1:]]:
            was_killed = _kill(command, cache, album, part)
            if expected is not None:
                _run(command, cache)
            if expected is None or read_tree(album) == expected:
                tally.count(f"{name} {'killed' if was_killed else 'ended first'}")
            else:
                tally.fail(f"try {number}, {name} killed at {part:.0%}: other files than without a kill")
    return tally


def write_model(folder: Path) -> Path:
    """Write a recognizer of three colours."""
    bundle = write_tiny_bundle(folder / "bundle")
    gallery = [photo for label in range(3) for photo in make_photos(label, label, [_COLOURS[label]])]
    write_tiny_index(folder / "index", read_json(bundle / "bundle.json")["fingerprint"], gallery, 0.5)
    return folder


def write_album(folder: Path, rng: random.Random) -> None:
    """Write photos into folders; every fourth has a sidecar already."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    for number in range(_PHOTOS):
        photo = folder / f"{number % 5}" / f"IMG_{number}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.array(_COLOURS[number % 4]) + noise.integers(-20, 21, (48, 64, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(photo, "JPEG", quality=95)
        if number % 4 == 1:
            photo.with_name(f"{photo.name}.xmp").write_bytes(Sidecar.make().serialize() + b"\n" * number)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Read all files, of hidden folders too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _run(command: list[str], cache: Path) -> None:
    subprocess.run(command, check=True, capture_output=True, env=_environment(cache))


def _kill(command: list[str], cache: Path, album: Path, part: float) -> bool:
    """Kill a command once it has changed a part of the sidecars; return whether it was still running."""
    target, started = max(1, round(part * _PHOTOS * 3 // 4)), _look(album)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(cache))
    while process.poll() is None and len(_look(album) ^ started) < target:
        time.sleep(0.001)
    was_running = process.poll() is None
    process.kill()
    process.wait()
    return was_running


def _look(album: Path) -> set[tuple[str, int]]:
    """Tell the sidecars and the times of their last changes."""
    found = set()
    for parent, _, names in os.walk(album):  # unlike rglob, it does not mind folders that vanish
        for path in (Path(parent, name) for name in names if name.endswith(".xmp")):
            with suppress(FileNotFoundError):
                found.add((str(path), path.stat().st_mtime_ns))
    return found


def _environment(cache: Path) -> dict[str, str]:
    # the time stands in each sidecar
    return os.environ | {"LANDMARKS_CACHE": str(cache), "SOURCE_DATE_EPOCH": "1800000000"}
