"""Fuzzing of the JSON files that the pipeline reads back: damaged bytes, other structures, types and values."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.campaign import Tally, try_reader
from landmarks.evaluation.receipt import (
    METRICS_FILE,
    EvaluationReceipt,
    read_evaluation_receipt,
    write_evaluation_receipt,
)
from landmarks.files.seals import read_sealed, write_sealed
from landmarks.files.writing import write_json
from landmarks.params import read_params
from landmarks.recognizer.format import (
    INDEX_FORMAT,
    LogisticCoefficients,
    ScorerCoefficients,
    read_bundle,
    read_index,
    write_bundle_file,
)
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat
from landmarks.serving.receipt import Origin, PackageReceipt
from landmarks.serving.receipt import read_receipt as read_package
from landmarks.serving.receipt import write_receipt as write_package
from landmarks.shards.format import read_manifest, write_manifest
from landmarks.tracking.receipts import DatasetInfo, Receipt, read_receipt, write_receipt

PROMISE = "A damaged receipt is refused with an error of ours, or gives the same values, within 2 s."
TRIES = 10_000

_PROJECT = Path(__file__).parents[1]
_RUN: dict[str, Any] = {
    "run_id": "0" * 32,
    "experiment": "demo",
    "variant": "augmented",
    "params": {"train.epochs": "10"},
    "tags": {"git_commit": "a" * 40},
    "metrics": {"best_epoch": 7, "loss": 0.25},
    "started_ms": 1_700_000_000_000,
    "ended_ms": 1_700_000_060_000,
}
_METRICS = {"top1": 0.9, "top1_low": 0.8, "top1_high": 0.95, "top5": 1.0, "test_photos": 144}
_REGISTRATION = {
    "model_name": "demo",
    "metric": "top1",
    "champion": "augmented",
    "tags": {"git_commit": "a" * 40},
    "versions": {"augmented": {"version": "2", "run_id": "0" * 32, "fingerprint": "f" * 64, "scores": _METRICS}},
    "previous_champion": None,
}
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        0.5,
        10**400,
        -(2**63),
        2**64,
        float("nan"),
        float("inf"),
        "",
        "1",
        "a\0b",
        "\ud800",
    ),
    *("../../x", "é", [], {}, [[]], {"": 0}, [None], "9" * 5000),
)
_PIECES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"{",
    b"}",
    b"[",
    b'"',
    b",",
    b":",
    b"1e999",
    b"NaN",
    b"[" * 3000,
    b'{"a":' * 3000,
)


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Damage each receipt in turn at random, and read it as the commands do."""
    tally, generator = Tally(), random.Random(seed)
    targets = _write_all(scratch)
    known = {path: (path.read_bytes(), read(path)) for path, read in targets}
    for number in range(tries):
        path, read = targets[number % len(targets)]
        whole, expected = known[path]
        path.write_bytes(damage_json(json.loads(whole), generator))
        what = f"try {number} of seed {seed}: {path.name}"
        found = try_reader(tally, read, path, what)
        if found is not None and found != expected:
            tally.fail(f"{what}: other values")
        path.write_bytes(whole)
    return tally


def damage_json(value: Any, generator: random.Random) -> bytes:
    """Return JSON with one or two changes of its values, its structure or its bytes."""
    if generator.random() < 0.1:  # another layout of the same values
        layout = dict(reversed(value.items()))
        return json.dumps(layout, indent=generator.choice((None, 1, 8)), ensure_ascii=False).encode()
    value = copy.deepcopy(value)
    for _ in range(generator.choice((1, 1, 2))):
        _change_one(value, generator)
    if generator.random() < 0.05:
        value = generator.choice((*_VALUES, [value]))
    data = bytearray(json.dumps(value).encode())
    if generator.random() < 0.25:
        for _ in range(generator.randrange(1, 5)):
            place = generator.randrange(len(data) + 1)
            data[place : place + generator.choice((0, 1, 1, 30))] = generator.choice(_PIECES)
    elif generator.random() < 0.05:
        data[-1:] = b", " + data[1:]  # every key twice
    return bytes(data)


def _change_one(holder: Any, generator: random.Random) -> None:
    """Replace, remove or add a value of a list or mapping, or of one inside of it."""
    places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if not places:
        return
    place = generator.choice(places)
    change = generator.random()
    if isinstance(holder[place], dict | list) and change < 0.7:
        _change_one(holder[place], generator)
    elif change < 0.85:
        holder[place] = generator.choice(_VALUES)
    elif change < 0.95:
        del holder[place]
    elif isinstance(holder, dict):
        holder[generator.choice(("", "extra", "\0", f"{place}x"))] = generator.choice(_VALUES)


def _write_all(folder: Path) -> list[tuple[Path, Callable[[Path], Any]]]:
    """Write valid receipts, and return what reads each of them."""
    train, evaluation, bundle, index, shards = (
        folder / name for name in ("train", "evaluation", "bundle", "index", "shards")
    )
    for path in (train, evaluation, bundle, index, shards):
        path.mkdir()
    run, package = train / "run.json", folder / "package.json"
    write_receipt(run, Receipt(**_RUN, dataset=DatasetInfo("demo", "f" * 64, 720, 24)))
    write_json(evaluation / METRICS_FILE, _METRICS)
    write_evaluation_receipt(evaluation, EvaluationReceipt("f" * 64, "e" * 64, {"evaluate.seed": 0}))
    write_sealed(folder / "registration.json", _REGISTRATION)
    texts = dict.fromkeys(("variant", "registered", "fingerprint", "data_fingerprint", "git_commit", "dvc_lock"), "x")
    names = dict.fromkeys(("tag", "model_tag", "model_name", "model_version", "run_id", "alias"), "x:1")
    service = read_params(_PROJECT / "experiments" / "default.yaml").service
    write_package(package, PackageReceipt(**names, origin=Origin(**texts, metrics=_METRICS), service=service))
    image_format = ImageFormat(48, "crop", 10**6)
    written = write_bundle_file(
        bundle,
        variant="augmented",
        image_format=image_format,
        labels=24,
        embedding_dim=64,
        precision="float32",
        shards_fingerprint="f" * 64,
    )
    model = LogisticCoefficients(weights=(0.5, -1.0), bias=0.25)
    scorer = ScorerCoefficients(landmark=model, answer=model, probe=None)
    facts = {"bundle_fingerprint": written.fingerprint, "photos": 3, "threshold": 0.5, "precision_target": 0.9}
    write_sealed(index / "index.json", {"format": INDEX_FORMAT, **facts, "scorer": scorer.model_dump(), "files": {}})
    write_manifest(shards, image_format, 24, {Split.TRAIN: []})
    return [
        (run, lambda _: read_receipt(run)),
        (evaluation / METRICS_FILE, lambda _: read_evaluation_receipt(evaluation)),
        (evaluation / "evaluation.json", lambda _: read_evaluation_receipt(evaluation)),
        (folder / "registration.json", lambda _: read_sealed(folder / "registration.json")),
        (package, lambda _: read_package(package)),
        (bundle / "bundle.json", lambda _: read_bundle(bundle)),
        (index / "index.json", lambda _: read_index(index)),
        (shards / "shards.json", lambda _: read_manifest(shards)),
    ]
