from pathlib import Path

from chaos import photos


def test_damaged_padded_and_turned_photos(tmp_path: Path) -> None:
    tally = photos.attack(600, 0, tmp_path)
    assert tally.failures == []
    assert sum(tally.outcomes.values()) == 600
    for what in ("damage read", "damage refused", "trailer read", "orientation read", "parts refused"):
        assert tally.outcomes[what]
