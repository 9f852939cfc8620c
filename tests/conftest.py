"""Settings every test needs before anything is imported: nothing phones home, TensorFlow is quiet and repeatable."""

import os
from pathlib import Path

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

_SHARED = ("e2e", "serving")  # folders whose tests share a pipeline or a service; they take longest, so they go first


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share fixtures in one process, where several run tests."""
    tests = Path(__file__).parent

    def find_group(item: pytest.Item) -> str:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        return folder if folder in _SHARED else str(item.path)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(find_group(item)))
    items.sort(key=lambda item: _SHARED.index(group) if (group := find_group(item)) in _SHARED else len(_SHARED))
