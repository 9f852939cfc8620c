from pathlib import Path

import pytest

from chaos import soak


@pytest.mark.slow
def test_a_short_soak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "MOST_SLOWER", 20)  # the machine may be busy with other tests
    tally = soak.attack(8, 0, tmp_path)
    assert tally.failures == []
    assert tally.outcomes["200 of honest requests"] > 50
