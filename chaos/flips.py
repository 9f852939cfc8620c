"""Change one bit of an artefact, and read it as the stages, the commands and the service do."""

import contextlib
import dataclasses
import hashlib
import logging
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from chaos.campaign import Tally
from landmarks.errors import LandmarksError
from landmarks.network.checkpoint import Checkpoint, Progress
from landmarks.network.trained import Training, open_network, write_network
from landmarks.params import Params, read_params
from landmarks.recognizer.format import check_recognizer
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.vocabulary import VOCABULARY_FILE, read_vocabulary
from landmarks.serving.receipt import Origin, PackageReceipt, read_receipt, write_receipt
from landmarks.serving.service import check_packaged_model
from landmarks.shards.format import open_shards, read_split
from landmarks.shards.photo_table import count_labels, iterate_attributions, read_photo_column
from landmarks.shards.plan import read_plan
from landmarks.stages.acquire import acquire
from landmarks.stages.register import register
from landmarks.stages.select import select
from landmarks.tables.photo_set import read_photo_set, write_photo_set
from landmarks.tracking.candidates import CHAMPION, find_champion, read_candidates
from landmarks.tracking.receipts import HISTORY_FILE, read_history
from landmarks.tracking.registry import download_recognizer, resolve_alias
from tiny_recognizers import BLUE, FORMAT, GREY, build_network, encode_png, make_pixels
from tiny_workspaces import EXPORT, Workspace, make_params, use_empty_store, write_workspace

PROMISE = "One altered bit in any artefact gives a clear error or the same answer, never another answer."
TRIES = 1000
_PARAMS = Path(__file__).parents[1] / "experiments/default.yaml"
_DEMO = {"landmarks": 3, "photos_per_landmark": 8, "distractor_photos": 6, "image_size": 64}


@dataclass(frozen=True)
class Artefact:
    """A folder of files, and how it is read.

    Attributes:
        name: for the report.
        folder: whose files are altered.
        read: all that can be learnt from the folder, as a text.
        accepted: other texts that are right too, such as that of the state before.
    """

    name: str
    folder: Path
    read: Callable[[], str]
    accepted: Sequence[str] = ()


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Alter one bit of one file, read the artefact, and restore the file, `tries` times."""
    draw = random.Random(seed)
    tally = Tally()
    with pytest.MonkeyPatch.context() as patch, _quiet():
        artefacts = list(_make_artefacts(scratch, patch))
        right = {one.name: {one.read(), *one.accepted} for one in artefacts}
        for number in range(tries):
            artefact = artefacts[number % len(artefacts)]
            path = draw.choice(sorted(path for path in artefact.folder.rglob("*") if path.is_file()))
            _try(artefact, path, draw, right[artefact.name], tally)
    return tally


def _try(artefact: Artefact, path: Path, draw: random.Random, right: set[str], tally: Tally) -> None:
    whole = path.read_bytes()
    if not whole:
        tally.count("empty file")
        return
    place, bit = draw.randrange(len(whole)), draw.randrange(8)
    altered = bytearray(whole)
    altered[place] ^= 1 << bit
    path.write_bytes(altered)
    where = f"{artefact.name}: bit {bit} of byte {place} of {path.relative_to(artefact.folder)}"
    try:
        answer = artefact.read()
    except LandmarksError:
        tally.count("refused")
    except Exception as error:  # noqa: BLE001 - what is looked for
        tally.fail(f"{where}: {type(error).__name__}: {str(error)[:200]}")
    else:
        if answer in right:
            tally.count("answered the same")
        else:
            tally.fail(f"{where}: another answer")
    finally:
        path.write_bytes(whole)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings about damage, which are wanted here."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _make_artefacts(scratch: Path, patch: pytest.MonkeyPatch) -> Iterator[Artefact]:
    params = read_params(_PARAMS)
    yield from _make_photo_sets(scratch / "sets", params)
    store = use_empty_store(patch, scratch / "store")
    workspace = write_workspace(scratch / "workspace")
    register(workspace.models, workspace.reports, workspace.shards, make_params(), EXPORT, workspace.root)
    models, reports = workspace.models, workspace.reports
    champion = models / "augmented"
    yield Artefact("shards", workspace.shards, lambda: _read_shards(workspace.shards))
    yield Artefact("recognizer, to answer", champion, lambda: _answer(champion))
    yield Artefact("recognizer, to evaluate and register", champion, lambda: check_recognizer(champion))
    yield Artefact("reports", reports, lambda: _read_reports(workspace))
    yield _make_network(scratch / "network")
    yield _make_checkpoint(scratch / "checkpoint")
    version = resolve_alias("tiny", CHAMPION)
    artifacts = next(store.parent.rglob("bundle.json")).parents[1]
    fetched = scratch / "fetched"
    yield Artefact("registered version", artifacts, lambda: _answer(download_recognizer(version, fetched)))
    yield _make_package(scratch / "package", champion, params)


def _make_photo_sets(folder: Path, params: Params) -> Iterator[Artefact]:
    raw, validated, selected = folder / "raw", folder / "validated", folder / "selected"
    demo = params.acquire.demo.model_copy(update=_DEMO)
    photo_set = read_photo_set(acquire(raw, params.acquire.model_copy(update={"demo": demo})))
    typed = {name: getattr(photo_set, name).astype({"landmark_id": "int64"}) for name in ("images", "names")}
    validated.mkdir()
    write_photo_set(validated, dataclasses.replace(photo_set, **typed))
    bounds = {"min_images_per_landmark": 2, "val_fraction": 0.3, "test_fraction": 0.3}
    select(validated, selected, folder / "reports", params.select.model_copy(update=bounds))
    yield Artefact("raw photo set", raw, lambda: _read_photo_set(raw))
    yield Artefact("selected photo set", selected, lambda: _read_selected(selected, params))


def _read_photo_set(folder: Path) -> str:
    found = vars(read_photo_set(folder))
    return repr([value.to_json() if isinstance(value, pd.DataFrame) else value for value in found.values()])


def _read_selected(folder: Path, params: Params) -> str:
    plan = read_plan(folder, params.prepare)
    return repr((plan.photos.to_pylist(), plan.shards, plan.landmarks, plan.source, _read_photo_set(folder)))


def _read_shards(folder: Path) -> str:
    manifest = open_shards(folder, tuple(Split))
    photos = [
        (image_id, label, hashlib.sha256(pixels.tobytes()).hexdigest())
        for split in Split
        for image_id, label, pixels in read_split(folder, split)
    ]
    counts = count_labels(folder, manifest, Split.TRAIN).tolist()
    near = read_photo_column(folder, "near_duplicate", [image_id for image_id, *_ in photos])
    attributions = list(iterate_attributions(folder, Split.TRAIN))
    return repr((manifest, photos, counts, near, attributions, read_vocabulary(folder / VOCABULARY_FILE)))


def _answer(folder: Path) -> str:
    recognizer = Recognizer.load(folder, threads=1)
    photos = [encode_png(make_pixels(colour, 1)) for colour in (BLUE, GREY)]
    return repr((recognizer.classify(photos), recognizer.search(photos)))


def _read_reports(workspace: Workspace) -> str:
    candidates = read_candidates(workspace.models, workspace.reports)
    histories = [read_history(candidate.training / HISTORY_FILE) for candidate in candidates]
    return repr((candidates, histories, find_champion(workspace.models, workspace.reports)))


def _make_network(folder: Path) -> Artefact:
    write_network(folder, build_network(), Training("plain", FORMAT, "shards", "float32"))
    return Artefact("trained network", folder, lambda: repr(open_network(folder)))


def _make_checkpoint(folder: Path) -> Artefact:
    def make_variables() -> list[keras.Variable]:
        return [keras.Variable(np.zeros((30, 10), np.float32)), keras.Variable(np.float32(0))]

    def resume() -> str:
        """Resume from a copy, because damaged states are deleted."""
        copy = Path(shutil.copytree(folder, folder.with_name("copied checkpoint"), dirs_exist_ok=False))
        try:
            variables, best = make_variables(), make_variables()
            checkpoint = Checkpoint(copy)
            progress = checkpoint.load(variables)
            if progress.epoch:
                checkpoint.load_best(progress, best)
            return repr((progress, [np.asarray(one).tolist() for one in (*variables, *best)]))
        finally:
            shutil.rmtree(copy)

    variables, checkpoint = make_variables(), Checkpoint(folder)
    folder.mkdir(parents=True)
    progress, states = Progress(), [resume()]
    for epoch in (1, 2, 3):
        for variable in variables:
            variable.assign(np.full(variable.shape, epoch / 7, np.float32))
        progress.epoch, progress.best_epoch = epoch, min(epoch, 2)
        checkpoint.save(progress, variables)
        states.append(resume())
    return Artefact("checkpoint", folder, resume, states)


def _make_package(folder: Path, recognizer: Path, params: Params) -> Artefact:
    """As BentoML's store has the model, and a Bento its receipt."""
    shutil.copytree(recognizer, folder / "model", ignore=shutil.ignore_patterns("*.keras"))
    origin = dict.fromkeys(Origin.model_fields) | {"metrics": {}, "fingerprint": check_recognizer(recognizer)}
    names = {name: name for name in ("tag", "model_tag", "model_name", "model_version", "run_id", "alias")}
    receipt = PackageReceipt(**names, origin=Origin.model_validate(origin), service=params.service)
    path = write_receipt(folder / "package.json", receipt)

    def serve() -> str:
        found = read_receipt(path)
        check_packaged_model(folder / "model", found.origin.fingerprint)
        return repr((found, _answer(folder / "model")))

    return Artefact("package", folder, serve)
