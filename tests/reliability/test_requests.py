from pathlib import Path

import pytest

from chaos import requests


@pytest.mark.slow
def test_hostile_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "LIVE_SECONDS", 5.0)  # the machine may be busy with other tests
    assert requests.attack(44, 0, tmp_path).failures == []
