"""The quick part of the campaign `chaos/flips.py`."""

from pathlib import Path

import pytest

from chaos import flips

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")]


def test_no_altered_bit_gives_another_answer(tmp_path: Path) -> None:
    tally = flips.attack(70, 1, tmp_path)
    assert tally.failures == []
    assert tally.outcomes["refused"] > 40
