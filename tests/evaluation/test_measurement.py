"""Evaluation decodes each photo once, and of the gallery only what is drawn."""

from collections import Counter
from pathlib import Path

import pytest

from landmarks.evaluation.measurement import measure
from landmarks.export.indexing import build_index
from landmarks.params import EvaluateParams, IndexParams
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.columns import Split
from landmarks.schema.network_format import Pixels
from landmarks.shards import format as shard_format
from tiny_recognizers import BLUE, COLOURS, GREY, RED, make_photos, write_tiny_bundle, write_tiny_shards

pytestmark = pytest.mark.slow

PARAMS = EvaluateParams(bootstrap_samples=100, calibration_bins=10, gallery_photos=3, confusions=5, queries=2, seed=0)
INDEX = IndexParams(precision_target=0.9, distractor_penalty=True, pca_dimensions=None, thumbnails=False)
PHOTOS = {
    Split.TRAIN: [
        photo for label, colour in enumerate(COLOURS) for photo in make_photos(0x100 * (label + 1), label, [colour] * 9)
    ],
    Split.VAL: [
        photo for label, colour in enumerate(COLOURS) for photo in make_photos(0x1000 + 16 * label, label, [colour] * 3)
    ],
    Split.TEST: [*make_photos(0x5000, 0, [RED, RED, RED, RED, BLUE, BLUE]), *make_photos(0x5200, 2, [BLUE, BLUE])],
    Split.DISTRACTORS_VAL: make_photos(0x6000, -1, [GREY] * 4),
    Split.DISTRACTORS_TEST: make_photos(0x7000, -1, [GREY] * 5),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measure")
    manifest = write_tiny_shards(folder / "shards", PHOTOS)
    write_tiny_bundle(folder / "model/bundle", shards_fingerprint=manifest.fingerprint)
    build_index(folder / "shards", folder / "model", INDEX)
    return folder


def test_each_photo_is_decoded_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: Counter[bytes] = Counter()
    decode = shard_format.decode_png

    def count(data: bytes) -> Pixels:
        decoded[data] += 1
        return decode(data)

    monkeypatch.setattr(shard_format, "decode_png", count)
    found = measure(project / "shards", project / "model", PARAMS)
    shown = {item.image_id for example in found.examples for item, _ in example.neighbours}
    evaluated = sum(len(photos) for split, photos in PHOTOS.items() if split != Split.TRAIN)
    assert set(decoded.values()) == {1}
    assert len(decoded) == evaluated + len(shown)


def test_what_is_drawn_is_what_was_found(project: Path) -> None:
    found = measure(project / "shards", project / "model", PARAMS)
    table = found.tables.predictions.set_index("image_id")
    right = table["actual"] == table["predicted"]
    assert (len(found.right_photos), len(found.wrong_photos)) == (3, 2)
    assert all(right[image_id] for image_id in found.right_photos)
    worst_first = table[~right].sort_values("score", ascending=False, kind="stable").index.tolist()
    assert list(found.wrong_photos) == worst_first
    pixels = {photo.image_id: photo.pixels for photos in PHOTOS.values() for photo in photos}
    for image_id, photo in {**found.right_photos, **found.wrong_photos}.items():
        assert (photo == pixels[image_id]).all()
    recognizer = Recognizer.load(project / "model")
    assert len(found.examples) == PARAMS.queries
    for example in found.examples:
        neighbours = recognizer.search_pixels(example.pixels[None], 5)[0]
        assert [item for item, _ in example.neighbours] == neighbours
        for item, photo in example.neighbours:
            assert (photo == pixels[item.image_id]).all()
