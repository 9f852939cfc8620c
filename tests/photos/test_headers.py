import contextlib
import io
import random
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from chaos.photos import (
    EXIF,
    XMP,
    append_to_webp,
    chunk,
    insert_into_jpeg,
    insert_into_png,
    make_exif,
    make_raw_profile,
    make_xmp,
    segment,
    webp_chunk,
)
from landmarks.errors import ImageError
from landmarks.photos.decoding import decode_image
from landmarks.photos.headers import HEAD_BYTES, identify, read_photo_file
from landmarks.schema.network_format import ImageFormat

SQUARE = ImageFormat(32, "crop", 2_000_000)
KINDS = ["JPEG", "PNG", "GIF", "WEBP", "BMP"]
TURNED = 6


def make(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((48, 32)).convert("RGB").save(stream, kind, **options)
    return stream.getvalue()


def in_jpeg(*segments: bytes) -> bytes:
    return insert_into_jpeg(make("JPEG"), b"".join(segments))


def in_png(*chunks: bytes, at_end: bool = False) -> bytes:
    return insert_into_png(make("PNG"), b"".join(chunks), at_end)


def in_webp(*chunks: bytes) -> bytes:
    return append_to_webp(make("WEBP"), b"".join(chunks))


LONG = make_exif() + b"M" * 70_000
LATE = b"MM\0*" + struct.pack(">I", 70_000) + bytes(69_992) + make_exif()[8:]  # its fields are in the second segment


@pytest.mark.parametrize(
    "data",
    [
        in_jpeg(segment(EXIF + make_exif())),
        in_jpeg(segment(EXIF + LONG[:65_000]), segment(EXIF + LONG[65_000:])),
        in_jpeg(segment(EXIF + LATE[:65_000]), segment(EXIF + LATE[65_000:])),
        in_jpeg(segment(EXIF + make_exif()), segment(EXIF + make_exif(3))),
        in_jpeg(segment(EXIF + b"garbage!"), segment(EXIF + make_exif())),
        in_jpeg(segment(EXIF + make_exif(0)), segment(EXIF + make_exif(9)), segment(EXIF + make_exif(order="<"))),
        in_jpeg(segment(EXIF + make_exif(0)), segment(XMP + make_xmp(TURNED))),
        in_jpeg(segment(XMP + make_xmp(3)), segment(EXIF + make_exif())),
        in_jpeg(segment(XMP + make_xmp(0)), segment(XMP + make_xmp(TURNED, element=True)), segment(XMP + make_xmp(3))),
        in_png(chunk(b"eXIf", make_exif())),
        in_png(chunk(b"eXIf", make_exif()), at_end=True),
        in_png(chunk(b"eXIf", EXIF + make_exif()), chunk(b"eXIf", make_exif(3))),
        in_png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(make_raw_profile(EXIF + make_exif())))),
        in_png(chunk(b"tEXt", b"Raw profile type APP1\0" + make_raw_profile(EXIF + make_exif()))),
        in_png(
            chunk(b"tEXt", b"Raw profile type exif\0" + make_raw_profile(make_exif(3))),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + make_xmp(8)),
            chunk(b"eXIf", make_exif()),
        ),
        in_png(
            chunk(b"zTXt", b"Raw profile type exif\0\0damaged"),
            chunk(b"tEXt", b"Raw profile type exif\0\nexif\n3\nxyz"),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + make_xmp(TURNED)),
        ),
        in_png(chunk(b"eXIf", LATE[:65_000]), chunk(b"eXIf", LATE[65_000:])),
        in_webp(webp_chunk(b"EXIF", make_exif())),
        in_webp(webp_chunk(b"EXIF", LATE[:65_001]), webp_chunk(b"EXIF", LATE[65_001:])),
        in_webp(webp_chunk(b"odd ", b"abc"), webp_chunk(b"EXIF", EXIF + make_exif())),
        in_webp(webp_chunk(b"XMP ", make_xmp(3)), webp_chunk(b"EXIF", make_exif())),
        in_webp(webp_chunk(b"EXIF", make_exif(77)), webp_chunk(b"XMP ", make_xmp(TURNED, element=True))),
    ],
)
def test_the_first_valid_orientation_wins_and_exif_before_make_xmp(data: bytes) -> None:
    assert read_photo_file(data).orientation == TURNED
    plain = read_photo_file(make(read_photo_file(data).kind))
    assert decode_image(data, SQUARE).tolist() == np.rot90(decode_image(plain.data, SQUARE), -1).tolist()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9, 13])
def test_the_orientation_may_be_of_every_integer_type_and_byte_order(kind: int, order: str) -> None:
    for value in range(1, 9):
        data = in_jpeg(segment(EXIF + make_exif(value, kind, order, before=20)))
        assert read_photo_file(data).orientation == value


@pytest.mark.parametrize(
    "exif",
    [
        make_exif(kind=2),  # a text
        make_exif(kind=5),  # a fraction
        make_exif(count=0),
        make_exif(0),
        make_exif(9),
        make_exif(-6, kind=8),
        make_exif().replace(b"\x01\x12", b"\x01\x11"),  # the numbers before and after that of an orientation
        make_exif().replace(b"\x01\x12", b"\x01\x13"),
        make_exif().replace(struct.pack(">IH", 8, 1), struct.pack(">IH", 8, 0)),  # no field is announced
        make_exif()[:16],
        make_exif()[:7],
        b"MM\0*\0\0\xff\xff",  # its fields are beyond its end
    ],
)
def test_what_is_no_orientation_is_passed_over(exif: bytes) -> None:
    assert read_photo_file(in_jpeg(segment(EXIF + exif))).orientation == 1
    assert read_photo_file(in_png(chunk(b"eXIf", exif))).orientation == 1
    assert read_photo_file(in_jpeg(segment(EXIF + exif), segment(EXIF + make_exif(3)))).orientation == 3


@pytest.mark.parametrize("exif", [make_exif()[:-4], make_exif(order="<")[:-4]])
def test_an_orientation_may_be_the_last_of_all_bytes(exif: bytes) -> None:
    assert exif[-12:-8] in (b"\x01\x12\0\x03", b"\x12\x01\x03\0")
    for data in (in_jpeg(segment(EXIF + exif)), in_png(chunk(b"eXIf", exif)), in_webp(webp_chunk(b"EXIF", exif))):
        assert read_photo_file(data).orientation == TURNED


@pytest.mark.parametrize("length", range(1, 8))
def test_what_is_too_short_for_a_chunk_hides_none_before_it(length: int) -> None:
    assert read_photo_file(in_webp(webp_chunk(b"EXIF", make_exif()), b"X" * length)).orientation == TURNED


def test_a_field_that_is_cut_off_hides_none_before_it() -> None:
    two_fields = make_exif().replace(struct.pack(">IH", 8, 1), struct.pack(">IH", 8, 2))
    assert read_photo_file(in_jpeg(segment(EXIF + two_fields[:22] + bytes(11)))).orientation == TURNED


def test_an_orientation_is_looked_for_in_a_thousand_fields() -> None:
    assert read_photo_file(in_jpeg(segment(EXIF + make_exif(before=999)))).orientation == TURNED
    assert read_photo_file(in_jpeg(segment(EXIF + make_exif(before=1000)))).orientation == 1


def test_an_orientation_is_looked_for_in_a_mebibyte_of_xmp() -> None:
    packet = make_xmp(TURNED)
    before = (1 << 20) - packet.index(b'"6"') - 3
    assert read_photo_file(in_webp(webp_chunk(b"XMP ", b" " * before + packet))).orientation == TURNED
    assert read_photo_file(in_webp(webp_chunk(b"XMP ", b" " * (before + 1) + packet))).orientation == 1
    assert read_photo_file(in_webp(webp_chunk(b"XMP ", packet[packet.index(b"tiff:Or") :]))).orientation == TURNED


def make_late_profile(length: int) -> bytes:
    """Make the text of Exif data whose only field ends after `length` bytes."""
    start = b"\nexif\n1\n"
    position = (length - len(start)) // 2 - 14
    exif = b"MM\0*" + struct.pack(">I", position) + bytes(position - 8) + make_exif()[8:22]
    return start + exif.hex().encode()


def test_an_orientation_is_looked_for_in_a_quarter_of_a_mebibyte_of_digits() -> None:
    for length, orientation in ((1 << 18, TURNED), ((1 << 18) + 2, 1)):
        text = make_late_profile(length)
        assert len(text) == length
        plain = chunk(b"tEXt", b"Raw profile type exif\0" + text)
        packed = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
        assert read_photo_file(in_png(plain)).orientation == orientation
        assert read_photo_file(in_png(packed)).orientation == orientation


def test_a_digit_too_many_is_left_out() -> None:
    text = make_raw_profile(make_exif()).rstrip() + b"0"
    assert read_photo_file(in_png(chunk(b"tEXt", b"Raw profile type exif\0" + text))).orientation == TURNED


@pytest.mark.parametrize("name", [b"aaAa", b"zzZz"])
def test_other_chunks_of_a_png_have_no_orientation(name: bytes) -> None:
    contents = (
        make_exif(),
        b"XML:com.adobe.xmp\0\0\0\0\0" + make_xmp(TURNED),
        b"Raw profile type exif\0" + make_raw_profile(make_exif()),
    )
    for content in contents:
        assert read_photo_file(in_png(chunk(name, content))).orientation == 1


def test_other_chunks_of_a_webp_have_no_orientation() -> None:
    for name in (b"ABCD", b"FGHI", b"xyz "):
        assert read_photo_file(in_webp(webp_chunk(name, make_exif()))).orientation == 1
        assert read_photo_file(in_webp(webp_chunk(name, make_xmp(TURNED)))).orientation == 1


@pytest.mark.parametrize("marker", [0xE2, 0xEF, 0xFE])
def test_other_segments_of_a_jpeg_have_no_orientation(marker: int) -> None:
    for content in (EXIF + make_exif(), XMP + make_xmp(TURNED)):
        assert read_photo_file(in_jpeg(segment(content, marker))).orientation == 1


@pytest.mark.parametrize("marker", [*range(0xE0, 0xF0), 0xFE])
def test_metadata_is_stripped_wherever_it_stands_but_not_what_decoders_need(marker: int) -> None:
    data, extra = make("JPEG"), segment(b"anything", marker)
    scan = data.index(b"\xff\xda")
    for place in (2, scan):
        laden = data[:place] + extra + data[place:]
        assert read_photo_file(laden).data == (laden if marker in (0xE0, 0xEE) else data)


@pytest.mark.parametrize("marker", range(0xC0, 0xD0))
def test_the_frames_of_a_jpeg_give_its_size_and_the_memory_of_its_decoder(marker: int) -> None:
    data = make("JPEG").replace(b"\xff\xc0", bytes((0xFF, marker)))
    if marker in (0xC4, 0xC8, 0xCC):  # tables, and one that is reserved
        with pytest.raises(ImageError, match="ends inside its header"):
            read_photo_file(data)
    else:
        photo = read_photo_file(data)
        assert (photo.width, photo.height) == (48, 32)
        assert photo.decoder_bytes == (6 if marker in (0xC2, 0xC6, 0xCA, 0xCE) else 0)  # progressive ones


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_needs_memory_by_its_kind_and_is_upright_unless_it_says_otherwise(kind: str) -> None:
    photo = read_photo_file(make(kind))
    assert (photo.orientation, photo.decoder_bytes) == (1, 16 if kind == "WEBP" else 0)


@pytest.mark.parametrize("junk", [b"ab", b"\xff\0ab", b"a\xff\xff\0"])
def test_what_is_no_segment_is_skipped(junk: bytes) -> None:
    photo = read_photo_file(in_jpeg(segment(b"", 0xFE), junk, segment(EXIF + make_exif())))
    assert (photo.orientation, photo.data) == (TURNED, make("JPEG"))


@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_segment_is_at_least_as_long_as_its_length(length: int) -> None:
    data = in_jpeg(b"\xff\xe0" + struct.pack(">H", length))
    assert read_photo_file(data).data == data
    data = in_jpeg(b"\xff\xe1" + struct.pack(">H", length), segment(EXIF + make_exif()))
    assert read_photo_file(data).orientation == TURNED


@pytest.mark.parametrize("size", [1 << 14, (1 << 14) + (1 << 15)])
def test_the_end_of_a_scan_is_found_wherever_it_stands(size: int) -> None:
    """What is searched at once ends at about these distances."""
    scan = len(make("JPEG")) - make("JPEG").index(b"\xff\xda")
    for filler in range(size - scan - 8, size + 8):
        data = in_scan(b"a" * filler)
        assert read_photo_file(data + b"more").data == data


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_cut_off_anywhere_is_parsed_or_refused(kind: str) -> None:
    data = make(kind)
    for length in range(len(data)):
        with contextlib.suppress(ImageError):
            photo = read_photo_file(data[:length])
            assert (photo.width, photo.height) == (48, 32)


def test_a_png_that_lacks_its_end_is_parsed_as_far_as_it_goes() -> None:
    data = make("PNG")
    for missing in (4, 5, 12):
        photo = read_photo_file(data[:-missing])
        assert (photo.width, photo.height) == (48, 32)
        assert data[:-12] in photo.data
    assert read_photo_file(data[:-4]).data == data[:-4]


def make_hidden_scans() -> bytes:
    """Bytes like those of a raw picture: 200 and more of them look like the start of a scan."""
    return random.Random(0).randbytes(50_000) + b"\xff\xda" * 300 + b"\xff\xd9"


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_end_of_a_photo_is_not_part_of_it(kind: str) -> None:
    data = make(kind)
    for trailer in (make_hidden_scans(), make("JPEG"), make("PNG"), b"\0" * 3, struct.pack(">I4s", 99, b"eXIf")):
        assert (decode_image(data + trailer, SQUARE) == decode_image(data, SQUARE)).all()
        if kind in ("JPEG", "PNG", "WEBP"):
            assert read_photo_file(data + trailer) == read_photo_file(data)


def test_a_progressive_photo_with_a_trailer_ends_after_its_last_scan() -> None:
    data = make("JPEG", progressive=True)
    assert data.count(b"\xff\xda") > 5
    assert read_photo_file(data + make_hidden_scans()) == read_photo_file(data)


def test_an_end_marker_inside_a_segment_between_scans_ends_nothing() -> None:
    data = make("JPEG", progressive=True)
    scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    laden = data[:scan] + segment(b"\xff\xd9" * 9, 0xEF) + data[scan:]
    assert (decode_image(laden, SQUARE) == decode_image(data, SQUARE)).all()
    assert read_photo_file(laden).data.endswith(data[scan:])
    for marker in (0xC0, 0xCF, 0xDA):  # the first and the last kind of frame, and a scan
        laden = data[:scan] + segment(b"\xff\xd9" * 9, marker) + data[scan:]
        assert read_photo_file(laden).data.endswith(data[scan:])


def test_no_segment_between_scans_hides_others_from_the_limit() -> None:
    data = make("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scans = data[last:-2] * 300
    for marker in (0x02, 0xBF):  # not defined: a decoder passes over the marker alone
        hidden = bytes((0xFF, marker)) + struct.pack(">H", min(len(scans), 60_000)) + scans
        with pytest.raises(ImageError, match="scans"):
            read_photo_file(data[:-2] + hidden + data[-2:])


def test_comments_between_scans_are_not_counted_as_scans() -> None:
    data = in_scan(segment(b"no scan", 0xFE) * 300)
    assert read_photo_file(data).data == data


def test_restart_markers_and_fill_bytes_are_part_of_a_scan() -> None:
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(stream, "JPEG", restart_marker_blocks=1)
    data = stream.getvalue()
    assert b"\xff\xd7" in data
    assert len(read_photo_file(data + make_hidden_scans()).data) == len(read_photo_file(data).data)
    padded = data[:-2] + b"\xff\xff" + data[-2:]
    assert read_photo_file(padded + make_hidden_scans()).data.endswith(b"\xff\xff\xff\xd9")


def test_a_scan_may_have_thousands_of_restart_markers() -> None:
    stream = io.BytesIO()
    Image.effect_noise((400, 400), 90).save(stream, "JPEG", restart_marker_blocks=1)
    data = stream.getvalue()
    assert data.count(b"\xff\xd0") > 300
    assert read_photo_file(data + make_hidden_scans()).data == data


def extend(block: bytes) -> bytes:
    return block * (19_600_000 // len(block))


def in_gif(between: bytes) -> bytes:
    data = make("GIF")
    frame = data.index(b"\x2c\0\0\0\0\x30\0\x20\0")
    return data[:frame] + between + data[frame:]


def in_scan(data: bytes) -> bytes:
    return make("JPEG")[:-2] + data + b"\xff\xd9"


BOMB = zlib.compress(b"\nexif\n1000000\n" + b"0" * 9_000_000)
MANY_BLOCKS: dict[str, Callable[[], bytes]] = {
    "JPEG segments": lambda: in_jpeg(extend(segment(b"", 0xFE))),
    "JPEG markers": lambda: in_jpeg(extend(b"\xff\xd8")),
    "JPEG fill bytes": lambda: in_jpeg(extend(b"\xff") + b"\0"),
    "JPEG stuffing": lambda: in_jpeg(extend(b"\xff\0")),
    "JPEG Exif": lambda: in_jpeg(extend(segment(EXIF + make_exif(0, before=5000)))),
    "JPEG XMP": lambda: in_jpeg(extend(segment(XMP + b"tiff:Orientation" * 4000))),
    "JPEG tables": lambda: in_scan(extend(b"a" + segment(b"", 0xC4))),
    "JPEG scan of fill bytes": lambda: in_scan(extend(b"\xff") + b"\0"),
    "JPEG scan of stuffing": lambda: in_scan(extend(b"\xff\0")),
    "PNG data": lambda: in_png(extend(chunk(b"IDAT", b""))),
    "PNG text": lambda: in_png(extend(chunk(b"tEXt", b""))),
    "PNG Exif": lambda: in_png(extend(chunk(b"eXIf", make_exif(0, before=80)))),
    "PNG bombs": lambda: in_png(extend(chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB))),
    "GIF extensions": lambda: in_gif(extend(b"\x21\xfe\0")),
    "GIF blocks": lambda: in_gif(b"\x21\xfe" + extend(b"\1a") + b"\0"),
    "GIF zeros": lambda: in_gif(extend(b"\0")),
    "GIF garbage": lambda: in_gif(extend(b"a")),
    "WebP": lambda: in_webp(extend(webp_chunk(b"abcd", b""))),
    "WebP Exif": lambda: in_webp(extend(webp_chunk(b"EXIF", make_exif(0, before=5000)))),
}


@pytest.mark.parametrize("name", MANY_BLOCKS)
def test_a_header_takes_no_longer_than_its_size_explains(name: str) -> None:
    """19.6 MB of as many blocks as possible, or of bytes that look like their beginnings, took up to 7 s."""
    data = MANY_BLOCKS[name]()
    taken = []
    for _ in range(3):  # other processes may be in the way once
        started = time.thread_time()
        with contextlib.suppress(ImageError):
            read_photo_file(data)
        taken.append(time.thread_time() - started)
    assert min(taken) < 0.1


@pytest.mark.parametrize(
    ("fill", "most"),
    [
        (lambda count: in_jpeg(segment(b"", 0xFE) * (count - 9)), 4096),  # 9 segments of its own
        (lambda count: in_scan(segment(b"", 0xC4) * (count - 1)), 1024),  # and its end
        (lambda count: in_png(chunk(b"tEXt", b"") * (count - 3)), 4096 + 24),  # for its 49 KB
        (lambda count: in_gif(b"\0" * count), 4096 + 2),
        (lambda count: in_webp(webp_chunk(b"abcd", b"") * (count - 1)), 4096 + 16),  # for its 33 KB
    ],
)
def test_the_limit_of_blocks_is_inclusive(fill: Callable[[int], bytes], most: int) -> None:
    assert decode_image(fill(most), SQUARE).shape == (32, 32, 3)
    with pytest.raises(ImageError, match=f"split into more than {most} blocks"):
        decode_image(fill(most + 1), SQUARE)


FILLED: dict[str, Callable[[int], bytes]] = {
    "PNG": lambda count: in_png(chunk(b"tEXt", bytes(count)), chunk(b"tEXt", b"") * 5000),
    "GIF": lambda count: in_gif(bytes(count)),
    "WebP": lambda count: in_webp(webp_chunk(b"abcd", bytes(count)), webp_chunk(b"abcd", b"") * 5000),
}


@pytest.mark.parametrize(("size", "most"), [(50 * 2048, 4096 + 50), (50 * 2048 - 2, 4096 + 49)])
@pytest.mark.parametrize("kind", FILLED)
def test_every_2048_bytes_allow_one_more_block(kind: str, size: int, most: int) -> None:
    data = FILLED[kind](size - len(FILLED[kind](0)))
    assert len(data) == size
    with pytest.raises(ImageError, match=f"split into more than {most} blocks"):
        read_photo_file(data)


NO_ORIENTATION = EXIF + make_exif(0)
SIXTEEN: dict[str, Callable[[int], bytes]] = {
    "Exif": lambda before: in_jpeg(segment(NO_ORIENTATION) * before, segment(EXIF + make_exif())),
    "XMP": lambda before: in_jpeg(segment(XMP + make_xmp(0)) * before, segment(XMP + make_xmp(TURNED))),
    "raw Exif": lambda before: in_png(
        chunk(b"tEXt", b"Raw profile type exif\0" + make_raw_profile(NO_ORIENTATION)) * before,
        chunk(b"tEXt", b"Raw profile type exif\0" + make_raw_profile(EXIF + make_exif())),
    ),
}


@pytest.mark.parametrize("kind", SIXTEEN)
def test_an_orientation_is_looked_for_in_sixteen_blocks(kind: str) -> None:
    assert read_photo_file(SIXTEEN[kind](15)).orientation == TURNED
    assert read_photo_file(SIXTEEN[kind](16)).orientation == 1


def test_a_gif_with_zeros_between_its_blocks_is_read() -> None:
    padded = in_gif(b"\0\0\x21\xfe\x02hi\0\0")
    assert (decode_image(padded, SQUARE) == decode_image(make("GIF"), SQUARE)).all()


CONTROL = b"\x21\xf9\x04\x01\0\0\x05\0"  # colour 5 is transparent


@pytest.mark.parametrize("flags", range(0x60, 0x100, 3))
def test_a_gif_has_a_palette_of_any_size_or_none(flags: int) -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 40, 30, flags, 0, 0)
    palette = b"\x2c" * (3 * 2 ** (flags % 8 + 1) if flags >= 0x80 else 0)  # its bytes look like a frame's beginning
    frame = b"\x2c" + struct.pack("<HHHHB", 10, 20, 33, 7, 0) + b"\x02\x02\x4c\x01\0\x3b"
    photo = read_photo_file(head + palette + CONTROL + frame)
    assert (photo.width, photo.height) == (43, 30)  # the frame lies beyond the right side of the canvas
    assert photo.data == head + palette + CONTROL + frame


@pytest.mark.parametrize("label", [0x01, 0xF8, 0xFA, 0xFE, 0xFF])
def test_the_transparency_of_a_gif_is_kept_and_its_other_extensions_are_not(label: int) -> None:
    other = bytes((0x21, label)) + b"\x04abcd\x01e\0"
    expected = in_gif(CONTROL)
    assert read_photo_file(in_gif(other + CONTROL + other)).data == expected
    animated = b"\x21\xf9\x04\x0d\x64\0\x05\0"  # a disposal method and a delay of a second, too
    assert read_photo_file(in_gif(animated)).data == expected


@pytest.mark.parametrize("byte", [0x01, 0x20, 0x22, 0x2B, 0x2D, 0x3B, 0xFF])
def test_a_gif_without_a_frame_behind_its_header_is_refused(byte: int) -> None:
    with pytest.raises(ImageError, match="no picture follows its header"):
        read_photo_file(in_gif(bytes((byte,))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_is_identified_by_its_first_bytes(kind: str) -> None:
    data = make(kind)
    assert identify(data[:HEAD_BYTES]) == read_photo_file(data).kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    ],
)
def test_photos_of_other_formats_are_named_in_the_error(head: bytes, kind: str) -> None:
    assert identify(head) == kind
    with pytest.raises(ImageError, match=f"in the {kind} format, which is not supported. Convert it to JPEG or PNG"):
        read_photo_file(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0\5\26\7" + bytes(28),  # macOS keeps attributes in such files
        b"BM is how this text begins, which is no bitmap",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"RIFF\x24\0\0\0sfbkLIST",
        b"\0\0\0\x18freeheic\0\0\0\0mif1heic",
        b"\0\0\0\x18moovheic\0\0\0\0mif1heic",
        b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        b"%PDF-1.7\n",
        b"id,landmark_id\n",
    ],
)
def test_other_files_are_not_identified_as_photos(head: bytes) -> None:
    assert identify(head) is None


def test_a_bitmap_is_identified_by_the_size_of_its_header() -> None:
    sizes = [size for size in range(300) if identify(b"BM" + bytes(12) + struct.pack("<I", size) + bytes(14))]
    assert sizes == [12, 16, 40, 52, 56, 64, 108, 124]


def test_a_progressive_photo_may_have_two_hundred_scans() -> None:
    data = make("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    more = 200 - data.count(b"\xff\xda")
    longest = data[:-2] + data[last:-2] * more + data[-2:]
    assert read_photo_file(longest).data.count(b"\xff\xda") == 200
    with pytest.raises(ImageError, match="more than 200 scans"):
        read_photo_file(data[:-2] + data[last:-2] * (more + 1) + data[-2:])


def test_a_bmp_of_the_first_format_has_sizes_of_16_bits() -> None:
    width, height = 300, 2
    pixels = bytes(width * 3) * height
    header = struct.pack("<IHHHH", 12, width, height, 1, 24)
    data = b"BM" + struct.pack("<IHHI", 26 + len(pixels), 0, 0, 26) + header + pixels
    photo = read_photo_file(data)
    assert (photo.width, photo.height) == (width, height)
    assert decode_image(data, SQUARE).shape == (32, 32, 3)


@pytest.mark.parametrize("marker", [0x01, 0xD0, 0xD7, 0xD8])
def test_a_marker_without_a_segment_ends_no_header(marker: int) -> None:
    plain, marked = in_jpeg(), in_jpeg(bytes((0xFF, marker)))
    assert (read_photo_file(marked).width, read_photo_file(marked).height) == (48, 32)
    assert (decode_image(marked, SQUARE) == decode_image(plain, SQUARE)).all()
