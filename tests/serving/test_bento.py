"""Packing a recognizer: the model store, the Bento and its receipt."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import bentoml
import pytest
from colours import PROJECT, RUN_ID, pack
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from landmarks.errors import ArtifactError
from landmarks.files.digests import compute_sha256
from landmarks.params import ServiceParams
from landmarks.recognizer.format import check_recognizer
from landmarks.serving.locked_hashes import add_hashes
from landmarks.serving.packaging import find_recognizer, has_bento, import_recognizer, pin_requirements
from landmarks.serving.receipt import PackageReceipt, read_receipt
from reseal import change_sealed

OPTIONS = YAML(typ="safe").load((PROJECT / "bentofile.yaml").read_text(encoding="utf-8"))


def test_a_version_is_imported_once(model_tag: str, recognizer_folder: Path) -> None:
    before = {model.tag: model.info.creation_time for model in bentoml.models.list("colours")}
    assert import_recognizer(recognizer_folder, "colours", "3", RUN_ID, {}) == model_tag
    assert find_recognizer("colours", "3", check_recognizer(recognizer_folder)) == model_tag
    assert {model.tag: model.info.creation_time for model in bentoml.models.list("colours")} == before


def test_another_content_is_another_model(model_tag: str, recognizer_folder: Path, tmp_path: Path) -> None:
    assert find_recognizer("colours", "3", "f" * 64) is None
    changed = Path(shutil.copytree(recognizer_folder, tmp_path / "changed"))
    change_sealed(changed / "index/index.json", threshold=0.125)
    other = import_recognizer(changed, "colours", "3", RUN_ID, {})
    assert other != model_tag
    bentoml.models.delete(other)


def test_a_stored_model_that_was_altered_is_imported_anew(model_tag: str, recognizer_folder: Path) -> None:
    path = Path(bentoml.models.get(model_tag).path) / "bundle/serving.tflite"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert import_recognizer(recognizer_folder, "colours", "3", RUN_ID, {"trained_by": "nobody"}) == model_tag
    assert path.read_bytes() == whole


def test_the_model_holds_what_serving_needs(model_tag: str, recognizer_folder: Path) -> None:
    model = bentoml.models.get(model_tag)
    stored = {path.relative_to(model.path).as_posix() for path in Path(model.path).rglob("*") if path.is_file()}
    assert stored == {
        "model.yaml",
        ".whole",
        "bundle/bundle.json",
        "bundle/serving.tflite",
        "bundle/vocabulary.csv",
        "index/index.json",
        "index/items.csv",
        "index/distractors.npy",
        "index/embeddings.npy",
        "index/thumbnails.jpegs",
        "index/thumbnails.npy",
    }
    assert model.info.labels == {"trained_by": "nobody", "registry_version": "3", "run_id": RUN_ID}
    name = "bundle/serving.tflite"
    assert compute_sha256(Path(model.path) / name) == compute_sha256(recognizer_folder / name)


def test_a_folder_that_is_no_recognizer(bentoml_home: Path, tmp_path: Path) -> None:
    before = sorted(bentoml_home.rglob("model.yaml"))
    with pytest.raises(ArtifactError, match=r"bundle/bundle.json is missing"):
        import_recognizer(tmp_path, "colours", "4", RUN_ID, {})
    assert sorted(bentoml_home.rglob("model.yaml")) == before


def test_packing_twice_gives_one_bento(receipt: PackageReceipt, limits: ServiceParams) -> None:
    before = [str(bento.tag) for bento in bentoml.bentos.list("colours")]
    assert pack(receipt.model_tag, limits) == receipt
    assert [str(bento.tag) for bento in bentoml.bentos.list("colours")] == before


def test_other_limits_give_another_bento(receipt: PackageReceipt, limits: ServiceParams) -> None:
    other = pack(receipt.model_tag, limits.model_copy(update={"max_k": 7}))
    assert other.tag != receipt.tag
    assert has_bento(other.tag)
    bentoml.bentos.delete(other.tag)
    assert not has_bento(other.tag)


def test_the_bento_names_itself_its_model_and_where_it_comes_from(receipt: PackageReceipt) -> None:
    bento = bentoml.bentos.get(receipt.tag)
    assert read_receipt(Path(bento.path) / "src/reports/package.json") == receipt
    assert [str(model.tag) for model in bento.info.all_models] == [receipt.model_tag]
    assert bento.info.labels == {"model_name": "colours", "model_version": "3", "run_id": RUN_ID}
    assert receipt.tag.startswith("colours:v3-")


def test_the_bento_describes_the_service(receipt: PackageReceipt) -> None:
    bento = bentoml.bentos.get(receipt.tag)
    document = YAML(typ="safe").load((Path(bento.path) / "apis/openapi.yaml").read_text(encoding="utf-8"))
    assert document["info"]["title"] == "landmarks"
    assert "/classify_batch" in document["paths"]


def test_the_bento_names_no_package_index(receipt: PackageReceipt) -> None:
    for path in Path(bentoml.bentos.get(receipt.tag).path).rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8").lower()
            assert "pypi" not in text, path
            assert "index-url" not in text, path


def test_the_bentos_requirements_are_pinned_and_few(receipt: PackageReceipt) -> None:
    text = (Path(bentoml.bentos.get(receipt.tag).path) / "env/python/requirements.txt").read_text(encoding="utf-8")
    joined = re.sub(r" \\\n +", " ", text)
    lines = [
        re.fullmatch(r"([\w.-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})*)", line)
        for line in joined.splitlines()
        if line
    ]
    assert all(lines)
    pins = {line[1]: line[2] for line in lines if line}
    # BentoML's own line about itself comes last; pip and uv take the hashes of the first
    assert [line[1] for line in lines if line and not line[3]] == ["bentoml"]
    assert len(pins) == len(lines) - 1
    for name, pinned in pins.items():
        assert version(name) == pinned
    assert {Requirement(text).name.lower() for text in OPTIONS["python"]["packages"]} <= {
        name.replace("ruamel-", "ruamel.") for name in pins
    }
    assert pins.keys().isdisjoint({"tensorflow", "keras", "mlflow", "dvc", "great-expectations", "pandas", "pyarrow"})


def test_hashes_are_those_of_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "a==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        "b.c==2 ; sys_platform == 'linux' \\\n    --hash=sha256:22\n"
        "b.c==3 ; python_version < '3.12' \\\n    --hash=sha256:33\n"
    )
    assert add_hashes(["a==1", "b.c==3"], lock) == ["a==1 --hash=sha256:00 --hash=sha256:11", "b.c==3 --hash=sha256:33"]


@pytest.mark.parametrize("pins", [["a==1", "a==2"], ["b==1"]])
def test_without_all_hashes_there_are_none_and_the_log_says_so(
    pins: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "requirements.lock").write_text("a==1 \\\n    --hash=sha256:00\n")
    assert add_hashes(pins, tmp_path / "requirements.lock") == pins
    assert pins[-1] in caplog.text
    assert add_hashes(pins, tmp_path / "nothing") == pins


def test_pins_follow_what_packages_need() -> None:
    pins = pin_requirements(["httpx>=0.1"])
    assert f"httpx=={version('httpx')}" in pins
    assert f"h11=={version('h11')}" in pins  # of httpcore, of httpx
    assert not any(pin.startswith("h2==") for pin in pins)  # of an extra nobody asked for


@pytest.mark.parametrize(
    ("wanted", "words"), [("no-such-package-here", "is not installed"), ("httpx<0.1", "but the service needs")]
)
def test_a_package_that_cannot_be_pinned(wanted: str, words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        pin_requirements([wanted])


def test_a_project_without_its_files(receipt: PackageReceipt, limits: ServiceParams, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"bentofile.yaml is missing"):
        pack(receipt.model_tag, limits, project=tmp_path)
    shutil.copy(PROJECT / "bentofile.yaml", tmp_path)
    with pytest.raises(ArtifactError, match=r"src/landmarks/__init__.py is missing"):
        pack(receipt.model_tag, limits, project=tmp_path)


def test_a_model_that_was_not_imported(limits: ServiceParams, bentoml_home: Path) -> None:
    before = sorted(bentoml_home.rglob("bento.yaml"))
    with pytest.raises(ArtifactError, match="is not in BentoML's model store"):
        pack("colours:v9-unknown", limits)
    assert sorted(bentoml_home.rglob("bento.yaml")) == before


def test_bentofile_includes_the_folders_that_serving_imports_and_no_others() -> None:
    code = (
        "import sys, landmarks.serving.service\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'landmarks'), sep='\\n')"
    )
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    imported = {Path(line).relative_to(PROJECT).as_posix() for line in listed.split()}
    included = {
        path.relative_to(PROJECT).as_posix()
        for name in OPTIONS["include"]
        if name != "reports/package.json"
        for path in ((PROJECT / name).rglob("*.py") if (PROJECT / name).is_dir() else [PROJECT / name])
    }
    assert imported <= included
    # a folder goes in whole, but none that the service does not need
    assert {Path(name).parent for name in included} == {Path(name).parent for name in imported}
