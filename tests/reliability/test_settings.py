"""A quick part of the campaign `settings`: the stages before training, on a machine with all odd settings at once."""

from pathlib import Path

import pytest

from chaos.settings import attack


@pytest.mark.slow
def test_settings_of_the_machine_change_no_result(tmp_path: Path) -> None:
    assert attack(1, 0, tmp_path).failures == []
