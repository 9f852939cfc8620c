"""Registered versions in a real registry, read back the way their users read them."""

import base64
import filecmp
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import keras
import numpy as np
import pandas as pd
import pytest
from mlflow.models.utils import load_serving_example
from PIL import Image

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_sha256
from landmarks.files.parsing import read_json
from landmarks.recognizer.format import check_recognizer
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.network_format import Pixels
from landmarks.tracking.receipts import read_receipt
from landmarks.tracking.registration import check_model, is_complete, log_model, reconcile_version
from landmarks.tracking.registry import (
    RegisteredVersion,
    download_recognizer,
    find_alias,
    list_models,
    resolve_alias,
    set_alias,
)
from landmarks.tracking.store import open_store
from local_servers import answers, find_free_port, run, wait_for
from reseal import change_sealed, renew_bundle
from tiny_recognizers import RED, make_pixels
from tiny_workspaces import Workspace, use_empty_store, write_workspace

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
CARD = "# A card\n\nwith words"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        use_empty_store(patch, root / "store")
        yield write_workspace(root)


@pytest.fixture(scope="module")
def registered(workspace: Workspace) -> RegisteredVersion:
    version = register(workspace, "augmented")
    set_alias(open_store(), version, "champion")
    return resolve_alias("tiny", "champion")


def register(workspace: Workspace, variant: str, **tags: str) -> RegisteredVersion:
    return log_model(
        open_store(),
        workspace.models / variant,
        model_name="tiny",
        variant=variant,
        run_id=read_receipt(workspace.reports / "train" / variant / "run.json").run_id,
        tags={"variant": variant, "top1": "0.75", **tags},
        card=CARD,
    )


def test_a_version_tells_where_it_comes_from(workspace: Workspace, registered: RegisteredVersion) -> None:
    store = open_store()
    run_id = read_receipt(workspace.reports / "train" / "augmented" / "run.json").run_id
    assert (registered.run_id, registered.aliases) == (run_id, ("champion",))
    assert (registered.tags["variant"], registered.tags["top1"]) == ("augmented", "0.75")
    found = store.client.get_model_version("tiny", registered.version)
    assert (found.status, found.description, found.source) == ("READY", CARD, f"models:/{registered.model_id}")
    assert [output.model_id for output in store.client.get_run(run_id).outputs.model_outputs] == [registered.model_id]


def test_the_recognizer_comes_back_byte_for_byte(
    workspace: Workspace, registered: RegisteredVersion, tmp_path: Path
) -> None:
    folder = download_recognizer(registered, tmp_path / "recognizer")
    original = workspace.models / "augmented"
    for part in ("bundle", "index"):
        compared = filecmp.dircmp(folder / part, original / part)
        assert (compared.left_only, compared.right_only, compared.diff_files) == ([], [], [])
    assert sorted(path.name for path in folder.iterdir()) == ["bundle", "index"]
    digest = compute_sha256(folder / "bundle" / "model.keras")
    assert digest == read_json(folder / "bundle" / "bundle.json")["files"]["model.keras"]
    answer = Recognizer.load(folder).classify_pixels(make_pixels(RED, 1)[None])[0]
    assert answer.predictions[0].name == "Red Tower"


@pytest.mark.slow
def test_a_fresh_process_loads_it_without_this_package(
    registered: RegisteredVersion,  # noqa: ARG001
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    code = (
        "import json, sys, mlflow, numpy as np\n"
        "model = mlflow.keras.load_model('models:/tiny@champion')\n"
        "pixels = np.load(sys.argv[1])\n"
        "answers = model.predict_on_batch(pixels)\n"
        "assert not any(name.split('.')[0] == 'landmarks' for name in sys.modules)\n"
        "assert not model.compiled\n"
        "print(json.dumps({name: values.tolist() for name, values in answers.items()}))\n"
    )
    pixels = make_pixels(RED, 1)[None]
    np.save(tmp_path / "pixels.npy", pixels)
    command = [sys.executable, "-c", code, str(tmp_path / "pixels.npy")]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    model = keras.saving.load_model(workspace.models / "augmented" / "bundle" / "model.keras", compile=False)
    for name, expected in model.predict_on_batch(pixels).items():
        np.testing.assert_allclose(answers[name], expected, atol=1e-6)


def encode(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_mlflow_answers_photos_with_names(registered: RegisteredVersion) -> None:
    red = make_pixels(RED, 1)
    large = red.repeat(5, axis=0).repeat(3, axis=1)
    model = open_store().mlflow.pyfunc.load_model(f"models:/{registered.name}@champion")
    photos = [encode(red), base64.b64encode(encode(large)).decode(), red, large.tolist()]
    answers = model.predict(pd.DataFrame({"photo": photos}))
    assert answers["answer"].tolist() == ["Red Tower"] * 4
    assert answers["is_landmark"].tolist() == [True] * 4
    assert answers["confidence"].astype(float).between(0.5, 1).all()
    assert answers["error"].isna().all()
    (alone,) = model.predict({"photo": [encode(red)]}).to_dict("records")
    assert alone == answers.iloc[0].to_dict()


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (b"GIF?", "not a photo"),
        ("never base64!", "base64"),
        ([[1, 2], [3]], "(height, width, 3)"),
        (np.zeros((4, 4), np.uint8), "(4, 4)"),
        (np.zeros((0, 4, 3), np.uint8), "(0, 4, 3)"),
        (np.full((4, 4, 3), 256), "0 to 255"),
        (np.full((4, 4, 3), -1), "0 to 255"),
        (np.full((4, 4, 3), 0.5), "float64"),
        (None, "()"),
    ],
    ids=["bytes", "text", "ragged", "grey", "empty", "above", "below", "fractions", "nothing"],
)
def test_mlflow_says_which_photo_cannot_be_read(registered: RegisteredVersion, photo: object, reason: str) -> None:
    model = open_store().mlflow.pyfunc.load_model(f"models:/{registered.name}@champion")
    broken, good = model.predict(pd.DataFrame({"photo": [photo, make_pixels(RED, 1)]})).to_dict("records")
    assert reason in broken["error"]
    assert {value for name, value in broken.items() if name != "error"} == {None}
    assert good["answer"] == "Red Tower"


@pytest.mark.slow
def test_mlflow_serves_a_version(registered: RegisteredVersion, tmp_path: Path) -> None:
    port = find_free_port()
    uri = f"models:/{registered.name}@champion"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m", uri, "-p", str(port)]
    address, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    with run(command, log) as server:
        wait_for(lambda: answers(f"{address}/ping"), server, log)
        records = [{"photo": base64.b64encode(encode(make_pixels(RED, 1))).decode()}, {"photo": "?"}]
        answer = httpx.post(f"{address}/invocations", json={"dataframe_records": records}, timeout=60)
        example = load_serving_example(f"models:/{registered.model_id}")
        of_example = httpx.post(f"{address}/invocations", json=json.loads(example), timeout=60)
    first, second = answer.json()["predictions"]
    assert (first["answer"], first["error"]) == ("Red Tower", None)
    assert "base64" in second["error"]
    (named,) = of_example.json()["predictions"]
    assert named["answer"] in ("Red Tower", "no landmark")


def test_a_version_of_an_earlier_package_learns_to_answer_photos(
    workspace: Workspace, registered: RegisteredVersion
) -> None:
    store, recognizer = open_store(), workspace.models / "augmented"
    [description] = workspace.root.glob(f"store/mlartifacts/**/{registered.model_id}/**/MLmodel")
    text = description.read_text()
    assert "loader_module: landmarks.tracking.pyfunc" in text
    description.write_text(text.replace("landmarks.tracking.pyfunc", "mlflow.keras"))
    assert not is_complete(store, registered, recognizer)
    assert register(workspace, "augmented").version == registered.version
    assert is_complete(store, registered, recognizer)


def test_nothing_of_a_version_is_code_or_pickled(registered: RegisteredVersion) -> None:
    found = open_store().mlflow.models.get_model_info(f"models:/{registered.model_id}").flavors["python_function"]
    assert (found["loader_module"], found["data"]) == ("landmarks.tracking.pyfunc", "recognizer")
    assert not {"code", "python_model", "model_code_path"} & found.keys()


def test_a_registered_model_says_what_it_is_unless_people_did(
    workspace: Workspace, registered: RegisteredVersion
) -> None:
    client = open_store().client
    assert "models:/tiny@champion" in client.get_registered_model("tiny").description
    client.update_registered_model("tiny", "")
    assert reconcile_version(open_store(), registered, {}, CARD) == ["description of the model"]
    assert reconcile_version(open_store(), registered, {}, CARD) == []
    client.update_registered_model("tiny", "Ours.")
    assert register(workspace, "augmented").version == registered.version
    assert client.get_registered_model("tiny").description == "Ours."


def test_the_same_recognizer_is_registered_once(workspace: Workspace, registered: RegisteredVersion) -> None:
    again = register(workspace, "augmented", top5="1.0")
    assert (again.version, again.model_id) == (registered.version, registered.model_id)
    assert again.tags == {**registered.tags, "top5": "1.0"}
    assert register(workspace, "plain").version != registered.version


def test_lost_files_are_found_missing_and_uploaded_again(workspace: Workspace, registered: RegisteredVersion) -> None:
    store, recognizer = open_store(), workspace.models / "augmented"
    assert is_complete(store, registered, recognizer)
    for lost in workspace.root.glob(f"store/mlartifacts/**/{registered.model_id}/**/serving.tflite"):
        lost.unlink()
    assert not is_complete(store, registered, recognizer)
    with pytest.raises(ArtifactError, match=r"serving\.tflite is missing"):
        check_model(store, registered)
    assert register(workspace, "augmented").version == registered.version
    assert is_complete(store, registered, recognizer)
    check_model(store, registered)


@pytest.mark.parametrize("damage", ["file", "threshold"])
def test_altered_files_are_refused_and_uploaded_again(
    workspace: Workspace, registered: RegisteredVersion, tmp_path: Path, damage: str
) -> None:
    stored = next(workspace.root.glob(f"store/mlartifacts/**/{registered.model_id}/**/index.json"))
    if damage == "file":
        path = stored.with_name("items.csv")
        path.write_text(path.read_text().replace(",0", ",1", 1))
    else:  # as somebody who knows the format would do it
        change_sealed(stored, threshold=0.75)
    with pytest.raises(ArtifactError, match=r"tiny version \d+ in .* was altered since .*dvc repro -f register"):
        download_recognizer(registered, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    assert register(workspace, "augmented").version == registered.version
    assert check_recognizer(download_recognizer(registered, tmp_path / "fetched")) == registered.tags["fingerprint"]


def test_a_network_unlike_its_serving_export_is_refused_and_leaves_no_version(
    workspace: Workspace, registered: RegisteredVersion, tmp_path: Path
) -> None:
    import shutil

    broken = tmp_path / "models" / "augmented"
    shutil.copytree(workspace.models / "augmented", broken)
    change_sealed(broken / "index" / "index.json", threshold=0.25)
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    colour = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(-1 / 255, offset=0.5)(inputs))
    outputs = {"probabilities": keras.layers.Softmax()(colour), "embedding": keras.layers.UnitNormalization()(colour)}
    keras.Model(inputs, outputs).save(broken / "bundle" / "model.keras")
    renew_bundle(broken)
    before = [version.version for version in list_models()]
    with pytest.raises(ArtifactError, match=r"does not answer as its serving export: \w+ differ by 0\.\d"):
        log_model(
            open_store(),
            broken,
            model_name="tiny",
            variant="augmented",
            run_id=registered.run_id,
            tags={},
            card=CARD,
        )
    assert [version.version for version in list_models()] == before


def test_a_missing_alias_says_which_there_are(registered: RegisteredVersion) -> None:  # noqa: ARG001
    for model_name, alias in (("tiny", "challenger"), ("towers", "champion")):
        with pytest.raises(ArtifactError, match=rf"no model {model_name}@{alias}; there are: tiny@champion"):
            resolve_alias(model_name, alias)
        assert find_alias(open_store(), model_name, alias) is None


def test_a_version_whose_files_are_lost_is_named(registered: RegisteredVersion, tmp_path: Path) -> None:
    gone = RegisteredVersion("tiny", "99", registered.run_id, "m-" + "0" * 32, {}, (), 0)
    with pytest.raises(ArtifactError, match="recognizer of tiny version 99 cannot be fetched"):
        download_recognizer(gone, tmp_path / "recognizer")
    assert list(tmp_path.iterdir()) == []


def test_versions_are_listed_with_their_aliases_and_scores(registered: RegisteredVersion) -> None:
    listed = {version.version: version for version in list_models()}[registered.version]
    line = listed.describe()
    assert all(part in line for part in ("tiny", "champion", "augmented", "top1 0.750"))
    assert json.loads(json.dumps(listed.as_json()))["aliases"] == ["champion"]
