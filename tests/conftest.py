"""Settings every test needs before anything is imported: nothing phones home, TensorFlow is quiet and repeatable."""

import os
from typing import Any

import pytest

os.environ.update(
    DVC_NO_ANALYTICS="true",
    GX_ANALYTICS_ENABLED="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    BENTOML_DO_NOT_TRACK="true",
    DO_NOT_TRACK="true",
    TF_CPP_MIN_LOG_LEVEL="3",
    TF_ENABLE_ONEDNN_OPTS="1",
    CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
)

# Their tests share a pipeline or a service; they go first, as they take longest. The file has a pipeline of its own.
_SHARED = ("tests/e2e/test_own_photos.py", "tests/e2e/", "tests/serving/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders that take longest, so that several processes end at about the same time."""
    groups = [*_SHARED, ""]
    items.sort(key=lambda item: groups.index(_find_shared(item.nodeid)))


@pytest.hookimpl(optionalhook=True)  # the tests of mutants run without plugins
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests out to several processes by folders with fixtures in common, and by files."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFixtures(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _find_shared(nodeid) or nodeid.partition("::")[0]

    return ByFixtures(config, log)


def _find_shared(nodeid: str) -> str:
    return next((place for place in _SHARED if nodeid.startswith(place)), "")
