import json
import random
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_sha256
from landmarks.files.seals import write_sealed
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat, Pixels
from landmarks.shards.format import (
    MANIFEST_FILE,
    Record,
    Shard,
    encode_png,
    iterate_batches,
    open_shards,
    read_manifest,
    read_photos,
    read_shard,
    read_split,
    write_manifest,
    write_shard,
)
from landmarks.shards.tfrecord import frame_record

SIZE = 32
FORMAT = ImageFormat(SIZE, "crop", 10**6)


def make_pixels(count: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def make_records(pixels: Pixels, first: int = 0) -> list[Record]:
    return [Record(f"{first + i:016x}", (i % 5) - 1, encode_png(p), SIZE) for i, p in enumerate(pixels)]


def make_shards(folder: Path, counts: tuple[int, ...] = (7, 0, 4)) -> list[tuple[str, int, Pixels]]:
    """Write shards of the train split with the given numbers of photos, and return their content."""
    pixels = make_pixels(sum(counts))
    shards, start = [], 0
    for number, count in enumerate(counts):
        path = folder / f"train-{number:05d}-of-{len(counts):05d}.tfrecord"
        assert write_shard(path, make_records(pixels[start : start + count], start)) == count
        shards.append(Shard(path.name, count, path.stat().st_size, compute_sha256(path)))
        start += count
    write_manifest(folder, FORMAT, 4, {Split.TRAIN: shards})
    records = [r for s in shards for r in read_shard(folder / s.file)]
    return [(r.image_id, r.label, p) for r, p in zip(records, pixels, strict=True)]


def test_a_shard_survives_a_round_trip(tmp_path: Path) -> None:
    records = make_records(make_pixels(9))
    write_shard(tmp_path / "a.tfrecord", records)
    assert list(read_shard(tmp_path / "a.tfrecord")) == records


def test_an_empty_shard_is_an_empty_file(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "a.tfrecord", []) == 0
    assert (tmp_path / "a.tfrecord").read_bytes() == b""
    assert list(read_shard(tmp_path / "a.tfrecord")) == []


def test_shards_are_compatible_with_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    pixels = make_pixels(6)
    records = make_records(pixels)
    write_shard(tmp_path / "ours.tfrecord", records)
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/id": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    }
    raw = [item.numpy() for item in tf.data.TFRecordDataset(str(tmp_path / "ours.tfrecord"))]
    for data, record, expected in zip(raw, records, pixels, strict=True):
        parsed = tf.io.parse_single_example(data, features)
        assert (tf.io.decode_png(parsed["image/encoded"]).numpy() == expected).all()
        assert parsed["image/format"].numpy() == b"PNG"
        assert parsed["image/id"].numpy() == record.image_id.encode()
        assert int(parsed["image/height"]) == int(parsed["image/width"]) == SIZE
        assert int(parsed["image/class/label"]) == record.label
        assert set(tf.train.Example.FromString(data).features.feature) == set(features)

    with tf.io.TFRecordWriter(str(tmp_path / "theirs.tfrecord")) as writer:
        for data in raw:
            writer.write(tf.train.Example.FromString(data).SerializeToString(deterministic=True))
    assert (tmp_path / "theirs.tfrecord").read_bytes() == (tmp_path / "ours.tfrecord").read_bytes()
    assert list(read_shard(tmp_path / "theirs.tfrecord")) == records


def test_workers_do_not_import_heavy_packages() -> None:
    heavy = ("tensorflow", "pandas", "pyarrow", "pydantic")
    code = f"import sys, landmarks.shards.worker; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("position", [0, 5, 8, 11, 12, 100, -1, -4, -6])
def test_a_flipped_bit_is_detected(tmp_path: Path, position: int) -> None:
    path = tmp_path / "a.tfrecord"
    write_shard(path, make_records(make_pixels(1)))
    whole = path.read_bytes()
    for bit in range(8):
        data = bytearray(whole)
        data[position] ^= 1 << bit
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"a\.tfrecord is damaged or incomplete"):
            list(read_shard(path))


def test_a_truncated_shard_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    write_shard(path, make_records(make_pixels(2)))
    data = path.read_bytes()
    rng = random.Random(0)
    for length in [1, 11, 12, 13, len(data) - 1, *(rng.randrange(1, len(data)) for _ in range(30))]:
        if length == len(data) // 2:
            continue  # a cut between two records gives a valid file
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError, match="damaged or incomplete"):
            list(read_shard(path))


def test_a_record_that_claims_exabytes_is_refused(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    crc = google_crc32c.value(length)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (tmp_path / "a.tfrecord").write_bytes(length + struct.pack("<I", masked) + b"x" * 100)
    with pytest.raises(ArtifactError, match="damaged or incomplete"):
        list(read_shard(tmp_path / "a.tfrecord"))


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"\x0a\x02\x0a\x00"])
def test_other_records_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tfrecord").write_bytes(frame_record(data))
    with pytest.raises(ArtifactError, match="does not contain photos written by `prepare`"):
        list(read_shard(tmp_path / "a.tfrecord"))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"a\.tfrecord is missing"):
        list(read_shard(tmp_path / "a.tfrecord"))


def test_a_failing_source_leaves_no_shard(tmp_path: Path) -> None:
    records = make_records(make_pixels(3))
    with pytest.raises(ZeroDivisionError):
        write_shard(tmp_path / "a.tfrecord", (r if i < 2 else r.label // 0 for i, r in enumerate(records)))  # type: ignore[misc]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11, 100])
def test_batches_keep_the_order_of_the_split(tmp_path: Path, batch_size: int) -> None:
    expected = make_shards(tmp_path)
    batches = list(iterate_batches(tmp_path, Split.TRAIN, batch_size))
    assert [len(ids) for ids, _, _ in batches] == [len(expected[i : i + batch_size]) for i in range(0, 11, batch_size)]
    assert [i for ids, _, _ in batches for i in ids] == [i for i, _, _ in expected]
    assert np.concatenate([labels for _, labels, _ in batches]).tolist() == [label for _, label, _ in expected]
    assert (np.concatenate([pixels for _, _, pixels in batches]) == np.stack([p for _, _, p in expected])).all()
    assert all(labels.dtype == np.int32 and pixels.dtype == np.uint8 for _, labels, pixels in batches)


def test_read_split_yields_ids_labels_and_pixels(tmp_path: Path) -> None:
    expected = make_shards(tmp_path)
    for received, right in zip(read_split(tmp_path, Split.TRAIN), expected, strict=True):
        assert received[:2] == right[:2]
        assert (received[2] == right[2]).all()
    assert list(iterate_batches(tmp_path, Split.TEST, 8)) == []


def test_shards_of_another_image_size_are_refused(tmp_path: Path) -> None:
    make_shards(tmp_path)
    manifest = read_manifest(tmp_path)
    write_manifest(tmp_path, replace(FORMAT, image_size=48), manifest.labels, manifest.splits)
    with pytest.raises(ArtifactError, match=r"has shape \(32, 32, 3\), the manifest says 48 pixels"):
        next(read_split(tmp_path, Split.TRAIN))


def test_a_record_that_is_not_a_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "val-00000-of-00001.tfrecord"
    write_shard(path, [Record("0" * 16, 0, b"no png", SIZE)])
    shard = Shard(path.name, 1, path.stat().st_size, compute_sha256(path))
    write_manifest(tmp_path, FORMAT, 1, {Split.VAL: [shard]})
    with pytest.raises(ArtifactError, match="0000000000000000 is not a PNG"):
        list(read_split(tmp_path, Split.VAL))


def test_the_manifest_is_read_as_written(tmp_path: Path) -> None:
    make_shards(tmp_path)
    facts = json.loads((tmp_path / MANIFEST_FILE).read_text())
    manifest = open_shards(tmp_path, tuple(Split))
    assert (manifest.image_format, manifest.labels) == (FORMAT, 4)
    assert manifest.fingerprint == facts["fingerprint"]
    assert {split: manifest.count_photos(split) for split in Split} == {
        Split(name): entry["photos"] for name, entry in facts["splits"].items()
    }
    assert manifest.count_photos(Split.TRAIN) == 11
    assert [shard.photos for shard in manifest.splits[Split.TRAIN]] == [7, 0, 4]


def test_the_fingerprint_depends_only_on_the_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make_shards(tmp_path / name)
    (tmp_path / "c").mkdir()
    make_shards(tmp_path / "c", (6, 1, 4))
    first, second, third = (read_manifest(tmp_path / name).fingerprint for name in "abc")
    assert first == second != third


def test_altered_manifests_are_refused(tmp_path: Path) -> None:
    make_shards(tmp_path)
    path = tmp_path / MANIFEST_FILE
    whole = json.loads(path.read_text())
    cases = [
        ([], "has no fingerprint"),
        (whole | {"labels": 5}, "was altered"),
        ({"format": 3}, "has no fingerprint"),
    ]
    for facts, message in cases:
        path.write_text(json.dumps(facts))
        with pytest.raises(ArtifactError, match=message):
            read_manifest(tmp_path)
    for other in (1, 4):
        write_sealed(path, {"format": other})
        with pytest.raises(ArtifactError, match=rf"has format {other}, this version reads 3\. Run `dvc repro`"):
            read_manifest(tmp_path)
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_manifest(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        read_manifest(tmp_path)


def test_an_incomplete_manifest_is_refused(tmp_path: Path) -> None:
    facts = {
        "format": 3,
        "image_format": {"image_size": 32, "fit": "crop", "max_pixels": 1},
        "labels": 2,
        "splits": {"train": {"photos": 0, "shards": []}},
    }
    write_sealed(tmp_path / MANIFEST_FILE, facts)
    with pytest.raises(ArtifactError, match="not a manifest of shards"):
        read_manifest(tmp_path)


def test_missing_truncated_and_changed_shards_are_detected(tmp_path: Path) -> None:
    make_shards(tmp_path)
    path = tmp_path / "train-00002-of-00003.tfrecord"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match=r"train-00002-of-00003\.tfrecord is damaged"):
        read_manifest(tmp_path)
    path.write_bytes(data[:-1] + b"?")
    assert read_manifest(tmp_path).count_photos(Split.TRAIN) == 11
    with pytest.raises(ArtifactError, match=r"train-00002-of-00003\.tfrecord is damaged"):
        open_shards(tmp_path, tuple(Split))
    path.unlink()
    with pytest.raises(ArtifactError, match=r"train-00002-of-00003\.tfrecord is missing"):
        read_manifest(tmp_path)


def test_equal_records_give_identical_bytes_in_every_process(tmp_path: Path) -> None:
    records = make_records(make_pixels(3))
    write_shard(tmp_path / "a.tfrecord", records)
    code = (
        "import sys; from pathlib import Path; from landmarks.shards.format import read_shard, write_shard\n"
        "write_shard(Path(sys.argv[2]), read_shard(Path(sys.argv[1])))"
    )
    for seed in ("1", "2"):
        arguments = [sys.executable, "-c", code, str(tmp_path / "a.tfrecord"), str(tmp_path / seed)]
        subprocess.run(arguments, env={"PYTHONHASHSEED": seed}, check=True)
        assert (tmp_path / seed).read_bytes() == (tmp_path / "a.tfrecord").read_bytes()
    changed = [replace(records[0], label=3), *records[1:]]
    write_shard(tmp_path / "b.tfrecord", changed)
    assert (tmp_path / "b.tfrecord").read_bytes() != (tmp_path / "a.tfrecord").read_bytes()


def test_read_photos_decodes_the_wanted_rows_alone(tmp_path: Path) -> None:
    expected = make_shards(tmp_path)
    photos = read_photos(tmp_path, Split.TRAIN, (9, 0, 4, 3))
    assert sorted(photos) == [0, 3, 4, 9]
    for row, pixels in photos.items():
        assert (pixels == expected[row][2]).all()
    assert read_photos(tmp_path, Split.TRAIN, ()) == {}
