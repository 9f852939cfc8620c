"""Small photo folders in Kaggle's layout for the tests of acquire, validate and select."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from landmarks.params import AcquireParams, ColumnParams, DemoParams, SelectParams, ValidateParams
from landmarks.photos.places import build_photo_path


def make_id(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()[:16]


def make_photo(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def put_photo(root: Path, image_id: str, data: bytes) -> Path:
    path = root / build_photo_path(image_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def make_folder(root: Path, counts: Mapping[int, int], distractors: Mapping[str, int] | None = None) -> AcquireParams:
    """Write photos `make_id(f"{landmark}/{number}")`, distractors `make_id(f"{category}/{number}")` and the tables."""
    rows = [(make_id(f"{landmark}/{n}"), landmark) for landmark, count in counts.items() for n in range(count)]
    others = [(make_id(f"{name}/{n}"), name) for name, count in (distractors or {}).items() for n in range(count)]
    for seed, (image_id, _) in enumerate(rows):
        put_photo(root / "photos", image_id, make_photo(seed))
    for seed, (image_id, _) in enumerate(others):
        put_photo(root / "others", image_id, make_photo(10_000 + seed))
    (root / "others").mkdir(exist_ok=True)
    owners = [f"{i},https://photos/{i},Author of {i},CC BY {n}.0,\n" for n, (i, _) in enumerate([*rows, *others])]
    stranger = f"{make_id('stranger')},https://photos/x,Nobody,,Title\n"
    (root / "attribution.csv").write_text("id,url,author,license,title\n" + "".join([stranger, *owners]))
    (root / "train.csv").write_text("id,landmark_id\n" + "".join(f"{i},{landmark}\n" for i, landmark in rows))
    (root / "names.csv").write_text("landmark_id,name\n" + "".join(f"{i},Place_No._{i}\n" for i in counts))
    (root / "others/images.csv").write_text("id,category,origin\n" + "".join(f"{i},{name},x\n" for i, name in others))
    return make_acquire_params(root)


def make_acquire_params(root: Path, **changes: Any) -> AcquireParams:
    demo = DemoParams(seed=0, landmarks=2, photos_per_landmark=3, distractor_photos=4, image_size=32)
    values = {
        "source": "folder",
        "photos": str(root / "photos"),
        "table": str(root / "train.csv"),
        "names_csv": str(root / "names.csv"),
        "distractors_csv": str(root / "others/images.csv"),
        "attribution_csv": str(root / "attribution.csv"),
        "distractors": "",
        "listing": str(root / "names.csv"),
        "columns": dict.fromkeys(ColumnParams.model_fields),
        "demo": demo,
    }
    return AcquireParams.model_validate(values | changes)


def make_validate_params(**changes: Any) -> ValidateParams:
    values = {"sample_photos": 200, "max_unreadable_fraction": 0.0, "min_landmark_id": 0, "max_landmark_id": 203093}
    return ValidateParams.model_validate(values | changes)


def make_select_params(**changes: Any) -> SelectParams:
    values: dict[str, Any] = dict.fromkeys(SelectParams.model_fields)
    values |= {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.1, "seed": 0}
    return SelectParams.model_validate(values | changes)
