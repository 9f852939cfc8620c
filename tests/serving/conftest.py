"""One recognizer, packed once, for all tests of the service."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import anyio.from_thread
import pytest
from bentoml._internal.bento import BentoStore
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from colours import RUN_ID, Client, pack, serve, write_recognizer, write_workspace

from landmarks.params import ServiceParams
from landmarks.serving.packaging import import_recognizer
from landmarks.serving.receipt import PackageReceipt
from landmarks.serving.service import build_service


@pytest.fixture(scope="session")
def recognizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recognizer(tmp_path_factory.mktemp("recognizer"))


@pytest.fixture(scope="session")
def limits() -> ServiceParams:
    return ServiceParams(
        max_body_bytes=2_000_000,
        max_pixels=4_000_000,
        default_k=2,
        max_k=50,
        max_batch_photos=4,
        max_waiting=40,
        max_waiting_bytes=20_000_000,
        receive_seconds=2,
        answer_seconds=10,
    )


@pytest.fixture(scope="session")
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """BentoML's stores, for this process and those it starts."""
    home = tmp_path_factory.mktemp("bentoml")
    for store in ("models", "bentos", "tmp"):
        (home / store).mkdir()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("BENTOML_HOME", str(home))
        stack.enter_context(BentoMLContainer.model_store.patch(ModelStore(home / "models")))
        stack.enter_context(BentoMLContainer.bento_store.patch(BentoStore(home / "bentos")))
        stack.enter_context(BentoMLContainer.tmp_bento_store_dir.patch(str(home / "tmp")))
        yield home


@pytest.fixture(scope="session")
def model_tag(bentoml_home: Path, recognizer_folder: Path) -> str:
    assert bentoml_home.is_dir()
    return import_recognizer(recognizer_folder, "colours", "3", RUN_ID, {"trained_by": "nobody"})


@pytest.fixture(scope="session")
def receipt(model_tag: str, limits: ServiceParams) -> PackageReceipt:
    return pack(model_tag, limits)


@pytest.fixture(scope="session")
def workspace(receipt: PackageReceipt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's root as `bentoml serve` sees it."""
    return write_workspace(tmp_path_factory.mktemp("workspace"), receipt)


@pytest.fixture(scope="session")
def client(receipt: PackageReceipt) -> Iterator[Client]:
    app = build_service(receipt).to_asgi()
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield Client(app, portal)


@pytest.fixture(scope="session")
def address(workspace: Path) -> Iterator[str]:
    """Where a real `bentoml serve` answers."""
    with serve([], workspace) as address:
        yield address
