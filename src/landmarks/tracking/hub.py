"""Export a registered version as a folder for the Hugging Face Hub: model card, network, labels and an example.

The gallery is left out: it holds thumbnails of photos under the licences of their authors.

References:
    "Model Cards", documentation of the Hugging Face Hub, for the header of the card.
"""

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from landmarks.errors import LandmarksError
from landmarks.evaluation.titles import TITLES
from landmarks.files.writing import open_scratch, replace_folder, write_text
from landmarks.recognizer.format import BUNDLE_FOLDER, read_bundle
from landmarks.schema.network_format import KERAS_MODEL_FILE, PROBABILITIES, ImageFormat
from landmarks.schema.vocabulary import VOCABULARY_FILE, Landmark, read_vocabulary
from landmarks.tracking.registry import (
    RegisteredVersion,
    download_card,
    download_recognizer,
    read_dataset,
    read_scores,
)

CARD, LABELS, EXAMPLE = "README.md", "labels.csv", "example.py"
_FILES = frozenset({CARD, KERAS_MODEL_FILE, LABELS, EXAMPLE})
# the names that the Hub knows; all others keep ours
_HUB_METRICS = {"top1": "accuracy", "macro_recall": "recall"}
_EXAMPLE = '''\
"""Name the landmark in a photo: python example.py photo.jpg (needs tensorflow, keras and pillow)."""

import csv
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
pixels = np.asarray({fit})
network = keras.saving.load_model(FOLDER / "{model}", compile=False)
[probabilities] = network.predict_on_batch(pixels[None])["{output}"]
with (FOLDER / "{labels}").open(encoding="utf-8", newline="") as stream:
    names = [row["name"] for row in csv.DictReader(stream)]
for label in np.argsort(-probabilities)[:3]:
    print(f"{{probabilities[label]:.3f}}  {{names[label]}}")
'''
_USE = """\
## How to use

```python
{example}```

These are softmax scores of the landmarks it knows: it names one for any photo. Whether a photo shows a landmark at
all, the calibrated confidence, and the search of similar photos need the gallery. That is not in this repository,
because it holds thumbnails of the training photos; `{name}` in the registry that it comes from has it.

"""


def write_hub_folder(version: RegisteredVersion, folder: Path) -> Path:
    """Write the files of a repository for the Hub; `huggingface_hub.upload_folder` takes the folder.

    Args:
        version: to export; its files are fetched and compared with their digests.
        folder: created, or replaced if it holds nothing but an earlier export.

    Raises:
        ArtifactError: the version lacks a file, or a file was altered since it was registered.
        LandmarksError: the folder has other files, or the registry cannot be used.
    """
    others = sorted({path.name for path in folder.iterdir()} - _FILES) if folder.is_dir() else []
    if others:
        raise LandmarksError(f"{folder} has other files than an export ({', '.join(others[:3])}). Name a new folder.")
    with open_scratch("hub") as scratch:
        bundle_folder = download_recognizer(version, scratch / "recognizer") / BUNDLE_FOLDER
        card = download_card(version, scratch)
        landmarks = read_vocabulary(bundle_folder / VOCABULARY_FILE)
        example = _write_example(read_bundle(bundle_folder).image_format)
        with replace_folder(folder) as temporary:
            shutil.copyfile(bundle_folder / KERAS_MODEL_FILE, temporary / KERAS_MODEL_FILE)
            write_text(temporary / LABELS, _write_labels(landmarks))
            write_text(temporary / EXAMPLE, example)
            write_text(temporary / CARD, _write_header(version) + _insert_use(card, version.name, example))
    return folder


def _write_header(version: RegisteredVersion) -> str:
    dataset = read_dataset(version) or "unknown"
    scores = read_scores(version)
    results = {
        "task": {"type": "image-classification", "name": "Landmark recognition"},
        "dataset": {"type": dataset, "name": dataset, "split": "test"},
        "metrics": [
            {"type": _HUB_METRICS.get(name, name), "value": value, "name": TITLES[name].full}
            for name, value in scores.items()
            if name in TITLES
        ],
    }
    header: dict[str, Any] = {
        "license": "apache-2.0",
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["landmark-recognition", "image-classification", "image-feature-extraction"],
    }
    if scores:
        header["model-index"] = [{"name": version.name, "results": [results]}]
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(header, stream)
    return f"---\n{stream.getvalue()}---\n\n"


def _write_labels(landmarks: Sequence[Landmark]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("label", "landmark_id", "name"))
    writer.writerows((one.label, one.landmark_id, one.name) for one in landmarks)
    return stream.getvalue()


def _write_example(image_format: ImageFormat) -> str:
    size = (image_format.image_size, image_format.image_size)
    fit = f"ImageOps.fit(photo, {size})" if image_format.fit == "crop" else f"photo.resize({size})"
    return _EXAMPLE.format(fit=fit, model=KERAS_MODEL_FILE, output=PROBABILITIES, labels=LABELS)


def _insert_use(card: str, name: str, example: str) -> str:
    """Put the example before the metrics of a model card."""
    head, metrics, rest = card.partition("## Metrics")
    return f"{head}{_USE.format(example=example, name=name)}{metrics}{rest.replace(VOCABULARY_FILE, LABELS)}"
