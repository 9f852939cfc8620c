"""Published weights are fetched once from a server, checked, and refused when they are something else."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest

from landmarks.errors import ArtifactError, DataError
from landmarks.network.initial_weights import fetch_weights, load_initial_weights
from landmarks.network.networks import build_classifier
from landmarks.params import read_params

CONTENT = bytes(range(256)) * 40
DEFAULTS = read_params(Path(__file__).parents[2] / "experiments" / "default.yaml").network
PARAMS = DEFAULTS.model_copy(update={"stem": "standard", "shortcut": "strided"})  # the published layout


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights.h5").write_bytes(CONTENT)
    handler = partial(QuietHandler, directory=str(tmp_path / "files"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_file_is_fetched_once(server: str, tmp_path: Path) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    path = fetch_weights(f"{server}/weights.h5", md5, tmp_path / "cache")
    assert Path(path).read_bytes() == CONTENT
    (tmp_path / "files" / "weights.h5").unlink()
    assert fetch_weights(f"{server}/weights.h5", md5, tmp_path / "cache") == path


def test_another_file_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"could not be fetched.*set train\.initial_weights"):
        fetch_weights(f"{server}/weights.h5", "0" * 32, tmp_path / "cache")


@pytest.mark.parametrize("path", ["missing.h5", ""])
def test_a_failed_download_says_what_to_do(server: str, tmp_path: Path, path: str) -> None:
    url = f"{server}/{path}" if path else "http://127.0.0.1:9/weights.h5"
    with pytest.raises(DataError, match=r"could not be fetched"):
        fetch_weights(url, "0" * 32, tmp_path / "cache")


@pytest.mark.slow
def test_a_file_starts_the_backbone_and_none_leaves_it(tmp_path: Path) -> None:
    donor = build_classifier(32, 3, PARAMS, scaling="imagenet")
    donor.get_layer("resnet50").save_weights(tmp_path / "donor.weights.h5")
    classifier = build_classifier(32, 3, PARAMS, scaling="imagenet")
    before = classifier.get_weights()
    load_initial_weights(classifier, "none")
    assert all(np.array_equal(a, b) for a, b in zip(before, classifier.get_weights(), strict=True))
    load_initial_weights(classifier, str(tmp_path / "donor.weights.h5"))

    def get_kernel(model: keras.Model, name: str) -> np.ndarray:
        kernel: np.ndarray = model.get_layer("resnet50").get_layer(name).get_weights()[0]
        return kernel

    np.testing.assert_array_equal(
        get_kernel(classifier, "conv5_block3_3_conv"), get_kernel(donor, "conv5_block3_3_conv")
    )
    # photos are RGB here and BGR in the published files
    np.testing.assert_array_equal(get_kernel(classifier, "conv1_conv"), get_kernel(donor, "conv1_conv")[:, :, ::-1])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing\.weights\.h5 cannot be loaded"):
        load_initial_weights(build_classifier(32, 3, PARAMS), str(tmp_path / "nothing.weights.h5"))
