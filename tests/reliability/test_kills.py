"""The quick part of the campaign `kills`: a few kills of the stages before the training."""

from pathlib import Path

import pytest

from chaos.kills import attack

pytestmark = pytest.mark.slow


def test_what_is_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    tally = attack(3, 0, tmp_path)
    assert tally.failures == []
    assert sum(tally.outcomes.values()) == 3
