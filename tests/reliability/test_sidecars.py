"""The quick part of the campaign `sidecars`."""

from pathlib import Path

from chaos.sidecars import attack


def test_a_damaged_sidecar_is_merged_without_a_loss_or_left_as_it_is(tmp_path: Path) -> None:
    tally = attack(300, 2024, tmp_path)
    assert tally.failures == []
    assert min(tally.outcomes[outcome] for outcome in ("merged", "refused")) > 60
