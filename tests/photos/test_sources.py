import io
import os
import random
import resource
import struct
import tracemalloc
import zipfile
from itertools import product
from pathlib import Path

import pytest
from typing_extensions import Buffer

from landmarks.errors import DataError
from landmarks.photos.locating import locate_files, locate_photos
from landmarks.photos.places import Place, build_photo_path
from landmarks.photos.sources import open_source
from landmarks.photos.walk import MAX_PHOTO_BYTES, PHOTO_SUFFIXES
from landmarks.photos.zip_members import hash_path, iterate_names, read_directory, read_member


def make_ids(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.getrandbits(64):016x}" for _ in range(count)]


def make_folder(root: Path, photos: dict[str, bytes]) -> dict[str, str]:
    for image_id, data in photos.items():
        path = root / build_photo_path(image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return {"kind": "folder", "path": str(root)}


def make_archive(path: Path, photos: dict[str, bytes], prefix: str = "", deflated: bool = True) -> dict[str, str]:
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("train.csv", "id,landmark_id\n")
        for image_id, data in photos.items():
            archive.writestr(prefix + str(build_photo_path(image_id)), data)
    return {"kind": "archive", "path": str(path), "prefix": prefix}


def make_photos(count: int = 20) -> dict[str, bytes]:
    rng = random.Random(1)
    return {image_id: rng.randbytes(rng.randrange(2000)) + b"\0" * 500 for image_id in make_ids(count)}


def read_all(spec: dict[str, str], image_ids: list[str]) -> dict[str, bytes]:
    source = open_source(spec)
    return {place.image_id: source.read(place) for place in find_places(spec, image_ids)}


def find_places(spec: dict[str, str], image_ids: list[str]) -> list[Place]:
    places = locate_photos(spec, image_ids)
    columns = [values.tolist() for values in (places.path, places.offset, places.compressed_bytes, places.method)]
    return [Place(*row) for row in zip(image_ids, *columns, strict=True)]


def name_place(image_id: str) -> Place:
    """The place of a file that is not measured."""
    return Place(image_id, str(build_photo_path(image_id)))


def read_one(spec: dict[str, str], image_id: str) -> bytes:
    return read_all(spec, [image_id])[image_id]


def test_folder_gives_the_bytes(tmp_path: Path) -> None:
    photos = make_photos()
    spec = make_folder(tmp_path, photos)
    assert read_all(spec, list(photos)) == photos
    places = locate_photos(spec, list(photos))
    assert places.compressed_bytes.tolist() == [len(data) for data in photos.values()]
    assert set(places.offset.tolist()) == set(places.method.tolist()) == {-1}
    paths = [tmp_path / build_photo_path(image_id) for image_id in photos]
    assert places.stamp.tolist() == [path.stat().st_mtime_ns for path in paths]


@pytest.mark.parametrize("deflated", [True, False])
@pytest.mark.parametrize("prefix", ["", "distractors/", "a+b (1)/"])
def test_archive_gives_the_bytes(tmp_path: Path, prefix: str, deflated: bool) -> None:
    photos = make_photos()
    spec = make_archive(tmp_path / "photos.zip", photos, prefix, deflated)
    shuffled = random.Random(2).sample(sorted(photos), len(photos))
    assert read_all(spec, shuffled) == photos
    with zipfile.ZipFile(tmp_path / "photos.zip") as archive:
        infos = [archive.getinfo(prefix + str(build_photo_path(image_id))) for image_id in shuffled]
    places = locate_photos(spec, shuffled)
    assert places.offset.tolist() == [info.header_offset for info in infos]
    assert places.compressed_bytes.tolist() == [info.compress_size for info in infos]
    assert places.method.tolist() == [info.compress_type for info in infos]
    assert places.stamp.tolist() == [info.CRC for info in infos]


def test_photos_of_another_prefix_are_not_found(tmp_path: Path) -> None:
    photos = make_photos(3)
    spec = make_archive(tmp_path / "photos.zip", photos, "distractors/")
    assert locate_photos(spec | {"prefix": ""}, list(photos)).compressed_bytes.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_missing_photos_and_invalid_ids_are_not_found(tmp_path: Path, kind: str) -> None:
    photos = make_photos(2)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    spec = make_folder(tmp_path / "root", photos) if kind == "folder" else make_archive(tmp_path / "p.zip", photos)
    first, second = photos
    hostile = ["../../../../secret", "../secret", "", first.upper() + "g", first[:15], "/etc/passwd", f"{first}\n"]
    image_ids = [hostile[0], first, "0" * 16, *hostile[1:], second]
    found = locate_photos(spec, image_ids).compressed_bytes >= 0
    assert [image_id for image_id, hit in zip(image_ids, found, strict=True) if hit] == [first, second]
    for place in find_places(spec, ["0" * 16, *hostile]):
        with pytest.raises(DataError, match="missing"):
            open_source(spec).read(place)
    for path in ("../secret.jpg", str(tmp_path / "secret.jpg"), "train/../../secret.jpg"):
        with pytest.raises(DataError, match="does not lie below its source"):
            open_source(spec).read(Place(first, path, 0, 6, 0))


def test_pipes_folders_and_links_to_elsewhere_are_not_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = make_ids(8)
    pipe, folder, outside, broken, circle, near, in_linked_folder, in_near_folder = ids
    spec = make_folder(tmp_path / "root", dict.fromkeys(ids, b"photo"))
    (tmp_path / "other").mkdir()
    (tmp_path / "root/spare").mkdir()

    def replace(image_id: str) -> Path:
        path = tmp_path / "root" / build_photo_path(image_id)
        path.unlink()
        return path

    os.mkfifo(replace(pipe))
    replace(folder).mkdir()
    (tmp_path / "other/photo.jpg").write_bytes(b"photo")
    (tmp_path / "root/spare/photo.jpg").write_bytes(b"photo")
    replace(outside).symlink_to(tmp_path / "other/photo.jpg")
    replace(broken).symlink_to("nowhere.jpg")
    replace(circle).symlink_to(f"{circle}.jpg")
    replace(near).symlink_to(tmp_path / "root/spare/photo.jpg")
    for image_id, place in ((in_linked_folder, "other"), (in_near_folder, "root/spare")):
        parent = (tmp_path / "root" / build_photo_path(image_id)).parent
        parent.rename(tmp_path / place / parent.name)
        parent.symlink_to(tmp_path / place / parent.name)
    assert locate_photos(spec, ids).compressed_bytes.tolist() == [-1, -1, -1, -1, -1, 5, -1, 5]
    [record] = caplog.records
    assert record.message.startswith("Left out: 2 not a regular file (")
    assert "; 2 linked to elsewhere (" in record.message
    assert str(build_photo_path(outside)) in record.message
    reasons = {pipe: "not a regular file", folder: "not a regular file", broken: "missing", circle: "missing"}
    for image_id in (pipe, folder, outside, broken, circle, in_linked_folder):
        with pytest.raises(DataError, match=reasons.get(image_id, "link to outside the photo folder")):
            open_source(spec).read(name_place(image_id))
    for image_id in (near, in_near_folder):
        assert open_source(spec).read(name_place(image_id)) == b"photo"


def test_the_folder_of_all_photos_may_be_a_link(tmp_path: Path) -> None:
    photos = make_photos(3)
    make_folder(tmp_path / "disk", photos)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/train").symlink_to(tmp_path / "disk/train")
    (tmp_path / "link").symlink_to("root")
    assert read_all({"kind": "folder", "path": str(tmp_path / "link")}, list(photos)) == photos


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    image_id = make_ids(1)[0]
    spec = make_folder(tmp_path, {image_id: b"x"})
    os.truncate(tmp_path / build_photo_path(image_id), MAX_PHOTO_BYTES + 1)
    with pytest.raises(DataError, match="more than the 268435456 allowed"):
        open_source(spec).read(name_place(image_id))


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    image_id = make_ids(1)[0]
    spec = make_archive(tmp_path / "p.zip", {image_id: b"\0" * (MAX_PHOTO_BYTES + 1)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="decompresses to more than the 268435456 bytes"):
        read_one(spec, image_id)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2.5 * MAX_PHOTO_BYTES / 1024


@pytest.mark.parametrize("deflated", [True, False])
def test_the_size_limit_is_inclusive(tmp_path: Path, deflated: bool) -> None:
    image_id = make_ids(1)[0]
    spec = make_archive(tmp_path / "p.zip", {image_id: b"abc" * 1000}, deflated=deflated)
    [place] = find_places(spec, [image_id])
    name = str(build_photo_path(image_id))
    assert read_member(tmp_path / "p.zip", name, place, 3000) == b"abc" * 1000
    problem = "decompresses to more than the 2999 bytes" if deflated else "3000 compressed bytes, more than the 2999"
    with pytest.raises(DataError, match=problem):
        read_member(tmp_path / "p.zip", name, place, 2999)


def test_a_zip_bomb_is_not_inflated_beyond_the_limit(tmp_path: Path) -> None:
    image_id = make_ids(1)[0]
    spec = make_archive(tmp_path / "p.zip", {image_id: bytes(10_000_000)})
    [place] = find_places(spec, [image_id])
    tracemalloc.start()
    with pytest.raises(DataError, match="decompresses to more than the 20000 bytes"):
        read_member(tmp_path / "p.zip", str(build_photo_path(image_id)), place, 20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    image_id, path = make_ids(1)[0], tmp_path / "p.zip"
    spec = make_archive(path, {image_id: b"photo"})
    [place] = find_places(spec, [image_id])
    data = bytearray(path.read_bytes())
    data[place.offset + 6] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is encrypted"):
        open_source(spec).read(place)


def test_a_method_of_a_number_too_large_for_the_table_is_refused(tmp_path: Path) -> None:
    image_id, path = make_ids(1)[0], tmp_path / "p.zip"
    spec = make_archive(path, {image_id: b"photo"})
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.rindex(b"PK\1\2") + 10, 300)
    struct.pack_into("<H", data, data.rindex(b"PK\3\4") + 8, 300)
    path.write_bytes(data)
    assert locate_photos(spec, [image_id]).method.tolist() == [127]
    with pytest.raises(DataError, match="method other than store and deflate"):
        read_one(spec, image_id)


@pytest.mark.parametrize("deflated", [True, False])
def test_a_damaged_member_is_detected(tmp_path: Path, deflated: bool) -> None:
    image_id = make_ids(1)[0]
    path = tmp_path / "p.zip"
    spec = make_archive(path, {image_id: bytes(range(256)) * 4}, deflated=deflated)
    place = int(locate_photos(spec, [image_id]).offset[0])
    data = bytearray(path.read_bytes())
    data[place + 30 + len(str(build_photo_path(image_id))) + 40] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged inside the archive"):
        read_one(spec, image_id)


def test_a_replaced_archive_is_detected(tmp_path: Path) -> None:
    photos = make_photos(4)
    spec = make_archive(tmp_path / "p.zip", photos)
    image_id = list(photos)[-1]
    [place] = find_places(spec, [image_id])
    make_archive(tmp_path / "p.zip", {i: photos[i] for i in list(photos)[1:]})
    with pytest.raises(DataError, match="has changed since it was indexed"):
        open_source(spec).read(place)


@pytest.mark.parametrize(("place", "change"), [(2, -1), (2, 1), (30, -1), (30, 1), (79, -1), (79, 1)])
def test_another_header_or_name_at_the_place_of_a_photo_is_detected(tmp_path: Path, place: int, change: int) -> None:
    image_id, path = "0123456789abcdef", tmp_path / "p.zip"
    spec = make_archive(path, {image_id: b"photo"})
    [found] = find_places(spec, [image_id])
    data = bytearray(path.read_bytes())
    data[found.offset + min(place, 29 + len(found.path))] += change
    path.write_bytes(data)
    with pytest.raises(DataError, match="has changed since it was indexed"):
        open_source(spec).read(found)


def test_two_hundred_writings_of_the_suffixes_are_told_apart(tmp_path: Path) -> None:
    writings = {
        "".join(letters)
        for suffix in PHOTO_SUFFIXES
        for letters in product(*({letter, letter.upper()} for letter in suffix))
    }
    assert len(writings) > 200
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for writing in sorted(writings):
            archive.writestr(f"photo{writing}", b"")
    members = read_directory(tmp_path / "p.zip")
    assert members.suffixes == tuple(sorted(writings)[:200])
    assert members.suffix.tolist() == list(range(200))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_methods_are_refused(tmp_path: Path, method: int) -> None:
    image_id = make_ids(1)[0]
    with zipfile.ZipFile(tmp_path / "p.zip", "w", method) as archive:
        archive.writestr(str(build_photo_path(image_id)), b"x" * 100)
    with pytest.raises(DataError, match="method other than store and deflate"):
        read_one({"kind": "archive", "path": str(tmp_path / "p.zip")}, image_id)


def test_members_with_a_data_descriptor_are_read(tmp_path: Path) -> None:
    class Unseekable(io.RawIOBase):
        def __init__(self, path: Path) -> None:
            self._file = path.open("wb")

        def writable(self) -> bool:
            return True

        def write(self, data: Buffer, /) -> int:
            return self._file.write(data)

        def close(self) -> None:
            self._file.close()
            super().close()

    image_id, path = make_ids(1)[0], tmp_path / "p.zip"
    with Unseekable(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(str(build_photo_path(image_id)), b"streamed" * 50)
    assert struct.unpack_from("<H", path.read_bytes(), 6)[0] & 8  # the header promises sizes after the data
    assert read_one({"kind": "archive", "path": str(path)}, image_id) == b"streamed" * 50


def test_data_before_the_archive_is_skipped(tmp_path: Path) -> None:
    photos = make_photos(3)
    spec = make_archive(tmp_path / "p.zip", photos)
    (tmp_path / "p.zip").write_bytes(b"#!/bin/sh\n" * 99 + (tmp_path / "p.zip").read_bytes())
    assert read_all(spec, list(photos)) == photos


def test_an_archive_with_a_comment_is_read(tmp_path: Path) -> None:
    photos = make_photos(3)
    spec = make_archive(tmp_path / "p.zip", photos)
    with zipfile.ZipFile(tmp_path / "p.zip", "a") as archive:
        archive.comment = b"c" * 65_535
    assert read_all(spec, list(photos)) == photos


def test_members_with_comments_are_read(tmp_path: Path) -> None:
    photos, path = make_photos(3), tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for image_id, data in photos.items():
            info = zipfile.ZipInfo(str(build_photo_path(image_id)))
            info.comment = b"taken in spring"
            archive.writestr(info, data)
    assert read_all({"kind": "archive", "path": str(path)}, list(photos)) == photos


def test_entries_of_the_largest_size_are_read_where_a_block_of_the_directory_ends(tmp_path: Path) -> None:
    """The fourth of them ends a byte behind the first mebibyte, the size of a block."""
    photos, path = make_photos(1), tmp_path / "p.zip"
    longest, entry = 0xFFFF, 46
    first = zipfile.ZipInfo("first")
    first.comment = b"c" * ((1 << 20) + 1 - 5 * (entry + 3 * longest) - entry - len("first"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(first, b"")
        for number in range(6):
            info = zipfile.ZipInfo(f"{number}".ljust(longest, "n"))
            info.extra = struct.pack("<HH", 0x9999, longest - 4) + bytes(longest - 4)
            info.comment = b"c" * longest
            archive.writestr(info, b"")
        for image_id, data in photos.items():
            archive.writestr(str(build_photo_path(image_id)), data)
    assert read_all({"kind": "archive", "path": str(path)}, list(photos)) == photos


def test_the_names_of_all_members_are_listed(tmp_path: Path) -> None:
    make_archive(tmp_path / "p.zip", make_photos(3))
    with zipfile.ZipFile(tmp_path / "p.zip", "a") as archive:
        archive.writestr("Zürich/été 1.txt", "no photo")
        names = archive.namelist()
    assert list(iterate_names(tmp_path / "p.zip")) == names


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_the_last_of_repeated_names_wins(tmp_path: Path) -> None:
    image_id = make_ids(1)[0]
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for data in (b"old", b"newest"):
            archive.writestr(str(build_photo_path(image_id)), data)
    assert read_one({"kind": "archive", "path": str(tmp_path / "p.zip")}, image_id) == b"newest"


def test_members_with_path_traversal_are_never_found(tmp_path: Path) -> None:
    image_id = make_ids(1)[0]
    right = str(build_photo_path(image_id))
    wrong = str(build_photo_path(make_ids(1, seed=5)[0])).replace(make_ids(1, seed=5)[0], image_id)
    names = (f"../{right}", f"/{right}", wrong, f"{image_id}.jpg", f"{right}/../../x.jpg")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"hostile")
    spec = {"kind": "archive", "path": str(tmp_path / "p.zip")}
    assert locate_photos(spec, [image_id]).compressed_bytes.tolist() == [-1]


def test_zip64_members_are_read(tmp_path: Path) -> None:
    photos, path = make_photos(5), tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for image_id, data in photos.items():
            with archive.open(str(build_photo_path(image_id)), "w", force_zip64=True) as member:
                member.write(data)
    assert read_all({"kind": "archive", "path": str(path)}, list(photos)) == photos


@pytest.mark.parametrize("kind", [b"UT", b"\0\0"])
def test_other_fields_before_that_of_zip64_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    image_id, path = make_ids(1)[0], tmp_path / "p.zip"
    info = zipfile.ZipInfo(str(build_photo_path(image_id)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"")
        info.extra = struct.pack("<2sHBI", kind, 5, 1, 0) + struct.pack("<HHQ", 1, 8, archive.start_dir)
        archive.writestr(info, b"photo")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\1\2") + 42, 0xFFFFFFFF)  # its offset is in the field of zip64
    path.write_bytes(data)
    assert read_one({"kind": "archive", "path": str(path)}, image_id) == b"photo"


def test_an_empty_archive_has_no_photos(tmp_path: Path) -> None:
    zipfile.ZipFile(tmp_path / "p.zip", "w").close()
    places = locate_photos({"kind": "archive", "path": str(tmp_path / "p.zip")}, make_ids(2))
    assert places.compressed_bytes.tolist() == [-1, -1]


def test_hashes_of_paths_have_64_bits() -> None:
    hashes = [hash_path(image_id.encode()) for image_id in make_ids(1000)]
    assert len(set(hashes)) == 1000
    assert max(hashes) >> 63 == 1


def test_an_empty_archive_of_zip64_has_no_photos(tmp_path: Path) -> None:
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 0, 0, 0, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", *[0xFFFF] * 4, *[0xFFFFFFFF] * 2, 0)
    (tmp_path / "p.zip").write_bytes(record + locator + end)
    spec = {"kind": "archive", "path": str(tmp_path / "p.zip")}
    assert locate_photos(spec, make_ids(2)).compressed_bytes.tolist() == [-1, -1]
    for other in (b"PK\5\6", b"PK\7\6"):
        (tmp_path / "p.zip").write_bytes(other + record[4:] + locator + end)
        with pytest.raises(DataError, match="its zip64 record is missing"):
            locate_photos(spec, make_ids(2))


def test_members_beyond_4_gb_are_read(tmp_path: Path) -> None:
    """A sparse file of 5 GB, which takes no disk space, moves the photos to offsets that need 64 bits."""
    photos, path = make_photos(3), tmp_path / "p.zip"
    path.touch()
    os.truncate(path, 5 << 30)
    with path.open("r+b") as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.start_dir = 5 << 30  # where the next member goes
        for image_id, data in photos.items():
            archive.writestr(str(build_photo_path(image_id)), data)
    spec = {"kind": "archive", "path": str(path)}
    assert locate_photos(spec, list(photos)).offset.min() >= 5 << 30
    assert read_all(spec, list(photos)) == photos


@pytest.mark.slow
def test_an_archive_of_200_000_photos(tmp_path: Path) -> None:
    image_ids, path = make_ids(200_000), tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, image_id in enumerate(image_ids):
            info = zipfile.ZipInfo(str(build_photo_path(image_id)))
            archive.writestr(info, number.to_bytes(4, "big"))
    del archive, info
    spec = {"kind": "archive", "path": str(path)}
    asked = random.Random(3).sample(image_ids, 1000) + make_ids(1000, seed=9)
    tracemalloc.start()
    places = locate_photos(spec, asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 * 80
    assert (places.compressed_bytes[:1000] == 4).all()
    assert (places.compressed_bytes[1000:] == -1).all()
    numbers = {image_id: number for number, image_id in enumerate(image_ids)}
    source = open_source(spec)
    for row in range(0, 1000, 10):
        place = Place(asked[row], str(places.path[row]), int(places.offset[row]), 4, int(places.method[row]))
        data = source.read(place)
        assert int.from_bytes(data, "big") == numbers[asked[row]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: b"not a zip" * len(data),
        lambda data: data[: len(data) // 2],
        lambda data: data[: -len(data) // 3] + data[-22:],
        lambda data: data.replace(b"PK\1\2", b"PK\0\0"),
        lambda data: data.replace(b"PK\1\2", b"PK\7\7"),
        lambda data: data[:-6] + b"\xff\xff\xff\x7f\0\0",
        lambda data: data[:-10] + b"\xff\xff\xff\x7f" + data[-6:],
        lambda data: data[:-18] + b"\1\0" + data[-16:],
        lambda data: data[-22:],
        lambda _: b"PK\6\7" + bytes(16) + b"PK\5\6" + bytes(18),  # no record where zip64 has one
    ],
)
def test_a_damaged_archive_is_an_error(tmp_path: Path, damage: object) -> None:
    photos, path = make_photos(30), tmp_path / "p.zip"
    spec = make_archive(path, photos)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"p\.zip is damaged or incomplete .* Download it again"):
        locate_photos(spec, list(photos))


def test_random_damage_to_the_directory_gives_the_photo_or_a_data_error(tmp_path: Path) -> None:
    photos, path, rng = make_photos(10), tmp_path / "p.zip", random.Random(4)
    spec = make_archive(path, photos)
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 5))):
            data[rng.randrange(start, len(data))] = rng.randrange(256)
        path.write_bytes(data)
        for image_id in photos:
            try:
                assert read_one(spec, image_id) == photos[image_id]
            except DataError:
                break


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "folder", "path": "/nowhere/at/all"}, "photo folder /nowhere/at/all is missing"),
        ({"kind": "archive", "path": "/nowhere/p.zip"}, r"photo archive /nowhere/p\.zip is missing"),
        ({"kind": "bucket", "path": "x"}, "received 'bucket'"),
        ({}, "received None"),
    ],
)
def test_a_missing_source_is_refused(spec: dict[str, str], message: str) -> None:
    for use in (lambda: open_source(spec), lambda: locate_photos(spec, [])):
        with pytest.raises(DataError, match=message):
            use()


def test_reading_one_photo_does_not_read_the_directory(tmp_path: Path) -> None:
    photos, path = make_photos(5), tmp_path / "p.zip"
    spec = make_archive(path, photos)
    image_id = next(iter(photos))
    [place] = find_places(spec, [image_id])
    path.write_bytes(path.read_bytes().replace(b"PK\1\2", b"____").replace(b"PK\5\6", b"____"))
    assert open_source(spec).read(place) == photos[image_id]


def test_columns_have_the_types_of_the_table(tmp_path: Path) -> None:
    places = locate_photos(make_folder(tmp_path, {make_ids(1)[0]: b"x"}), make_ids(3))
    types = [column.dtype.name for column in (places.offset, places.compressed_bytes, places.method, places.stamp)]
    assert types == ["int64", "int64", "int8", "int64"]


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_ids_of_any_text_and_photos_of_any_suffix_are_found(tmp_path: Path, kind: str) -> None:
    names = {"a": ".jpg", "Ωmega n.1": ".JPEG", "0042": ".png", "x" * 200: ".webp", "été 😀": ".Jpg"}
    photos = {image_id: image_id.encode() for image_id in names}
    members = {str(build_photo_path(i, suffix=suffix)): photos[i] for i, suffix in names.items()}
    for path, data in members.items():
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    spec = {"kind": kind, "path": str(tmp_path / ("root" if kind == "folder" else "p.zip"))}
    assert read_all(spec, list(photos)) == photos
    assert {place.path for place in find_places(spec, list(photos))} == set(members)


def test_files_are_located_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "Eiffel Tower").mkdir()
    (tmp_path / "Eiffel Tower/1.png").write_bytes(b"photo")
    places = locate_files(tmp_path, ["Eiffel Tower/1.png", "Eiffel Tower/2.png"])
    assert places.path.tolist() == ["Eiffel Tower/1.png", ""]
    assert places.compressed_bytes.tolist() == [5, -1]
