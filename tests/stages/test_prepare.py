"""The stage prepare, on small selections written here."""

import csv
import io
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from landmarks.errors import ArtifactError, DataError, LandmarksError
from landmarks.files.digests import compute_tree_sha256
from landmarks.files.parsing import read_json
from landmarks.files.seals import compute_digests, write_sealed
from landmarks.params import PrepareParams
from landmarks.photos.decoding import decode_image
from landmarks.photos.locating import locate_photos
from landmarks.photos.places import build_photo_path
from landmarks.schema.columns import Split
from landmarks.schema.network_format import ImageFormat, Pixels
from landmarks.schema.vocabulary import Landmark, read_vocabulary, write_vocabulary
from landmarks.shards.format import open_shards, read_manifest, read_split
from landmarks.stages.prepare import prepare
from reseal import write_anew

pytestmark = pytest.mark.slow

SIZE = 32
LANDMARK_SPLITS = (Split.TRAIN, Split.VAL, Split.TEST)


def make_params(**changes: object) -> PrepareParams:
    values: dict[str, object] = {
        "image_size": SIZE,
        "fit": "crop",
        "photos_per_shard": 8,
        "max_unreadable_fraction": 0.5,
        "max_pixels": 1_000_000,
        "near_duplicate_bits": 3,
    }
    return PrepareParams.model_validate(values | changes)


def draw_photo(seed: int, size: tuple[int, int] = (90, 70)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@dataclass
class Selection:
    """Photos to be written as `data/selected` with their source."""

    root: Path
    landmarks: int = 3
    photos: dict[str, tuple[bytes | None, int, Split]] = field(default_factory=dict)

    def add(self, data: bytes | None, label: int, split: Split) -> str:
        """Add a photo (None: one that is missing) and return its id."""
        image_id = f"{len(self.photos) * 0x9E3779B97F4A7C15 % (1 << 64):016x}"
        self.photos[image_id] = (data, label, split)
        return image_id

    def fill(self, per_landmark: int = 8, distractors: int = 5) -> "Selection":
        for number in range(self.landmarks * per_landmark):
            split = (Split.TEST, Split.VAL, *[Split.TRAIN] * 6)[number // self.landmarks % 8]
            self.add(encode(draw_photo(number)), number % self.landmarks, split)
        for number in range(distractors):
            split = (Split.DISTRACTORS_VAL, Split.DISTRACTORS_TEST)[number % 2]
            self.add(encode(draw_photo(1000 + number)), -1, split)
        return self

    def categorise(self, image_id: str) -> str:
        return "" if self.photos[image_id][1] >= 0 else f"kind {int(image_id, 16) % 3}"

    def write(self, archive: bool = False) -> Path:
        folder = self.root / "selected"
        folder.mkdir(parents=True, exist_ok=True)
        source = self._write_archive() if archive else self._write_folder()
        images = [i for i, (_, label, _) in self.photos.items() if label >= 0]
        distractors = [i for i, (_, label, _) in self.photos.items() if label < 0]
        self._write_table(folder / "images.parquet", images, source["photos"])
        self._write_table(folder / "distractors.parquet", distractors, source["distractors"])
        self._write_attributions(folder / "attributions.parquet")
        counts = [[self._count(label, split) for split in LANDMARK_SPLITS] for label in range(self.landmarks)]
        rows = [
            Landmark(label, 7 * label + 3, f"Tower {label}", train, val, test)
            for label, (train, val, test) in enumerate(counts)
        ]
        write_vocabulary(folder / "vocabulary.csv", rows)
        write_sealed(folder / "source.json", {**source, "files": compute_digests(folder, ("source.json",))})
        return folder

    def _write_attributions(self, path: Path) -> None:
        """Every other photo has one, in another order than the tables, and a photo that is not selected too."""
        image_ids = ["f" * 16, *list(self.photos)[::-2]]
        texts = {name: [f"{name} of {i}" for i in image_ids] for name in ("author", "license", "url", "title")}
        columns = {name: pa.array(values, pa.string()) for name, values in ({"image_id": image_ids} | texts).items()}
        pq.write_table(pa.table(columns), path)

    def _count(self, label: int, split: Split) -> int:
        return sum(entry[1:] == (label, split) for entry in self.photos.values())

    def _write_folder(self) -> dict[str, dict[str, str]]:
        for image_id, (data, label, _) in self.photos.items():
            if data is not None:
                path = self.root / ("photos" if label >= 0 else "others") / build_photo_path(image_id)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        (self.root / "others").mkdir(exist_ok=True)
        return {
            "photos": {"kind": "folder", "path": str(self.root / "photos")},
            "distractors": {"kind": "folder", "path": str(self.root / "others")},
        }

    def _write_archive(self) -> dict[str, dict[str, str]]:
        path = self.root / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for image_id, (data, label, _) in self.photos.items():
                if data is not None:
                    archive.writestr(("" if label >= 0 else "distractors/") + str(build_photo_path(image_id)), data)
        photos = {"kind": "archive", "path": str(path)}
        return {"photos": photos, "distractors": photos | {"prefix": "distractors/"}}

    def _write_table(self, path: Path, image_ids: Sequence[str], source: dict[str, str]) -> None:
        places = locate_photos(source, image_ids)
        entries = [self.photos[image_id] for image_id in image_ids]
        columns: dict[str, object] = {
            "image_id": pa.array(image_ids, pa.string()),
            "landmark_id": pa.array([7 * label + 3 for _, label, _ in entries], pa.int64()),
            "path": pa.array(places.path, pa.string()),
            "offset": places.offset,
            "compressed_bytes": places.compressed_bytes,
            "method": places.method,
            "label": pa.array([label for _, label, _ in entries], pa.int32()),
            "split": pa.array([split.value for _, _, split in entries], pa.string()),
        }
        if path.name.startswith("distractors"):
            columns["category"] = pa.array([self.categorise(i) for i in image_ids], pa.string())
            del columns["landmark_id"], columns["label"]
        pq.write_table(pa.table(columns), path)


def run(
    root: Path, selected: Path, params: PrepareParams | None = None, workers: int = 2, name: str = "shards"
) -> Path:
    return prepare(
        selected,
        root / name,
        root / "reports",
        params or make_params(),
        work=root / "work",
        workers=workers,
    )


def read_all(out: Path) -> dict[str, tuple[Split, int, Pixels]]:
    return {i: (split, label, pixels) for split in Split for i, label, pixels in read_split(out, split)}


@pytest.mark.parametrize("archive", [False, True])
def test_every_photo_is_in_its_split_as_decoded(tmp_path: Path, archive: bool) -> None:
    selection = Selection(tmp_path).fill()
    out = run(tmp_path, selection.write(archive))
    received = read_all(out)
    target = ImageFormat(SIZE, "crop", 1_000_000)
    assert set(received) == set(selection.photos)
    for image_id, (data, label, split) in selection.photos.items():
        assert received[image_id][:2] == (split, label)
        assert (received[image_id][2] == decode_image(data or b"", target)).all()


def test_the_artefacts_are_as_the_contract_says(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    selected = selection.write()
    out = run(tmp_path, selected)
    manifest = open_shards(out, tuple(Split))
    assert (manifest.image_format.image_size, manifest.image_format.fit, manifest.labels) == (SIZE, "crop", 3)
    counts = {split: sum(s == split for _, _, s in selection.photos.values()) for split in Split}
    assert {split: manifest.count_photos(split) for split in Split} == counts
    assert [shard.file for shard in manifest.splits[Split.TRAIN]] == [
        f"train-0000{number}-of-00003.tfrecord" for number in range(3)
    ]
    assert [shard.photos for shard in manifest.splits[Split.TRAIN]] == [8, 8, 2]
    assert read_vocabulary(out / "vocabulary.csv") == read_vocabulary(selected / "vocabulary.csv")
    files = {shard.file for shards in manifest.splits.values() for shard in shards}
    assert {path.name for path in out.iterdir()} == files | {"shards.json", "photos.parquet", "vocabulary.csv"}
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lock"]

    table = pq.read_table(out / "photos.parquet")
    assert {column.name: str(column.type) for column in table.schema} == {
        "image_id": "string",
        "label": "int32",
        "split": "string",
        "status": "string",
        "perceptual_hash": "uint64",
        "near_duplicate": "bool",
        "category": "string",
        **dict.fromkeys(("author", "license", "url", "title"), "string"),
    }
    assert {row["image_id"]: (row["label"], row["split"], row["status"]) for row in table.to_pylist()} == {
        image_id: (label, split.value, "ok") for image_id, (_, label, split) in selection.photos.items()
    }
    categories = {row["image_id"]: row["category"] for row in table.to_pylist()}
    assert categories == {image_id: selection.categorise(image_id) for image_id in selection.photos}
    assert len(set(categories.values())) > 2
    attributed = set(list(selection.photos)[::-2])
    for row in table.to_pylist():
        for name in ("author", "license", "url", "title"):
            assert row[name] == (f"{name} of {row['image_id']}" if row["image_id"] in attributed else "")


def test_the_order_is_mixed_and_depends_on_the_ids_alone(tmp_path: Path) -> None:
    first = Selection(tmp_path / "a").fill(per_landmark=16)
    second = Selection(tmp_path / "b")
    second.photos = dict(reversed(first.photos.items()))
    outs = [run(s.root, s.write()) for s in (first, second)]
    orders = [[image_id for image_id, _, _ in read_split(out, Split.TRAIN)] for out in outs]
    assert orders[0] == orders[1]
    given = [i for i, (_, _, split) in first.photos.items() if split == Split.TRAIN]
    assert orders[0] != given
    labels = [label for _, label, _ in read_split(outs[0], Split.TRAIN)]
    assert all(len(set(labels[start : start + 12])) > 1 for start in range(0, 36, 12))


def test_the_same_bytes_however_many_workers(tmp_path: Path) -> None:
    selected = Selection(tmp_path).fill(per_landmark=16).write()
    digests = {compute_tree_sha256(run(tmp_path, selected, workers=w, name=f"shards{w}")) for w in (1, 2, 3)}
    assert len(digests) == 1


def make_every_kind() -> dict[str, bytes | None]:
    photo = draw_photo(5)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = (np.asarray(photo.convert("L")).astype(np.uint16) << 8) + 77
    return {
        "cmyk": encode(photo.convert("CMYK")),
        "grey": encode(photo.convert("L")),
        "palette": encode(photo.convert("P"), "PNG"),
        "16-bit": encode(Image.fromarray(deep), "PNG"),
        "animated": encode(photo, "GIF", save_all=True, append_images=[draw_photo(6)]),
        "rotated": encode(photo.rotate(90, expand=True), exif=exif.tobytes()),
        "progressive": encode(photo, progressive=True),
        "missing": None,
        "empty": b"",
        "text": b"<html>404 not found</html>",
        "truncated": encode(photo)[:-400],
        "gigantic": encode(Image.new("L", (2000, 2000))),
    }


def test_every_kind_of_photo_has_its_outcome(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    ids = {kind: selection.add(data, 0, Split.TRAIN) for kind, data in make_every_kind().items()}
    out = run(tmp_path, selection.write())
    received = read_all(out)
    colour = decode_image(encode(draw_photo(5)), ImageFormat(SIZE, "crop", 10**6)).astype(int)
    grey = np.repeat((colour @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    for kind, expected, tolerance in (
        ("cmyk", colour, 6),
        ("progressive", colour, 1),
        ("rotated", colour, 6),
        ("palette", colour, 25),
        ("animated", colour, 25),
        ("grey", grey, 6),
        ("16-bit", grey, 6),
    ):
        assert np.abs(received[ids[kind]][2].astype(int) - expected).mean() < tolerance, kind
    with (tmp_path / "reports" / "unreadable.csv").open() as stream:
        reasons = {row["image_id"]: row["reason"] for row in csv.DictReader(stream) if row["split"] == "train"}
    assert set(reasons) == {ids[kind] for kind in ("missing", "empty", "text", "truncated", "gigantic")}
    assert not set(reasons) & set(received)
    assert reasons[ids["missing"]] == "The photo is missing."
    assert reasons[ids["empty"]] == "The photo is empty: it has 0 bytes."
    assert "not a photo of a supported format" in reasons[ids["text"]]
    assert "damaged, incomplete" in reasons[ids["truncated"]]
    assert "2000 x 2000 pixels, more than the 1000000 allowed" in reasons[ids["gigantic"]]
    report = read_json(tmp_path / "reports" / "preparation.json")
    assert (report["selected"], report["unreadable"]) == (len(selection.photos), 5)
    assert report["photos"] == {split.value: read_manifest(out).count_photos(split) for split in Split}
    statuses = {row["image_id"]: row["status"] for row in pq.read_table(out / "photos.parquet").to_pylist()}
    assert {image_id: status for image_id, status in statuses.items() if status != "ok"} == reasons


def test_too_many_unreadable_photos_stop_it_with_the_report_written(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    broken = [selection.add(b"junk", 0, Split.TEST) for _ in range(3)]
    selected = selection.write()
    with pytest.raises(DataError, match=r"3 of 32 photos are unreadable \(9\.4%\), more than .* 5\.0%"):
        run(tmp_path, selected, make_params(max_unreadable_fraction=0.05))
    assert not (tmp_path / "shards").exists()
    with (tmp_path / "reports" / "unreadable.csv").open() as stream:
        assert sorted(row["image_id"] for row in csv.DictReader(stream)) == sorted(broken)
    assert read_json(tmp_path / "reports" / "preparation.json")["unreadable_fraction"] == 3 / 32
    out = run(tmp_path, selected, make_params(max_unreadable_fraction=3 / 32))
    assert len(read_all(out)) == 29


def test_a_landmark_without_a_readable_training_photo_is_named(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    for image_id, (_, label, split) in list(selection.photos.items()):
        if (label, split) == (1, Split.TRAIN):
            selection.photos[image_id] = (b"junk", label, split)
    with pytest.raises(DataError, match=r"1 landmarks have no readable training photo, among them 10 \(Tower 1\)"):
        run(tmp_path, selection.write())
    assert not (tmp_path / "shards").exists()


def test_near_duplicates_across_splits_are_counted(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    twin = draw_photo(300, (200, 150))
    selection.add(encode(twin), 0, Split.TRAIN)
    selection.add(encode(twin, quality=60), 1, Split.TRAIN)
    copies = {
        selection.add(encode(twin.resize((100, 75))), 0, Split.VAL),
        selection.add(encode(twin, "PNG"), 0, Split.TEST),
    }
    other = draw_photo(301)
    selection.add(encode(other), 2, Split.VAL)
    selection.add(encode(other, quality=80), 2, Split.TEST)
    selection.add(encode(twin), -1, Split.DISTRACTORS_VAL)
    out = run(tmp_path, selection.write())
    table = pq.read_table(out / "photos.parquet").to_pylist()
    assert {row["image_id"] for row in table if row["near_duplicate"]} == copies
    assert read_json(tmp_path / "reports" / "preparation.json")["near_duplicates"] == {
        "bits": 3,
        "val": 1,
        "test": 1,
        "pairs": {"train_val": 2, "train_test": 2, "val_test": 2},
    }


def write_script(root: Path, selected: Path, workers: int = 2, before: str = "") -> Path:
    """A program that prepares; it has to be a file, for the workers import it."""
    script = root / "program.py"
    script.write_text(
        "from pathlib import Path\n"
        "from landmarks.files.faults import explain_fault\n"
        "from landmarks.params import PrepareParams\n"
        "from landmarks.stages.prepare import prepare\n"
        "if __name__ == '__main__':\n"
        f"    root = Path({str(root)!r})\n"
        f"    {before}\n"
        "    try:\n"
        f"        prepare(Path({str(selected)!r}), root / 'shards', root / 'reports',\n"
        f"                PrepareParams(**{make_params().model_dump()!r}), work=root / 'work', workers={workers})\n"
        "    except OSError as error:\n"
        "        raise SystemExit(explain_fault(error)) from None\n"
    )
    return script


def wait_for_shards(work: Path, count: int) -> list[Path]:
    deadline = time.monotonic() + 60
    while len(done := sorted(work.glob("*/*.tfrecord.json"))) < count:
        assert time.monotonic() < deadline, "no shards after a minute"
        time.sleep(0.01)
    return done


def test_a_killed_run_is_continued_with_the_same_result(tmp_path: Path) -> None:
    selection = Selection(tmp_path)
    slow = encode(draw_photo(0, (600, 600)), "PNG")
    for number in range(160):
        data = slow if number > 20 else encode(draw_photo(number))
        selection.add(data, number % 3, LANDMARK_SPLITS[number % 3 if number < 9 else 0])
    selected = selection.write()
    undisturbed = compute_tree_sha256(run(tmp_path, selected, name="undisturbed"))

    program = subprocess.Popen([sys.executable, str(write_script(tmp_path, selected))])
    finished = wait_for_shards(tmp_path / "work", 4)
    children = psutil.Process(program.pid).children(recursive=True)
    assert children
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert not (tmp_path / "shards").exists()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []  # the workers ended with their parent

    kept = [path.with_suffix("") for path in finished]
    times = {path.name: path.stat().st_mtime_ns for path in kept}
    assert len(list((tmp_path / "work").glob("*/*.tfrecord"))) < 20  # it was killed in the middle
    out = run(tmp_path, selected)
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times  # these were not made again
    assert compute_tree_sha256(out) == undisturbed


def test_work_of_other_params_or_cut_short_is_not_used(tmp_path: Path) -> None:
    selected = Selection(tmp_path).fill().write()
    expected = compute_tree_sha256(run(tmp_path, selected, name="expected"))
    program = subprocess.Popen([sys.executable, str(write_script(tmp_path, selected, workers=1))])
    finished = wait_for_shards(tmp_path / "work", 1)
    program.kill()
    program.wait()
    time.sleep(0.5)
    if finished[0].exists():
        shard = finished[0].with_suffix("")
        shard.write_bytes(shard.read_bytes()[:-7])
    assert compute_tree_sha256(run(tmp_path, selected)) == expected
    other = run(tmp_path, selected, make_params(fit="stretch"), name="stretched")
    assert read_manifest(other).image_format.fit == "stretch"
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["lock"]


def test_photos_that_could_not_be_read_are_tried_again(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    selected = selection.write()
    hidden = tmp_path / "hidden"
    (tmp_path / "photos" / "train").rename(hidden)  # as if a disk were not mounted, but for its mount point
    with pytest.raises(DataError, match="24 of 29 photos are unreadable"):
        run(tmp_path, selected)
    hidden.rename(tmp_path / "photos" / "train")
    assert set(read_all(run(tmp_path, selected))) == set(selection.photos)


@pytest.mark.parametrize("limit", [12_000, 3_000])
def test_a_full_disk_is_a_clear_error_and_leaves_no_output(tmp_path: Path, limit: int) -> None:
    """A real write fails here: the process and its workers may write no file longer than the limit."""
    selected = Selection(tmp_path).fill().write()
    before = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    script = write_script(tmp_path, selected, before=before)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert f"There is no space left to write {tmp_path}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "shards").exists()
    assert set(read_all(run(tmp_path, selected))) == {row["image_id"] for row in read_photo_rows(tmp_path / "shards")}


def read_photo_rows(out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(out / "photos.parquet").to_pylist()
    return rows


@pytest.fixture(name="small_disk")
def make_small_disk(tmp_path: Path) -> object:
    """A file system with 200 kB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tmp_path: Path, small_disk: Path) -> None:
    selected = Selection(tmp_path).fill(per_landmark=48).write()
    arguments = (selected, small_disk / "shards", tmp_path / "reports", make_params())
    with pytest.raises(OSError, match="No space left on device"):
        prepare(*arguments, work=small_disk / "work", workers=2)
    assert sorted(path.name for path in small_disk.iterdir()) == ["work"]
    kept = len(list((small_disk / "work").glob("*/*.tfrecord.json")))
    assert kept > 0
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert len(read_all(prepare(*arguments, work=small_disk / "work", workers=2))) == 149


def test_an_old_output_survives_a_failing_run(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    digest = compute_tree_sha256(run(tmp_path, selection.write()))
    for _ in range(9):
        selection.add(b"junk", 0, Split.TEST)
    with pytest.raises(DataError, match="unreadable"):
        run(tmp_path, selection.write(), make_params(max_unreadable_fraction=0.1))
    assert compute_tree_sha256(tmp_path / "shards") == digest


def test_two_at_once_give_a_clear_error(tmp_path: Path) -> None:
    selection = Selection(tmp_path)
    slow = encode(draw_photo(0, (600, 600)), "PNG")
    for number in range(120):
        selection.add(slow, number % 3, LANDMARK_SPLITS[number % 3 if number < 9 else 0])
    selected = selection.write()
    program = subprocess.Popen([sys.executable, str(write_script(tmp_path, selected))])
    wait_for_shards(tmp_path / "work", 1)
    with pytest.raises(LandmarksError, match="Another landmarks process is preparing photos"):
        run(tmp_path, selected)
    assert program.wait(timeout=100) == 0
    assert len(read_all(tmp_path / "shards")) == 120


def test_a_killed_worker_is_a_clear_error(tmp_path: Path) -> None:
    selection = Selection(tmp_path)
    slow = encode(draw_photo(0, (600, 600)), "PNG")
    for number in range(120):
        selection.add(slow, number % 3, Split.TRAIN)
    selected = selection.write()
    program = subprocess.Popen(
        [sys.executable, str(write_script(tmp_path, selected))], stderr=subprocess.PIPE, text=True
    )
    wait_for_shards(tmp_path / "work", 1)
    workers = [p for p in psutil.Process(program.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    workers[0].kill()
    assert "A worker process was killed" in program.communicate(timeout=100)[1]
    assert program.returncode == 1
    assert not (tmp_path / "shards").exists()


def test_inputs_that_cannot_be_used(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill()
    selected = selection.write()
    for name in ("images.parquet", "distractors.parquet", "source.json", "vocabulary.csv", "attributions.parquet"):
        whole = (selected / name).read_bytes()
        (selected / name).write_bytes(b"junk" * 10)
        with pytest.raises(ArtifactError, match=name):
            run(tmp_path, selected)
        (selected / name).unlink()
        with pytest.raises(ArtifactError, match=rf"{name} is missing"):
            run(tmp_path, selected)
        (selected / name).write_bytes(whole)
    shutil.move(tmp_path / "photos", tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"photo folder .* is missing"):
        run(tmp_path, selected)
    assert not (tmp_path / "shards").exists()


def test_a_selection_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="selects no photos"):
        run(tmp_path, Selection(tmp_path, landmarks=0).write())


def test_without_distractors_their_source_is_not_needed(tmp_path: Path) -> None:
    selection = Selection(tmp_path).fill(distractors=0)
    selected = selection.write()
    source = read_json(selected / "source.json")
    del source["distractors"]
    write_anew(selected / "source.json", source)
    manifest = read_manifest(run(tmp_path, selected))
    assert manifest.splits[Split.DISTRACTORS_VAL] == ()
    assert manifest.count_photos(Split.TRAIN) == 18
