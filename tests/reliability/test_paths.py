"""The quick part of the campaign `paths`: a project in one folder whose name has a little of everything."""

from pathlib import Path

import pytest

from chaos.paths import attack


@pytest.mark.slow
def test_a_project_works_in_a_folder_of_any_name(tmp_path: Path) -> None:
    tally = attack(1, 0, tmp_path)
    assert not tally.failures
    assert tally.outcomes == {"worked": 1}
