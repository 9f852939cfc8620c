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
from pillow_heif.as_plugin import _save_heif

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
from raw_photos import make_dng
from tiny_recognizers import BLUE, GREEN, GREY, LANDMARKS, RED, make_photos, write_tiny_bundle, write_tiny_index

pytestmark = pytest.mark.slow  # it starts processes

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
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
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
    assert undo_all(album) == dict.fromkeys(("0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp", "Grüße.png.xmp"), "deleted")
    assert read_tree(album) == before


def test_photos_of_every_format_are_tagged(model_folder: Path, tmp_path: Path) -> None:
    Image.register_save("HEIC", _save_heif)
    image = Image.new("RGB", (64, 48), BLUE)
    kinds = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "AVIF": "avif", "HEIC": "heic"}
    for kind, suffix in kinds.items():
        image.save(tmp_path / f"photo.{suffix}", kind)
    (tmp_path / "photo.dng").write_bytes(make_dng(BLUE))
    done = run(tmp_path, "--model", model_folder)
    assert done.exit_code == 0, done.output
    assert "7 photos: 7 with one of 1 landmark, 0 without a tag, 0 failed" in done.stdout
    assert len([*tmp_path.glob("photo.*.xmp")]) == 7


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
    assert "Another model had answered 5 photos; now towers has" in printed


def test_nothing_is_written_below_the_confidence_that_is_wanted(model_folder: Path, album: Path) -> None:
    done = tag(model_folder, album, min_confidence=0.99)
    assert {one.outcome for one in done.values()} == {"unchanged"}
    assert all(one.answer.is_landmark for name, one in done.items() if name != "3.jpg")
    assert not [*album.rglob("*.xmp")]


def test_the_next_landmarks_share_what_the_first_one_leaves(model_folder: Path, album: Path) -> None:
    done = tag(model_folder, album / "0.jpg", top=3, min_confidence=0.001)
    (first, *others), answer = done["0.jpg"].landmarks, done["0.jpg"].answer
    assert first[2] == pytest.approx(answer.confidence)
    assert len(others) == 2
    assert sum(confidence for _, _, confidence in others) == pytest.approx(1 - answer.confidence)
    (_, _, second), (_, _, third) = others
    assert second / third == pytest.approx(answer.landmarks[1][2] / answer.landmarks[2][2])


def test_a_dry_run_writes_no_sidecar_and_says_what_would_be(model_folder: Path, album: Path) -> None:
    before = read_tree(album)
    done = run(album, "--dry-run", "--model", model_folder)
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()[:5]]
    assert lines[0] == ["sidecar", "landmark,", "confidence", "photo"]
    assert lines[1][:3] + lines[1][4:] == ["new", "Red", "Tower,", str(album / "0.jpg")]
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


def test_names_come_in_the_language_that_is_wanted(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translated = replace(LANDMARKS[0], translations={"de": "Roter Turm", "pt-BR": "Torre Vermelha"})
    model = write_model(tmp_path / "translated", (translated, *LANDMARKS[1:]))
    done = run(album, "--model", model, "--language", "de")
    assert done.exit_code == 0, done.output
    assert read_tags(album / "0.jpg.xmp") == ("Places/Landmarks/Roter Turm",)
    assert read_tags(album / "2.jpg.xmp") == ("Places/Landmarks/Blue Dome",)
    refused = run(album, "--model", model, "--language", "fr")
    assert refused.exit_code == 1
    assert "no names in the language fr. It has: de, pt-BR." in refused.stderr
    for wanted, name in (("DE-AT", "Roter Turm"), ("pt_br", "Torre Vermelha")):
        run(album, "--model", model, "--language", wanted)
        assert read_tags(album / "0.jpg.xmp") == (f"Places/Landmarks/{name}",)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    run(album, "--model", model)
    assert read_tags(album / "0.jpg.xmp") == ("Places/Landmarks/Roter Turm",)


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
    done = run(album, "--model", model_folder, "--csv", album.parent / "t.csv", "--album", album.parent / "links")
    assert done.exit_code == 1
    assert "6 photos: 3 with one of 2 landmarks, 1 without a tag, 2 failed; 5 answered now, 3 sidecars" in done.stdout
    assert f"{album / '0.jpg'}: Its sidecar was left as it is: it is not well-formed XML" in done.stderr
    assert ",Red Tower,failed," not in (album.parent / "t.csv").read_text(encoding="utf-8")
    assert not (album.parent / "links/Red Tower").exists()
    assert (album / "0.jpg.xmp").read_bytes() == b"not <xml"
    assert (album / "1.jpg.xmp").exists()
    (album / "0.jpg.xmp").unlink()  # what failed is tried again
    assert "1 sidecar written" in run(album, "--model", model_folder).stdout


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
        assert "4 with one of 3 landmarks, 0 not sure enough, 1 without a landmark, 0 failed" in page
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


def test_what_is_known_is_shown(model_folder: Path, album: Path) -> None:
    assert "Nothing is known" in run(album, "--status").stdout
    (album / "bad.jpg").write_bytes(b"no photo")
    run(album, "--model", model_folder)
    shown = run(album, "--status").stdout
    assert shown.startswith("6 photos: 4 tagged, 1 without a tag, 1 failed (")
    assert f"{album / 'bad.jpg'}: The bytes are not a photo" in shown
    assert run(album, album / "2024", "--status").stdout == shown  # each photo counts once
    assert run(album / "0.jpg", "--status").stdout.startswith("1 photo: 1 tagged")
    shutil.rmtree(album / "2024")
    assert ", 1 not there any more (" in run(album, "--status").stdout
    run(album, "--model", model_folder)
    assert run(album, "--status").stdout.startswith("5 photos: 3 tagged, 1 without a tag, 1 failed (")
    shutil.rmtree(album)
    assert "5 not there any more" in run(album, "--status").stdout


def test_the_doctor_finds_what_is_missing(model_folder: Path, album: Path, cache: Path, tmp_path: Path) -> None:
    well = run(album, "--model", model_folder, "--doctor")
    assert well.exit_code == 0, well.output
    assert "ok    model: towers " in well.stdout
    assert "FAIL" not in well.stdout
    (tmp_path / "empty").mkdir()
    ill = run(tmp_path / "empty", "--model", tmp_path / "nothing", "--doctor")
    assert ill.exit_code == 1
    assert "FAIL  model: " in ill.stdout
    assert "it has no photo" in ill.stdout
    (cache / "albums.sqlite").write_bytes(b"no database at all" * 100)
    assert "FAIL  state: " in run(album, "--model", model_folder, "--doctor").stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Name a folder of photos"),
        (["--undo", "--status", "ALBUM"], "--undo and --status cannot be used together"),
        (["--watch", "--dry-run", "ALBUM"], "--watch and --dry-run cannot be used together"),
        (["--watch", "--csv", "t.csv", "ALBUM"], "--watch and --csv cannot be used together"),
        (["--watch", "ALBUM/0.jpg"], "waits for photos in folders"),
        (["--undo", "--force", "ALBUM"], "--undo and --force cannot be used together"),
        (["--csv", "ALBUM/0.jpg", "ALBUM"], "has the name of a photo"),
        (["--csv", "same", "--json", "same", "ALBUM"], "need a path each"),
        (["--copy", "ALBUM"], "Add --album DIR"),
        (["nowhere"], "There is no nowhere"),
        (["--url", "http://127.0.0.1:1", "--model", "x", "ALBUM"], "leave out --model"),
        (["--url", "ftp://host", "ALBUM"], "must begin with http"),
        (["--url", "http://127.0.0.1:1", "ALBUM"], "Nothing answers at http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_meant_is_refused(album: Path, arguments: list[str], problem: str) -> None:
    done = run(*(argument.replace("ALBUM", str(album)) for argument in arguments))
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
    with pytest.raises(ArtifactError, match=r"Move it away, with albums\.sqlite-wal and -shm"):
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


def test_a_sidecar_that_was_deleted_is_written_again(model_folder: Path, album: Path) -> None:
    tag(model_folder, album)
    (album / "0.jpg.xmp").unlink()
    done = tag(model_folder, album)
    assert (done["0.jpg"].outcome, done["0.jpg"].answered) == ("tagged", False)
    assert read_tags(album / "0.jpg.xmp") == ("Places/Landmarks/Red Tower",)


def test_a_photo_that_gets_a_place_of_its_own_loses_the_estimated_one(model_folder: Path, album: Path) -> None:
    places = {7: Place(48.8584, 2.2945)}
    tag(model_folder, album, places=places)
    assert Sidecar.parse((album / "0.jpg.xmp").read_bytes()).has_place()
    with Image.open(album / "0.jpg") as image:
        exif = image.getexif()
        exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0), 3: "E", 4: (1.0, 2.0, 3.0)})
        image.save(album / "0.jpg", exif=exif, quality=95)
    tag(model_folder, album, places=places)
    sidecar = Sidecar.parse((album / "0.jpg.xmp").read_bytes())
    assert not sidecar.has_place()
    assert len(sidecar.read_records()) == 1


def test_a_photo_renamed_with_its_sidecar_leaves_no_old_tag(model_folder: Path, album: Path) -> None:
    tag(model_folder, album / "0.jpg")
    (album / "0.jpg").unlink()
    (album / "0.jpg.xmp").rename(album / "9.jpg.xmp")
    put_photo(album / "9.jpg", BLUE, 4)
    tag(model_folder, album / "9.jpg")
    assert read_tags(album / "9.jpg.xmp") == ("Places/Landmarks/Blue Dome",)
    assert undo_all(album) == {"9.jpg.xmp": "deleted"}


def test_a_photo_of_two_spellings_has_one_record(model_folder: Path, album: Path) -> None:
    tag(model_folder, album / "0.jpg", style="stem")
    (album / "0.JPG").symlink_to("0.jpg")  # what a file system that ignores case would say
    tag(model_folder, album / "0.JPG", style="stem")
    assert [record.file for record in Sidecar.parse((album / "0.xmp").read_bytes()).read_records()] == ["0.JPG"]


def test_a_tag_leaves_the_sidecar_that_is_not_used_any_more(model_folder: Path, album: Path) -> None:
    tag(model_folder, album / "0.jpg")
    (album / "0.xmp").write_bytes(Sidecar.make().serialize())
    tag(model_folder, album / "0.jpg", style="stem", force=True)
    assert not (album / "0.jpg.xmp").exists()
    assert read_tags(album / "0.xmp") == ("Places/Landmarks/Red Tower",)


def test_upper_case_sidecars_are_used(model_folder: Path, album: Path) -> None:
    (album / "0.jpg.XMP").write_bytes(Sidecar.make().serialize())
    tag(model_folder, album / "0.jpg")
    assert sorted(path.name for path in album.iterdir() if path.suffix.lower() == ".xmp") == ["0.jpg.XMP"]
    assert read_tags(album / "0.jpg.XMP") == ("Places/Landmarks/Red Tower",)


def test_links_and_pipes_in_the_place_of_sidecars_are_left_alone(model_folder: Path, album: Path) -> None:
    elsewhere = album.with_name("elsewhere.xmp")
    elsewhere.write_bytes(Sidecar.make().serialize())
    (album / "0.jpg.xmp").symlink_to(elsewhere)
    (album / "1.jpg.xmp").symlink_to("nowhere.xmp")
    os.mkfifo(album / "2.jpg.xmp")
    before = elsewhere.read_bytes()
    done = tag(model_folder, album)
    assert [done[f"{number}.jpg"].outcome for number in range(3)] == ["failed"] * 3
    assert "it is a link" in done["0.jpg"].error
    assert "it is a link" in done["1.jpg"].error
    assert "not a regular file" in done["2.jpg"].error
    assert done["Grüße.png"].outcome == "tagged"
    assert elsewhere.read_bytes() == before
    assert not (album / "nowhere.xmp").exists()
    assert undo_all(album) == {
        **dict.fromkeys(("0.jpg.xmp", "1.jpg.xmp", "2.jpg.xmp"), "failed"),
        "Grüße.png.xmp": "deleted",
    }


def test_undo_goes_on_after_a_broken_sidecar_and_clears_what_a_kill_left(model_folder: Path, album: Path) -> None:
    before = read_tree(album)
    tag(model_folder, album)
    (album / "loop.xmp").symlink_to("loop.xmp")
    (album / ".2.jpg.xmp.tmp").mkdir()
    (album / ".2.jpg.xmp.tmp/2.jpg.xmp").write_bytes((album / "2.jpg.xmp").read_bytes()[:99])
    assert undo_all(album)["loop.xmp"] == "failed"
    (album / "loop.xmp").unlink()
    assert read_tree(album) == before
    assert not [*album.rglob(".*")]


def test_what_was_answered_is_kept_where_the_rest_fails(model_folder: Path, album: Path) -> None:
    def list_photos() -> Iterator[Path]:
        yield album / "0.jpg"
        raise RuntimeError("the list ends here")

    local, state = LocalModel(Recognizer.load(model_folder), model_folder, "towers"), State()
    with pytest.raises(RuntimeError, match="ends here"):
        [*Tagger(local, Names(local.names, {}), state, Settings()).tag(list_photos())]
    state.close()
    assert not tag(model_folder, album / "0.jpg")["0.jpg"].answered or (album / "0.jpg.xmp").exists()


def test_an_album_folder_follows_the_photos(model_folder: Path, album: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    run(album, "--model", model_folder, "--album", links)
    (links / "Red Tower/mine.txt").write_text("mine")
    (links / "Red Tower/other.jpg").symlink_to(tmp_path / "not of the album.jpg")
    put_photo(album / "0.jpg", BLUE, 5)
    (album / "1.jpg").unlink()
    run(album, "--model", model_folder, "--album", links)
    found = {path.relative_to(links).as_posix() for path in links.rglob("*") if not path.is_dir()}
    assert found == {
        *(".landmarks-album", "Red Tower/mine.txt", "Red Tower/other.jpg"),
        *("Blue Dome/0.jpg", "Blue Dome/2.jpg", "Blue Dome/Grüße.png"),
    }
    run(album, "--model", model_folder, "--album", links, "--copy")
    assert not (links / "Blue Dome/0.jpg").is_symlink()
    assert (links / "Blue Dome/0.jpg").read_bytes() == (album / "0.jpg").read_bytes()


def test_folders_of_landmarks_keep_apart_in_any_order(album: Path, tmp_path: Path) -> None:
    twins = (replace(LANDMARKS[0], name="A/B"), replace(LANDMARKS[1], name="a:b"), LANDMARKS[2])
    model, links = write_model(tmp_path / "twins", twins), tmp_path / "links"
    run(album / "1.jpg", "--model", model, "--album", links)
    run(album, "--model", model, "--album", links)
    assert sorted(path.name for path in links.iterdir() if path.is_dir()) == ["A_B (7)", "Blue Dome", "a_b (11)"]


def test_cells_that_a_spreadsheet_would_compute_are_texts(album: Path, tmp_path: Path) -> None:
    named = (replace(LANDMARKS[0], name="=HYPERLINK(1)"), *LANDMARKS[1:])
    table = tmp_path / "t.csv"
    run(album, "--model", write_model(tmp_path / "formula", named), "--csv", table)
    with table.open(encoding="utf-8", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_links_lead_to_landmarks_that_may_be_known_there(model_folder: Path) -> None:
    names = Names({7: "Old Tower", 8: "landmark 8", 9_007_199: "Aunt Mary's barn"}, {})
    assert names.find_link(7) == "https://commons.wikimedia.org/wiki/Special:Search/Category:Old_Tower"
    assert names.find_link(8) is names.find_link(9_007_199) is None
    assert Names({7: "Old Tower"}, {}, are_real=False).find_link(7) is None
    assert LocalModel(Recognizer.load(model_folder), model_folder, "x").identity.are_real


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
    assert [one.outcome for one in done] == ["failed"] * 4
    assert not album.exists()
    assert done[0].error == "Its sidecar was left as it is: the photo is not there any more."
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
    put_photo(album / "new/late.jpg", BLUE, 3)
    put_photo(album / ".hidden/no.jpg", BLUE, 3)
    (album / "out.jpg").symlink_to(put_photo(album.with_name("outside") / "o.jpg", RED))
    shutil.copy(album / "0.jpg", album / "copied.jpg")
    expected = [album / "new/late.jpg.xmp", album / "copied.jpg.xmp"]
    end = time.monotonic() + 60
    while not all(path.exists() for path in expected) and time.monotonic() < end:
        time.sleep(0.2)
    assert read_tags(album / "new/late.jpg.xmp") == ("Places/Landmarks/Blue Dome",)
    assert read_tags(album / "copied.jpg.xmp") == ("Places/Landmarks/Red Tower",)
    assert not [path for path in album.parent.rglob("*.xmp") if path.name in ("no.jpg.xmp", "o.jpg.xmp", "out.jpg.xmp")]
