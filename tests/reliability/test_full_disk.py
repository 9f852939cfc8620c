"""The quick part of the campaign `full_disk`: the commands before the training, each on a disk that is full."""

from pathlib import Path

import pytest

from chaos.full_disk import attack, can_mount

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not can_mount(), reason="no disk can be mounted here")
def test_a_full_disk_is_said_and_the_next_run_goes_on(tmp_path: Path) -> None:
    tally = attack(8, 0, tmp_path)
    assert tally.failures == []
    assert tally.outcomes["params said it"] == 3
    assert tally.outcomes["acquire said it"] >= 2
