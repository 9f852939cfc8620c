import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from landmarks.demo.album import DemoTables, draw_demo
from landmarks.demo.cameras import Viewpoint, place_camera
from landmarks.demo.distractors import CATEGORIES
from landmarks.demo.geometry import Paint, block
from landmarks.demo.lights import Light
from landmarks.demo.structures import build_structure, draw_structure
from landmarks.demo.wonders import CATALOGUE
from landmarks.params import DemoParams
from landmarks.photos.decoding import decode_image
from landmarks.photos.places import build_photo_path, is_file_id
from landmarks.schema.network_format import ImageFormat

_SIZE = 96
_PARAMS = DemoParams(seed=5, landmarks=6, photos_per_landmark=20, distractor_photos=20, image_size=_SIZE)
_SMALL = DemoParams(seed=5, landmarks=3, photos_per_landmark=3, distractor_photos=11, image_size=48)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoTables]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, draw_demo(_PARAMS, folder)


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _read(folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_same_seed_gives_identical_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    tables = [draw_demo(_SMALL, tmp_path / str(workers), workers) for workers in (1, 2)]
    again = draw_demo(_SMALL, tmp_path / "again", 1)
    assert _digest(tmp_path / "1") == _digest(tmp_path / "2") == _digest(tmp_path / "again")
    assert tables[0] == tables[1] == again


def test_another_seed_gives_other_photos_of_the_same_landmarks(tmp_path: Path) -> None:
    first = draw_demo(_SMALL, tmp_path / "first", 1)
    second = draw_demo(_SMALL.model_copy(update={"seed": 6}), tmp_path / "second", 1)
    assert first.names == second.names
    assert set(_read(tmp_path / "first")).isdisjoint(_read(tmp_path / "second"))
    assert set(_read(tmp_path / "first").values()).isdisjoint(_read(tmp_path / "second").values())


def test_drawing_again_replaces_earlier_files(tmp_path: Path) -> None:
    draw_demo(_SMALL.model_copy(update={"seed": 6}), tmp_path, 1)
    draw_demo(_SMALL, tmp_path, 1)
    draw_demo(_SMALL, tmp_path / "fresh", 1)
    fresh = _digest(tmp_path / "fresh")
    assert {name: digest for name, digest in _digest(tmp_path).items() if not name.startswith("fresh")} == fresh


def test_tables_agree_with_the_archive(demo: tuple[Path, DemoTables]) -> None:
    folder, tables = demo
    expected = [str(build_photo_path(photo.image_id)) for photo in tables.photos]
    expected += [f"distractors/{build_photo_path(photo.image_id)}" for photo in tables.distractors]
    assert sorted(expected) == sorted(_read(folder))
    assert all(is_file_id(row[0]) for row in (*tables.photos, *tables.distractors))


def test_every_landmark_and_category_has_its_photos(demo: tuple[Path, DemoTables]) -> None:
    _, tables = demo
    ids = [landmark.landmark_id for landmark in CATALOGUE[:6]]
    labels = [photo.landmark_id for photo in tables.photos]
    assert {landmark_id: labels.count(landmark_id) for landmark_id in ids} == dict.fromkeys(ids, 20)
    assert [tuple(name) for name in tables.names] == [(entry.landmark_id, entry.name) for entry in CATALOGUE[:6]]
    categories = [photo.category for photo in tables.distractors]
    assert {category: categories.count(category) for category in CATEGORIES} == dict.fromkeys(CATEGORIES, 2)


def test_archive_is_stored_with_a_fixed_date(demo: tuple[Path, DemoTables]) -> None:
    folder, _ = demo
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(2020, 1, 1, 0, 0, 0)}


def test_photos_decode_and_have_the_short_side(demo: tuple[Path, DemoTables]) -> None:
    folder, _ = demo
    shapes = set()
    for data in _read(folder).values():
        with Image.open(io.BytesIO(data)) as photo:
            assert photo.format == "JPEG"
            assert min(photo.size) == _SIZE
            shapes.add(photo.size)
        assert decode_image(data, ImageFormat(32, "crop", 10**6)).std() > 2
    assert any(width > height for width, height in shapes)
    assert any(width < height for width, height in shapes)


def test_samples_are_larger_and_in_no_table(demo: tuple[Path, DemoTables]) -> None:
    folder, _ = demo
    samples = {path.stem: path.read_bytes() for path in (folder / "samples").iterdir()}
    slugs = [entry.name.lower().replace(" ", "-") for entry in CATALOGUE[:4]]
    assert sorted(samples) == sorted([*slugs, "no-landmark-food"])
    assert set(samples.values()).isdisjoint(_read(folder).values())
    for data in samples.values():
        with Image.open(io.BytesIO(data)) as photo:
            assert min(photo.size) == 3 * _SIZE


def _shrink(data: bytes) -> NDArray[np.float32]:
    return decode_image(data, ImageFormat(32, "crop", 10**6)).astype(np.float32).ravel()


@pytest.mark.slow
def test_nearest_neighbours_of_raw_pixels_do_not_solve_the_demo(tmp_path: Path) -> None:
    params = _PARAMS.model_copy(update={"landmarks": 12, "distractor_photos": 0, "image_size": 64})
    tables = draw_demo(params, tmp_path)
    photos = _read(tmp_path)
    pixels = np.stack([_shrink(photos[str(build_photo_path(photo.image_id))]) for photo in tables.photos])
    labels = np.array([photo.landmark_id for photo in tables.photos])
    known, asked = slice(0, 192), slice(192, 240)
    distances = np.linalg.norm(pixels[asked, None] - pixels[None, known], axis=2)
    top1 = float((labels[known][distances.argmin(axis=1)] == labels[asked]).mean())
    assert top1 < 0.5


def _rank_sum(first: list[float], second: list[float]) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    return float(np.mean(pairs))


def test_file_size_is_no_shortcut_to_detect_distractors(demo: tuple[Path, DemoTables]) -> None:
    folder, _ = demo
    sizes: tuple[list[float], list[float]] = ([], [])
    for name, data in _read(folder).items():
        with Image.open(io.BytesIO(data)) as photo:
            sizes[name.startswith("distractors")].append(len(data) / (photo.width * photo.height))
    assert 0.2 < _rank_sum(*sizes) < 0.8


def test_catalogue_has_distinct_ids_names_and_shapes() -> None:
    assert len({entry.landmark_id for entry in CATALOGUE}) == 24
    assert len({entry.name for entry in CATALOGUE}) == 24
    outlines = {build_structure(entry.build()).points.tobytes() for entry in CATALOGUE}
    assert len(outlines) == 24


def _trace(position: NDArray[np.float64], ray: NDArray[np.float64], boxes: NDArray[np.float64]) -> int:
    """Return the first box that a ray hits, -1 for none; boxes: float64 (n, 2, 3), lowest and highest corners."""
    near, far = (boxes[:, 0] - position) / ray, (boxes[:, 1] - position) / ray
    enter, leave = np.minimum(near, far).max(axis=1), np.maximum(near, far).min(axis=1)
    distances = np.where((enter < leave) & (leave > 0), enter, np.inf)
    return int(distances.argmin()) if np.isfinite(distances).any() else -1


def _make_boxes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Make a wide plate with six boxes of different sizes on it: float64 (7, 2, 3)."""
    cells = rng.permutation(9)[:6]
    low = np.column_stack([cells % 3 * 1.3 - 1.9, cells // 3 * 1.3 - 1.9, np.zeros(6)])
    high = low + rng.uniform(0.4, 1.25, (6, 3)) * (1, 1, 3)
    return np.stack([np.vstack([(-4.0, -4.0, -0.5), low]), np.vstack([(4.0, 4.0, 0.0), high])], axis=1)


@pytest.mark.parametrize("seed", range(6))
def test_nearer_boxes_hide_farther_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = _make_boxes(rng)
    solids = []
    for code, (low, high) in enumerate(boxes, start=1):
        red, green, blue = (250 * (code >> bit & 1) for bit in range(3))
        (x, y, _), (width, depth, height) = ((low + high) / 2).tolist(), (high - low).tolist()
        solids.append(block((width, depth, height), Paint((red, green, blue)), (x, y, float(low[2]))))
    structure = build_structure(solids, size=None)
    view = Viewpoint(rng.uniform(-3, 3), rng.uniform(0.4, 0.9), 9.0, 1.0, 1.1, (0, 0))
    camera = place_camera(structure.points, view, (120, 120), 120)
    dark, white = np.zeros(3), np.ones(3)
    light = Light(np.array([0.0, 0, 1]), dark, white, dark, dark, mist=0, clouds=0, lamps=0, weather="dry")
    image = Image.new("RGB", (120, 120))
    draw_structure(ImageDraw.Draw(image), structure, camera, light)

    drawn = (np.asarray(image) > 100) @ (1, 2, 4) - 1
    spots = np.stack(np.meshgrid(np.arange(120), np.arange(120)), axis=-1)
    rays = (spots - camera.centre) / camera.focal @ camera.axes[:2] + camera.axes[2]
    traced = np.array([[_trace(camera.position, ray, boxes) for ray in row] for row in rays])
    assert np.unique(traced).size > 4
    windows = np.lib.stride_tricks.sliding_window_view(traced, (5, 5))
    inner = windows.min(axis=(2, 3)) == windows.max(axis=(2, 3))  # pixels on an edge may show either side
    assert inner.mean() > 0.6
    assert (drawn[2:-2, 2:-2] != traced[2:-2, 2:-2])[inner].sum() == 0
