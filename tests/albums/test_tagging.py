"""Tagging folders: only new and changed photos, nothing lost, nothing half-written, and all of it taken back."""

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from landmarks.albums.models import LocalModel
from landmarks.albums.names import Names
from landmarks.albums.sidecars import find_sidecar
from landmarks.albums.state import State
from landmarks.albums.tagging import Settings, Tagged, Tagger
from landmarks.albums.undoing import undo
from landmarks.albums.xmp import Place, Sidecar, SidecarError
from landmarks.cli import main
from landmarks.errors import ArtifactError
from landmarks.files.parsing import read_json
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.vocabulary import Landmark
from tiny_recognizers import BLUE, GREEN, GREY, LANDMARKS, RED, make_photos, write_tiny_bundle, write_tiny_index

Colour = tuple[int, int, int]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "towers")


def write_model(folder: Path, landmarks: tuple[Landmark, ...] = LANDMARKS, threshold: float = 0.5) -> Path:
    bundle = write_tiny_bundle(folder / "bundle", landmarks)
    gallery = [
        photo for label, colour in enumerate((RED, GREEN, BLUE)) for photo in make_photos(label, label, [colour])
    ]
    write_tiny_index(folder / "index", read_json(bundle / "bundle.json")["fingerprint"], gallery, threshold)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANDMARKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    return tmp_path / "cache"


def put_photo(path: Path, colour: Colour, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 21, (48, 64, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=95)
    return path


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for number, colour in enumerate((RED, GREEN, BLUE, GREY)):
        put_photo(folder / f"{number}.jpg", colour, number)
    put_photo(folder / "2024/Ostern/Grüße.png", BLUE, 9)
    return folder


def tag(model: Path, *paths: Path, names: Names | None = None, **settings: object) -> dict[str, Tagged]:
    """Tag photos, and return what was done by their file names."""
    local = LocalModel(Recognizer.load(model), model, model.name)
    known = names or Names(local.names, local.translations)
    state = State()
    photos = [photo for path in paths for photo in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    wanted = [photo for photo in photos if photo.is_file() and photo.suffix.lower() in (".jpg", ".png", ".dng")]
    done = {one.path.name: one for one in Tagger(local, known, state, Settings(**settings)).tag(wanted)}  # type: ignore[arg-type]
    state.close()
    return done


def undo_all(*paths: Path) -> dict[str, str]:
    state = State()
    done: dict[str, str] = {one.path.name: one.outcome for one in undo(paths, state)}
    state.close()
    return done


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["tag", *map(str, arguments)])


def read_tags(sidecar: Path) -> tuple[str, ...]:
    return Sidecar.parse(sidecar.read_bytes()).read_keywords().get("tags", ())


def test_photos_of_landmarks_get_sidecars_and_others_none(model_folder: Path, album: Path) -> None:
    before = read_tree(album)
    done = tag(model_folder, album)
    assert {name: one.outcome for name, one in done.items()} == {
        "0.jpg": "tagged",
        "1.jpg": "tagged",
        "2.jpg": "tagged",
        "3.jpg": "unchanged",
        "Grüße.png": "tagged",
    }
    after = read_tree(album)
    assert {name: after[name] for name in before} == before  # the photos are as they were
    assert {*after} - {*before} == {"0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp", "2024/Ostern/Grüße.png.xmp"}
    assert read_tags(album / "1.jpg.xmp") == ("Places/Landmarks/Grüne Brücke",)
    (record,) = Sidecar.parse((album / "1.jpg.xmp").read_bytes()).read_records()
    assert (record.file, record.landmark_id, record.name, record.model) == ("1.jpg", 11, "Grüne Brücke", "towers")
    assert record.time == "2027-01-15T08:00:00Z"
    assert record.confidence == pytest.approx(done["1.jpg"].answer.confidence, abs=1e-4)
    assert read_tree(album) == after
    assert undo_all(album) == dict.fromkeys(("0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp", "Grüße.png.xmp"), "deleted")
    assert read_tree(album) == before


def test_a_second_run_answers_and_writes_nothing(model_folder: Path, album: Path) -> None:
    tag(model_folder, album)
    before = {path: path.stat().st_mtime_ns for path in album.rglob("*.xmp")}
    done = tag(model_folder, album)
    assert {one.outcome for one in done.values()} == {"unchanged"}
    assert not any(one.answered for one in done.values())
    assert {path: path.stat().st_mtime_ns for path in album.rglob("*.xmp")} == before


def test_a_changed_photo_is_answered_again_and_its_tag_replaced(model_folder: Path, album: Path) -> None:
    tag(model_folder, album)
    put_photo(album / "0.jpg", BLUE, 5)
    put_photo(album / "1.jpg", GREY, 6)
    done = tag(model_folder, album)
    assert {name for name, one in done.items() if one.answered} == {"0.jpg", "1.jpg"}
    assert (done["0.jpg"].outcome, done["1.jpg"].outcome) == ("tagged", "untagged")
    assert read_tags(album / "0.jpg.xmp") == ("Places/Landmarks/Blue Dome",)
    assert not (album / "1.jpg.xmp").exists()


def test_a_moved_folder_is_found_again_by_its_content(model_folder: Path, album: Path) -> None:
    (album / "2.jpg.xmp").write_bytes(Sidecar.make().serialize() + b"\n\n")
    original = (album / "2.jpg.xmp").read_bytes()
    tag(model_folder, album)
    before = read_tree(album)
    moved = album.rename(album.with_name("elsewhere"))
    done = tag(model_folder, moved)
    assert not any(one.answered for one in done.values())
    assert read_tree(moved) == before
    assert undo_all(moved)["2.jpg.xmp"] == "restored"
    assert (moved / "2.jpg.xmp").read_bytes() == original


def test_another_model_answers_all_photos_again(model_folder: Path, album: Path, tmp_path: Path) -> None:
    tag(model_folder, album)
    renamed = (replace(LANDMARKS[0], name="Rotes Haus"), *LANDMARKS[1:])
    other = write_model(tmp_path / "houses", renamed)
    done = tag(other, album)
    assert all(one.answered for one in done.values())
    assert read_tags(album / "0.jpg.xmp") == ("Places/Landmarks/Rotes Haus",)
    printed = run(album, "--model", model_folder).output
    assert "5 photos had been answered by another model, and now by towers" in printed


def test_nothing_is_written_below_the_confidence_that_is_wanted(model_folder: Path, album: Path) -> None:
    done = tag(model_folder, album, min_confidence=0.99)
    assert {one.outcome for one in done.values()} == {"unchanged"}
    assert all(one.answer.is_landmark for name, one in done.items() if name != "3.jpg")
    assert not [*album.rglob("*.xmp")]


def test_the_next_landmarks_are_as_much_less_sure_as_less_probable(model_folder: Path, album: Path) -> None:
    done = tag(model_folder, album / "0.jpg", top=3, min_confidence=0.001)
    (first, *others), answer = done["0.jpg"].landmarks, done["0.jpg"].answer
    assert first[2] == pytest.approx(answer.confidence)
    assert len(others) == 2
    for (_, _, confidence), (_, _, score) in zip(others, answer.landmarks[1:], strict=True):
        assert confidence / answer.confidence == pytest.approx(score / answer.landmarks[0][2])


def test_a_dry_run_writes_no_sidecar_and_says_what_would_be(model_folder: Path, album: Path) -> None:
    before = read_tree(album)
    done = run(album, "--dry-run", "--model", model_folder)
    assert done.exit_code == 0
    assert f"{album / '0.jpg'}: Red Tower (" in done.stdout
    assert "4 sidecars would change" in done.stdout
    assert read_tree(album) == before
    wet = run(album, "--model", model_folder)
    assert "0 answered now, 4 sidecars written" in wet.stdout  # the answers are kept


def test_landmarks_of_one_name_keep_apart(album: Path, tmp_path: Path) -> None:
    twins = (replace(LANDMARKS[0], name="Old Gate"), replace(LANDMARKS[1], name="old_gate"), LANDMARKS[2])
    tag(write_model(tmp_path / "twins", twins), album)
    assert read_tags(album / "0.jpg.xmp") == ("Places/Landmarks/Old Gate (7)",)
    assert read_tags(album / "1.jpg.xmp") == ("Places/Landmarks/old gate (11)",)
    assert read_tags(album / "2.jpg.xmp") == ("Places/Landmarks/Blue Dome",)


def test_names_come_in_the_language_that_is_wanted(album: Path, tmp_path: Path) -> None:
    translated = replace(LANDMARKS[0], translations={"de": "Roter Turm", "pt-BR": "Torre Vermelha"})
    model = write_model(tmp_path / "translated", (translated, *LANDMARKS[1:]))
    done = run(album, "--model", model, "--language", "de")
    assert done.exit_code == 0, done.output
    assert read_tags(album / "0.jpg.xmp") == ("Places/Landmarks/Roter Turm",)
    assert read_tags(album / "2.jpg.xmp") == ("Places/Landmarks/Blue Dome",)
    refused = run(album, "--model", model, "--language", "fr")
    assert refused.exit_code == 1
    assert "no names in the language fr. It has: de, pt-BR." in refused.stderr


def test_names_with_separators_and_control_characters_do_no_harm(album: Path, tmp_path: Path) -> None:
    odd = (replace(LANDMARKS[0], name="A/B|C <&> \x07 D"), *LANDMARKS[1:])
    tag(write_model(tmp_path / "odd", odd), album / "0.jpg")
    found = Sidecar.parse((album / "0.jpg.xmp").read_bytes()).read_keywords()
    assert found["subject"] == ("A/B|C <&> D",)
    assert found["tags"][0].count("/") == 2
    assert found["hierarchy"][0].count("|") == 2


def test_one_bad_photo_and_one_bad_sidecar_do_not_stop_the_rest(model_folder: Path, album: Path) -> None:
    (album / "bad.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (album / "0.jpg.xmp").write_bytes(b"not <xml")
    done = run(album, "--model", model_folder)
    assert done.exit_code == 1
    assert "6 photos: 4 of 3 landmarks, 0 without a tag, 2 failed" in done.stdout
    assert f"{album / '0.jpg'}: Its sidecar was left as it is: it is not well-formed XML" in done.stdout
    assert (album / "0.jpg.xmp").read_bytes() == b"not <xml"
    assert (album / "1.jpg.xmp").exists()
    (album / "0.jpg.xmp").unlink()  # what failed is tried again
    assert "1 sidecars written" in run(album, "--model", model_folder).stdout


@pytest.fixture
def disk(album: Path) -> Iterator[Path]:
    """A disk of 1 MB below the album, where this user may mount one."""
    folder = album / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk_fails_alone(model_folder: Path, album: Path, disk: Path) -> None:
    photo = put_photo(disk / "photo.jpg", RED)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = tag(model_folder, album)
    assert done["photo.jpg"].error == "Its sidecar was left as it is: Read-only file system."
    assert done["0.jpg"].outcome == "tagged"
    assert [*disk.iterdir()] == [photo]
    assert "FAIL  " in run(disk, "--model", model_folder, "--doctor").stdout


def fill_disk(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 512)


def test_a_full_disk_stops_the_run_and_leaves_nothing_half_written(model_folder: Path, disk: Path) -> None:
    for number in range(4):
        put_photo(disk / f"{number}.jpg", RED, number)
        (disk / f"{number}.jpg.xmp").write_bytes(Sidecar.make().serialize())
    with pytest.raises(OSError, match="No space left"):
        fill_disk(disk / "ballast")
    before = read_tree(disk)
    done = run(disk, "--model", model_folder)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: There is no space left to write ")
    assert read_tree(disk) == before
    (disk / "ballast").unlink()
    assert "4 sidecars written" in run(disk, "--model", model_folder).stdout
    assert {*undo_all(disk).values()} == {"restored"}
    assert read_tree(disk) == {name: data for name, data in before.items() if name != "ballast"}


def test_a_name_without_room_for_the_suffix_is_reported_and_not_shortened(model_folder: Path, tmp_path: Path) -> None:
    long = put_photo(tmp_path / "long" / f"{'x' * 251}.jpg", RED)
    done = tag(model_folder, long)
    assert "has no room for .xmp" in done[long.name].error
    assert [*long.parent.iterdir()] == [long]
    assert tag(model_folder, long, style="stem")[long.name].outcome == "tagged"
    assert (long.parent / f"{'x' * 251}.xmp").is_file()


def test_names_that_are_no_utf8_are_tagged_and_listed(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    photo = put_photo(folder / "a.jpg", RED)
    named = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 100%.jpg"))
    photo.rename(named)
    done = run(folder, "--model", model_folder, "--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json")
    assert done.exit_code == 0, done.output
    sidecar = named.with_name(named.name + ".xmp")
    assert [record.file for record in Sidecar.parse(sidecar.read_bytes()).read_records()] == ["caf%E9 100%25.jpg"]
    assert os.fsencode(json.loads((tmp_path / "t.json").read_text())["path"]) == os.fsencode(named)
    assert undo_all(named) == {sidecar.name: "deleted"}


def test_the_sidecar_that_exists_is_used(model_folder: Path, album: Path) -> None:
    (album / "0.xmp").write_bytes(Sidecar.make().serialize())
    (album / "1.jpg.xmp").write_bytes(Sidecar.make().serialize())
    tag(model_folder, album / "0.jpg", style="full")
    tag(model_folder, album / "1.jpg", style="stem")
    assert sorted(path.name for path in album.glob("*.xmp")) == ["0.xmp", "1.jpg.xmp"]
    assert read_tags(album / "0.xmp") == ("Places/Landmarks/Red Tower",)
    assert read_tags(album / "1.jpg.xmp") == ("Places/Landmarks/Grüne Brücke",)
    with pytest.raises(SidecarError, match="has no room"):
        find_sidecar(album / f"{'y' * 250}.jpg", "full")


def test_a_photo_gets_the_place_of_its_landmark_only_if_asked(model_folder: Path, album: Path, tmp_path: Path) -> None:
    places = tmp_path / "places.csv"
    places.write_text(
        "landmark_id,latitude,longitude\n7,48.8584,2.2945\n40,-33.8568,151.2153\n11,,\n", encoding="utf-8"
    )
    done = run(album, "--model", model_folder, "--gps", places)
    assert done.exit_code == 0, done.output
    placed = (album / "0.jpg.xmp").read_text(encoding="utf-8")
    assert "<exif:GPSLatitude>48,51.5040N</exif:GPSLatitude>" in placed
    assert "<exif:GPSLongitude>2,17.6700E</exif:GPSLongitude>" in placed
    assert "estimated" in placed
    assert "<exif:GPSLatitude>33,51.4080S<" in (album / "2.jpg.xmp").read_text(encoding="utf-8")
    assert "GPS" not in (album / "1.jpg.xmp").read_text(encoding="utf-8")
    run(album, "--model", model_folder)
    assert "GPS" not in (album / "0.jpg.xmp").read_text(encoding="utf-8")
    places.write_text("landmark_id,latitude,longitude\n7,95,2\n", encoding="utf-8")
    refused = run(album, "--model", model_folder, "--gps", places)
    assert "Row 2 of" in refused.stderr
    assert Place(1.0, 2.0) != Place(2.0, 1.0)


def test_the_table_the_lines_and_the_folder_of_links(model_folder: Path, album: Path, tmp_path: Path) -> None:
    outputs = {name: tmp_path / f"out/{name}" for name in ("t.csv", "t.jsonl", "links", "page.html")}
    arguments = ["--csv", "t.csv", "--json", "t.jsonl", "--album", "links", "--report", "page.html"]
    given = [outputs.get(argument, argument) for argument in arguments]
    for _ in range(2):  # a second run has the same, from the state
        done = run(album, "--model", model_folder, *given)
        assert done.exit_code == 0, done.output
        with outputs["t.csv"].open(encoding="utf-8", newline="") as stream:
            rows = {Path(row["path"]).name: row for row in csv.DictReader(stream)}
        assert rows["1.jpg"]["tagged"] == rows["1.jpg"]["answer"] == "Grüne Brücke"
        assert rows["1.jpg"]["link"].endswith("Category:Gr%C3%BCne_Br%C3%BCcke")
        assert (rows["3.jpg"]["answer"], rows["3.jpg"]["tagged"]) == ("no landmark", "")
        lines = [json.loads(line) for line in outputs["t.jsonl"].read_text(encoding="utf-8").splitlines()]
        assert [line["path"] for line in lines] == [row["path"] for row in rows.values()]
        assert lines[0]["predictions"][0]["landmark_id"] == 7
        linked = {path.relative_to(outputs["links"]).as_posix() for path in outputs["links"].rglob("*.*g")}
        assert linked == {"Red Tower/0.jpg", "Grüne Brücke/1.jpg", "Blue Dome/2.jpg", "Blue Dome/Grüße.png"}
        assert (outputs["links"] / "Red Tower/0.jpg").resolve() == album / "0.jpg"
        page = outputs["page.html"].read_text(encoding="utf-8")
        assert "4 photos of 3 landmarks, 0 not sure enough, 1 without a landmark, 0 failed" in page
        assert page.count("data:image/jpeg;base64,") == 5
        assert "landmark score 0." in page


@pytest.mark.parametrize("option", ["--hard-links", "--copy"])
def test_an_album_of_hard_links_or_copies(model_folder: Path, album: Path, tmp_path: Path, option: str) -> None:
    put_photo(album / "other/0.jpg", RED, 77)  # of the same name
    target = tmp_path / "out"
    for _ in range(2):
        done = run(album, "--model", model_folder, "--album", target, option, "--sidecar", "none")
        assert done.exit_code == 0, done.output
        found = {path.name: path for path in (target / "Red Tower").iterdir()}
        assert sorted(found) == ["0-2.jpg", "0.jpg"]
        assert {path.read_bytes() for path in found.values()} == {
            (album / name).read_bytes() for name in ("0.jpg", "other/0.jpg")
        }
        assert not any(path.is_symlink() for path in found.values())
        assert found["0.jpg"].samefile(album / "0.jpg") == (option == "--hard-links")
    assert not [*album.rglob("*.xmp")]
    inside = run(album, "--model", model_folder, "--album", album / "landmarks", option)
    assert (inside.exit_code, "would be tagged too" in inside.stderr) == (2, True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    refused = run(album, "--model", model_folder, "--album", tmp_path / "full")
    assert "has other things in it" in refused.stderr


def test_the_page_escapes_what_names_hold(tmp_path: Path) -> None:
    evil = tmp_path / "album" / '"><script>alert(1)</script>&.jpg'.replace("/", "_")
    put_photo(evil, RED)
    named = (replace(LANDMARKS[0], name="<img src=x onerror=alert(2)>"), *LANDMARKS[1:])
    model = write_model(tmp_path / "evil", named)
    done = run(tmp_path / "album", "--model", model, "--report", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(2)&gt;" in page


def test_what_is_known_is_shown(model_folder: Path, album: Path, tmp_path: Path) -> None:
    assert "Nothing is known" in run(album, "--status").stdout
    (album / "bad.jpg").write_bytes(b"no photo")
    run(album, "--model", model_folder)
    shown = run(album, "--status").stdout
    assert shown.startswith("6 photos: 4 tagged, 1 without a tag, 1 failed (")
    assert f"{album / 'bad.jpg'}: The bytes are not a photo" in shown
    assert run(tmp_path / "album", album.parent / "album", "--status").exit_code == 0


def test_the_doctor_finds_what_is_missing(model_folder: Path, album: Path, tmp_path: Path) -> None:
    well = run(album, "--model", model_folder, "--doctor")
    assert well.exit_code == 0, well.output
    assert "ok    model: towers " in well.stdout
    assert "FAIL" not in well.stdout
    (tmp_path / "empty").mkdir()
    ill = run(tmp_path / "empty", "--model", tmp_path / "nothing", "--doctor")
    assert ill.exit_code == 1
    assert "FAIL  model: " in ill.stdout
    assert "it has no photo" in ill.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Name a folder of photos"),
        (["--undo", "--status", "ALBUM"], "--undo and --status cannot be used together"),
        (["--watch", "--dry-run", "ALBUM"], "cannot be used with --dry-run"),
        (["--copy", "ALBUM"], "Add --album DIR"),
        (["nowhere"], "There is no nowhere"),
        (["--url", "http://127.0.0.1:1", "--model", "x", "ALBUM"], "leave out --model"),
        (["--url", "ftp://host", "ALBUM"], "must begin with http"),
        (["--url", "http://127.0.0.1:1", "ALBUM"], "Nothing answers at http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_meant_is_refused(album: Path, arguments: list[str], problem: str) -> None:
    done = run(*(str(album) if argument == "ALBUM" else argument for argument in arguments))
    assert done.exit_code in (1, 2)
    assert problem in done.stderr


def test_a_folder_without_photos_says_so(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("x")
    done = run(tmp_path / "empty", "--model", model_folder)
    assert done.exit_code == 1
    assert "There is no photo. Left out: 1 not a photo" in done.stderr


def test_a_damaged_state_is_named(model_folder: Path, album: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "albums.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(ArtifactError, match="Delete it"):
        State()
    (cache / "albums.sqlite").unlink()
    State().close()
    database = sqlite3.connect(cache / "albums.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.commit()
    database.close()
    done = run(album, "--model", model_folder)
    assert done.exit_code == 1
    assert "written by a later version" in done.stderr


def test_a_share_that_vanishes_half_way_costs_only_a_report(model_folder: Path, album: Path) -> None:
    tag(model_folder, album)
    before = read_tree(album)
    local, state = LocalModel(Recognizer.load(model_folder), model_folder, "towers"), State()

    def list_photos() -> Iterator[Path]:
        yield album / "0.jpg"
        album.rename(album.with_name("gone"))
        yield from (album / f"{number}.jpg" for number in (1, 2, 3))

    done = [*Tagger(local, Names(local.names, {}), state, Settings()).tag(list_photos())]
    state.close()
    assert [one.outcome for one in done] == ["unchanged", "failed", "failed", "failed"]
    assert done[1].error == "The file cannot be read: No such file or directory."
    album.with_name("gone").rename(album)
    again = tag(model_folder, album)
    assert {(one.outcome, one.answered) for one in again.values()} == {("unchanged", False)}
    assert read_tree(album) == before


def test_two_runs_at_once_spoil_nothing(model_folder: Path, album: Path) -> None:
    for number in range(40):
        put_photo(album / f"more/{number}.jpg", (RED, GREEN, BLUE)[number % 3], 100 + number)
    command = [sys.executable, "-m", "landmarks.cli", "tag", str(album), "--model", str(model_folder)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for one in runs:
        _, errors = one.communicate(timeout=120)
        assert (one.returncode, errors) == (0, "")
    sidecars = sorted(album.rglob("*.xmp"))
    assert len(sidecars) == 44
    for sidecar in sidecars:
        assert len(Sidecar.parse(sidecar.read_bytes()).read_records()) == 1
    assert {*undo_all(album).values()} == {"deleted"}
    assert not [path for path in album.rglob("*") if path.suffix == ".xmp" or path.name.startswith(".")]


@pytest.fixture
def watching(model_folder: Path, album: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-u", "-m", "landmarks.cli", "tag", str(album), "--watch", "--model", str(model_folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_photos_that_arrive_are_tagged(album: Path, watching: "subprocess.Popen[str]") -> None:
    assert watching.stderr is not None
    waiting = threading.Timer(60, watching.kill)
    waiting.start()
    for line in watching.stderr:
        if line.startswith("Waiting for photos"):
            break
    waiting.cancel()
    time.sleep(0.5)
    put_photo(album / "new/late.jpg", BLUE, 3)
    shutil.copy(album / "0.jpg", album / "copied.jpg")
    expected = [album / "new/late.jpg.xmp", album / "copied.jpg.xmp"]
    end = time.monotonic() + 60
    while not all(path.exists() for path in expected) and time.monotonic() < end:
        time.sleep(0.2)
    assert read_tags(album / "new/late.jpg.xmp") == ("Places/Landmarks/Blue Dome",)
    assert read_tags(album / "copied.jpg.xmp") == ("Places/Landmarks/Red Tower",)
