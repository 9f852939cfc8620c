import io
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from landmarks.errors import ImageError
from landmarks.photos.walk import PhotoStream, find_photos, read_photo


def make_photo(kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, kind)
    return stream.getvalue()


def put(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_photo() if data is None else data)
    return path


def find(*folders: Path) -> list[str]:
    photos, left_out = find_photos(folders)
    stream = PhotoStream(folders)
    for _ in range(2):  # it looks anew each time
        streamed = [os.path.realpath(path) for path in stream]
        assert sorted(streamed) == sorted(map(os.path.realpath, photos))
        assert stream.left_out.counts == left_out.counts
    return [os.path.relpath(path, folders[0]) for path in photos]


def describe(folder: Path) -> str:
    return find_photos([folder])[1].describe().replace(f"{folder}/", "")


def test_a_library_as_it_comes(tmp_path: Path) -> None:
    """Everything that turned up in real folders of photos, in one tree."""
    root, outside = tmp_path / "library", put(tmp_path / "outside/other.jpg")
    expected = [
        *("2019/IMG_1.JPG", "2019/a photo.jpeg", "2019/b.jfif", "2019/c.jpe", "2019/d.HEIC", "2020/e.webp", "f.png"),
        *("2020/00f1a2b3c4d5e6f7", "2020/linked.jpg", "2020/hidden photo.jpg", "tagged/g.gif"),
    ]
    for name in ("2019/IMG_1.JPG", "2019/a photo.jpeg", "2019/b.jfif", "2019/c.jpe", "2019/d.HEIC", "2020/e.webp"):
        put(root / name)
    put(root / "f.png", make_photo("PNG"))
    put(root / "2020/00f1a2b3c4d5e6f7")
    for name in (
        *("@eaDir/IMG_1.JPG/SYNOPHOTO_THUMB_SM.jpg", ".thumbnails/t.jpg", ".AppleDouble/a.jpg", "__MACOSX/2019/m.jpg"),
        *("#recycle/r.jpg", "$RECYCLE.BIN/$R1.jpg", "2019/.hidden.jpg", "lost+found/l.jpg", ".git/annex/x.jpg"),
        *("System Volume Information/s.jpg", "2019/@eaDir/t.jpg"),
    ):
        put(root / name)
    put(root / "2019/._IMG_1.JPG", b"\0\5\26\7" + bytes(100))
    for name in ("Thumbs.db", "2019/desktop.ini", "2019/.DS_Store"):
        put(root / name, b"x")
    for name, data in (
        ("notes.txt", b"x"),
        ("2019/IMG_1.JPG.xmp", b"<x/>"),
        ("2019/film.mp4", b"x"),
        ("README", b"BM!"),
        ("jpg", b"x"),
    ):
        put(root / name, data)
    os.mkfifo(root / "pipe.jpg")
    (root / "2019/circle").symlink_to("..")
    (root / "2019/circle of one").symlink_to("circle of one")
    (root / "again.jpg").symlink_to("f.png")
    (root / "again").symlink_to("2019")
    (root / "tagged").symlink_to(".store/tagged")
    put(root / ".store/tagged/g.gif", make_photo("GIF"))
    (root / "2020/linked.jpg").symlink_to("../.git/annex/x.jpg")
    (root / "2020/linked again.jpg").symlink_to("../.git/annex/x.jpg")
    (root / "2020/hidden photo.jpg").symlink_to(root / "@eaDir/IMG_1.JPG/SYNOPHOTO_THUMB_SM.jpg")
    (root / "elsewhere.jpg").symlink_to(outside)
    (root / "elsewhere").symlink_to(outside.parent)
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        previous = Path.cwd()
        os.chdir(root)  # the path of a socket has 108 bytes at most
        bound.bind("socket.jpg")
        os.chdir(previous)
        photos, left_out = find_photos([root])
        find(root)
    found = [path.relative_to(root).as_posix() for path in photos]
    assert sorted(found) == sorted({*expected} - {"2020/linked.jpg"} | {"2020/linked again.jpg"})
    assert left_out.counts == {
        "hidden or of the system": 16,
        "not a photo": 4,
        "not a regular file": 2,
        "linked to elsewhere": 2,
        "linked to nothing": 2,
    }
    described = left_out.describe().replace(f"{root}/", "")
    assert described.startswith("Left out: 16 hidden or of the system (#recycle, $RECYCLE.BIN, .AppleDouble, …); ")
    assert "; 2 not a regular file (pipe.jpg, socket.jpg)" in described
    assert "2 linked to elsewhere (elsewhere, elsewhere.jpg)" in described
    assert "\n" not in described


def test_a_folder_of_the_system_may_be_named_as_such(tmp_path: Path) -> None:
    put(tmp_path / ".thumbnails/a.jpg")
    put(tmp_path / ".thumbnails/.b.jpg")
    assert find(tmp_path / ".thumbnails") == ["a.jpg"]
    assert find(tmp_path) == []


def test_a_link_is_followed_into_any_of_the_folders_given(tmp_path: Path) -> None:
    photo = put(tmp_path / "one/.store/photo.jpg")
    own = put(tmp_path / "one/own.jpg")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/store").symlink_to(photo.parent)
    (tmp_path / "two/other name.jpg").symlink_to(own)
    assert find(tmp_path / "two") == []
    assert find(tmp_path / "two", tmp_path / "one") == ["store/photo.jpg", "../one/own.jpg"]
    (tmp_path / "given").symlink_to("one")
    assert find(tmp_path / "given", tmp_path / "two") == ["own.jpg", "../two/store/photo.jpg"]


def test_a_neighbour_whose_name_begins_alike_is_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/link.jpg").symlink_to(put(tmp_path / "photos2/a.jpg"))
    assert find(tmp_path / "photos") == []


def test_each_file_is_found_once_even_if_it_is_given_twice(tmp_path: Path) -> None:
    first, second = put(tmp_path / "a/b/photo.jpg"), put(tmp_path / "z.jpg")
    os.link(second, tmp_path / "copy.jpg")  # a hard link is a file of its own
    given = [tmp_path / "a", second, tmp_path, first, tmp_path / "a/b"]
    find(*given)
    assert find_photos(given)[0] == [first, second, tmp_path / "copy.jpg"]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    named = [put(tmp_path / name, b"x") for name in ("._a.jpg", "notes.txt", "b")]
    assert find_photos([*named, tmp_path / "missing.jpg"])[0] == [*named, tmp_path / "missing.jpg"]


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "closed/a.jpg")
    put(tmp_path / "b.jpg")
    if os.geteuid():
        (tmp_path / "closed").chmod(0)
    else:  # root may open everything
        scan = os.scandir

        def refuse(path: str) -> Any:
            if path.endswith("closed"):
                raise PermissionError
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)
    assert find(tmp_path) == ["b.jpg"]
    assert describe(tmp_path) == "Left out: 1 unreadable (closed)."
    (tmp_path / "closed").chmod(0o700)


def test_names_that_cannot_be_printed_are_escaped(tmp_path: Path) -> None:
    put(tmp_path / "two\nlines\x1b[31m.txt")
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")))
    described = find_photos([tmp_path])[1].describe()
    assert described.isprintable()
    assert "two\\nlines\\x1b[31m.txt" in described
    assert "caf\\udce9.txt" in described


def test_a_file_within_the_limit_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jpg", b"12345")
    assert read_photo(path, 5) == b"12345"
    with pytest.raises(ImageError, match="has 5 bytes or more, above the 4 allowed"):
        read_photo(path, 4)
    os.truncate(path, 1 << 40)  # a sparse file, which memory could not hold
    with pytest.raises(ImageError, match=f"has {1 << 40} bytes or more, above the {256 << 20} allowed"):
        read_photo(path)
    with pytest.raises(ImageError, match="above the 1000 allowed"):
        read_photo(Path("/dev/zero"), 1000)


def test_a_pipe_that_is_named_is_read_and_one_without_a_writer_is_empty(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert read_photo(pipe) == b""
    writer = threading.Thread(target=pipe.write_bytes, args=(b"photo" * 50_000,))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer opens it first
    writer.start()
    while not (read := read_photo(pipe)):
        pass
    os.close(reader)
    writer.join()
    assert read == b"photo" * 50_000


@pytest.mark.parametrize(("name", "reason"), [("missing.jpg", "No such file or directory"), (".", "Is a directory")])
def test_what_cannot_be_read_is_an_error(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ImageError, match=f"cannot be read: {reason}"):
        read_photo(tmp_path / name)
