"""The quick part of the campaign `albums`: a few kills of tagging and of undoing."""

from pathlib import Path

import pytest

from chaos.albums import attack

pytestmark = pytest.mark.slow


def test_what_is_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    tally = attack(2, 0, tmp_path)
    assert tally.failures == []
    assert sum(tally.outcomes.values()) == 4
