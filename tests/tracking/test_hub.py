"""`landmarks export hub`: read back, run, and uploaded to a server on this machine as users of the Hub do."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from landmarks.cli import main
from landmarks.errors import LandmarksError
from landmarks.stages.register import register
from landmarks.tracking.hub import write_hub_folder
from landmarks.tracking.registry import RegisteredVersion, read_scores, resolve_alias
from tiny_recognizers import RED, make_pixels
from tiny_workspaces import EXPORT, make_params, use_empty_store, write_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
FILES = {"README.md", "model.keras", "labels.csv", "example.py"}


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisteredVersion]:
    root = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        use_empty_store(patch, root / "store")
        workspace = write_workspace(root)
        register(workspace.models, workspace.reports, workspace.shards, make_params(), EXPORT, root)
        yield resolve_alias("tiny", "champion")


@pytest.fixture(scope="module")
def exported(champion: RegisteredVersion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hub_folder(champion, tmp_path_factory.mktemp("export") / "tiny")


class Hub(BaseHTTPRequestHandler):
    """Takes the files of a commit as the Hub does, without its storage of large files."""

    files: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "/preupload/" in self.path:
            named = [file["path"] for file in json.loads(body)["files"]]
            self.send({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in named]})
        elif "/commit/" in self.path:
            for line in body.decode().splitlines():
                operation = json.loads(line)
                if operation["key"] == "file":
                    content = operation["value"]["content"]
                    self.files[operation["value"]["path"]] = base64.b64decode(content)
            address = f"http://{self.headers['Host']}/someone/tiny"
            self.send({"commitUrl": f"{address}/commit/{'0' * 40}", "commitOid": "0" * 40})
        else:
            self.send({"url": "http://127.0.0.1/someone/tiny", "id": "someone/tiny", "name": "someone/tiny"})

    def do_GET(self) -> None:
        self.send({"id": "someone/tiny", "sha": "0" * 40, "siblings": [], "tags": []})

    def send(self, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    Hub.files = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Hub.files
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_card_is_read_back_with_the_same_data(champion: RegisteredVersion, exported: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported / "README.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "keras")
    assert card.data.model_name == "tiny"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    scores = read_scores(champion)
    assert found["accuracy"] == scores["top1"]
    assert {result.dataset_type for result in card.data.eval_results} == {"colours"}
    assert str(ModelCard(str(card)).data) == str(card.data)
    assert card.text.lstrip().startswith("# tiny, variant augmented")
    assert card.text.index("## How to use") < card.text.index("## Metrics") < card.text.index("## Limits")


def test_the_example_names_a_photo_without_this_package(exported: Path, tmp_path: Path) -> None:
    assert {path.name for path in exported.iterdir()} == FILES
    Image.fromarray(make_pixels(RED, 1).repeat(3, axis=0).repeat(3, axis=1)).save(tmp_path / "red.png")
    command = [sys.executable, str(exported / "example.py"), str(tmp_path / "red.png")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-3].split(maxsplit=1)[1] == "Red Tower"
    assert "landmarks." not in (exported / "example.py").read_text()


def test_the_folder_can_be_uploaded(exported: Path, hub: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    address, files = hub
    code = (
        "import sys; from huggingface_hub import HfApi;"
        "HfApi(token='hf_x').upload_folder(repo_id='someone/tiny', folder_path=sys.argv[1])"
    )
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "PATH": "/usr/bin:/bin"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-c", code, str(exported)]
    done = subprocess.run(command, env=settings, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files == {path.name: path.read_bytes() for path in exported.iterdir()}


def test_only_an_earlier_export_is_replaced(champion: RegisteredVersion, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    write_hub_folder(champion, folder)
    (folder / "labels.csv").write_text("old")
    assert CliRunner().invoke(main, ["export", "hub", str(folder), "--model", "models:/tiny@champion"]).exit_code == 0
    assert (folder / "labels.csv").read_text() != "old"
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(LandmarksError, match=r"other files than an export \(mine\.txt\)"):
        write_hub_folder(champion, folder)
    assert (folder / "mine.txt").read_text() == "mine"
