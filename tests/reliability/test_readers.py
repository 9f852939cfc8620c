"""Damaged tables, params and receipts are read, or refused with an error of ours: quick parts of campaigns."""

from pathlib import Path
from types import ModuleType

import pytest

from chaos import params, receipts, tables


@pytest.mark.parametrize(("campaign", "tries"), [(params, 80), (receipts, 200), (tables, 240)])
def test_damaged_files_are_read_or_refused(campaign: ModuleType, tries: int, tmp_path: Path) -> None:
    tally = campaign.attack(tries, 0, tmp_path)
    assert tally.failures == []
    # as often as not: a campaign that only makes rubbish, or no damage at all, shows nothing
    assert min(tally.outcomes["read"], tally.outcomes["refused"]) > tries / 50
    assert tally.outcomes.total() == tries
