"""`landmarks tag --url`: a running service answers, and the sidecars are those of its recognizer."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from colours import make_photo

from landmarks.albums.xmp import Sidecar
from landmarks.cli import main

RED = make_photo((200, 40, 40))


def read_records(folder: Path) -> list[tuple[str, int, str, float]]:
    records = [one for path in sorted(folder.rglob("*.xmp")) for one in Sidecar.parse(path.read_bytes()).read_records()]
    return [(record.file, record.landmark_id, record.name, record.confidence) for record in records]


def test_the_sidecars_are_those_of_the_recognizer(
    address: str, recognizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDMARKS_CACHE", str(tmp_path / "cache"))
    album = tmp_path / "album"
    album.mkdir()
    for number in range(20):
        (album / f"{number:02}.png").write_bytes(RED + bytes([number]))
    (album / "bad.png").write_bytes(b"no photo")
    found = []
    for source in (["--url", address], ["--model", str(recognizer_folder)]):
        done = CliRunner().invoke(main, ["tag", str(album), *source, "--min-confidence", "0"])
        assert done.exit_code == 1, done.output  # the bad photo
        assert "1 failed" in done.stdout
        found.append(read_records(album))
        CliRunner().invoke(main, ["tag", str(album), "--undo"])
    assert found[0] == found[1] != []


def test_a_wrong_address_is_named(address: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(RED)
    done = CliRunner().invoke(main, ["tag", str(tmp_path), "--url", f"{address}/nowhere"])
    assert done.exit_code == 1
    assert f"{address}/nowhere does not answer as the service of landmarks does" in done.stderr
