import io
import os
import random
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, ImageOps

from landmarks.errors import ImageError
from landmarks.photos import decoding as images
from landmarks.photos.decoding import decode_image
from landmarks.schema.network_format import ImageFormat, Pixels
from landmarks.shards.format import decode_png, encode_png

LIMIT = 2_000_000
SQUARE = ImageFormat(64, "crop", LIMIT)
RED, GREEN, BLUE, WHITE = (200, 30, 20), (20, 180, 40), (30, 40, 190), (255, 255, 255)


def make_photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Make smooth colour gradients, which compress like a photo; noise or flat colour would not."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decode_slowly(image: Image.Image, target: ImageFormat) -> Pixels:
    """The oracle: decode at full size, convert, crop to the common square, resize."""
    rgb = image.convert("RGB")
    common = (max(target.image_size, 128),) * 2
    if target.fit == "crop":
        rgb = ImageOps.fit(rgb, common, Image.Resampling.BICUBIC)
    rgb = rgb.resize(common, Image.Resampling.BICUBIC)
    return np.asarray(rgb.resize((target.image_size, target.image_size), Image.Resampling.BICUBIC))


def compute_difference(first: Pixels, second: Pixels) -> float:
    assert first.shape == second.shape
    assert first.dtype == second.dtype == np.uint8
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def make_quarters(mode: str = "RGB") -> Image.Image:
    """Red, green, blue and white quarters."""
    image = Image.new("RGB", (80, 80))
    for box, colour in zip(((0, 0), (40, 0), (0, 40), (40, 40)), (RED, GREEN, BLUE, WHITE), strict=True):
        image.paste(colour, (*box, box[0] + 40, box[1] + 40))
    return image.convert(mode)


def read_quarters(pixels: Pixels) -> list[tuple[int, ...]]:
    s = len(pixels)
    return [tuple(int(v) for v in pixels[y, x]) for y in (s // 4, 3 * s // 4) for x in (s // 4, 3 * s // 4)]


def assert_close(received: Sequence[tuple[int, ...]], expected: Sequence[tuple[int, ...]], tolerance: int) -> None:
    assert np.abs(np.array(received) - np.array(expected)).max() <= tolerance, received


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("image_size", [64, 128, 200])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1600, 1000), (64, 64), (50, 90), (129, 128)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_agrees_with_a_full_decode(kind: str, size: tuple[int, int], image_size: int, fit: str) -> None:
    data = encode(make_photo(*size), kind)
    target = ImageFormat(image_size, fit, LIMIT)  # type: ignore[arg-type]
    expected = decode_slowly(Image.open(io.BytesIO(data)), target)
    assert compute_difference(decode_image(data, target), expected) < 1.0


def test_crop_takes_the_centre_and_stretch_takes_everything() -> None:
    wide = Image.new("RGB", (300, 100), BLUE)
    wide.paste(RED, (100, 0, 200, 100))
    data = encode(wide, "PNG")
    assert (decode_image(data, ImageFormat(50, "crop", LIMIT))[:, 2:-2] == RED).all()
    stretched = decode_image(data, ImageFormat(60, "stretch", LIMIT))
    assert_close([tuple(stretched[30, x]) for x in (5, 30, 55)], [BLUE, RED, BLUE], 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_applies_the_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a maker"
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    upright = make_photo(120, 80)
    data = encode(upright, kind, exif=exif.tobytes(), **options)
    expected = decode_slowly(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), SQUARE)
    assert compute_difference(decode_image(data, SQUARE), expected) < 1.0


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0",  # orientation 99
        b"Exif\0\0II*\0\x08\0\0\0\x03\0\x1a\x01\x05\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"Exif\0\0garbage",
    ],
)
def test_ignores_invalid_exif_without_a_warning(exif: bytes) -> None:
    data = encode(make_quarters(), "JPEG", quality=95, exif=exif)
    assert_close(read_quarters(decode_image(data, SQUARE)), [RED, GREEN, BLUE, WHITE], 4)


@pytest.mark.parametrize(
    ("mode", "kind", "tolerance"),
    [
        ("CMYK", "JPEG", 4),
        ("P", "PNG", 60),
        ("P", "GIF", 60),
        ("RGBA", "PNG", 0),
        ("RGBA", "WEBP", 6),
        ("P", "BMP", 60),
    ],
)
def test_reads_colour_in_every_mode(mode: str, kind: str, tolerance: int) -> None:
    data = encode(make_quarters(mode), kind)
    assert_close(read_quarters(decode_image(data, SQUARE)), [RED, GREEN, BLUE, WHITE], tolerance)


@pytest.mark.parametrize(("mode", "kind"), [("L", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("L", "GIF"), ("L", "BMP")])
def test_grey_becomes_three_equal_channels(mode: str, kind: str) -> None:
    pixels = decode_image(encode(make_quarters(mode), kind), SQUARE)
    greys = [(v, v, v) for v in (80, 116, 54, 255)]  # 0.299 R + 0.587 G + 0.114 B
    assert_close(read_quarters(pixels), greys, 4)
    assert (pixels == pixels[:, :, :1]).all()


def test_reads_bilevel_images() -> None:
    image = Image.new("1", (40, 40), 0)
    image.paste(1, (0, 0, 20, 40))
    pixels = decode_image(encode(image, "PNG"), SQUARE)
    assert (pixels[:, :28] == 255).all()
    assert (pixels[:, 36:] == 0).all()


def test_sixteen_bits_keep_the_upper_eight() -> None:
    values = np.full((32, 32), 0x8123, np.uint16)
    values[:, 16:] = 0xFFFF
    pixels = decode_image(encode(Image.fromarray(values), "PNG"), ImageFormat(32, "crop", LIMIT))
    assert (pixels[:, :12] == 0x81).all()
    assert (pixels[:, 20:] == 0xFF).all()


def make_png_by_hand(width: int, height: int, depth: int, colour: int, row: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress((b"\0" + row) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_with_alpha() -> None:
    half_red = struct.pack(">4H", 0xFF00, 0x0000, 0x0000, 0x8080)
    pixels = decode_image(make_png_by_hand(40, 40, 16, 6, half_red * 40), SQUARE)
    assert_close([tuple(pixels[20, 20])], [(255, 127, 127)], 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_transparency_is_composited_over_white(kind: str) -> None:
    image = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 30, 60))
    pixels = decode_image(encode(image, kind), SQUARE)
    assert_close([tuple(pixels[32, 10]), tuple(pixels[32, 55])], [RED, WHITE], 6)


def test_palette_with_an_alpha_for_each_colour() -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, *RED])
    data = encode(image, "PNG", transparency=bytes([0, 128]))
    expected = tuple(round(255 + (v - 255) * 128 / 255) for v in RED)
    assert_close([tuple(decode_image(data, SQUARE)[32, 32])], [expected], 1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_reads_the_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (50, 40), colour) for colour in (RED, GREEN, BLUE)]
    data = (
        encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=40, loop=0, disposal=2)
        if (kind != "WEBP")
        else encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=40)
    )
    assert_close([tuple(decode_image(data, SQUARE)[32, 32])], [RED], 6)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 2}, {"quality": 1}, {"optimize": True}])
def test_reads_every_jpeg(options: dict[str, object]) -> None:
    data = encode(make_photo(500, 400), "JPEG", **options)
    expected = decode_slowly(Image.open(io.BytesIO(data)), SQUARE)
    assert compute_difference(decode_image(data, SQUARE), expected) < 1.5


def test_ignores_huge_profiles_comments_and_previews() -> None:
    plain = encode(make_photo(300, 200), "JPEG")
    profile = random.Random(0).randbytes(3_000_000)
    laden = encode(
        make_photo(300, 200), "JPEG", icc_profile=profile, comment=b"c" * 60_000, exif=b"Exif\0\0" + b"\xff\xd8" * 9000
    )
    assert len(laden) > len(plain) + 3_000_000
    assert (decode_image(laden, SQUARE) == decode_image(plain, SQUARE)).all()
    png = encode(make_photo(300, 200), "PNG", icc_profile=profile)
    assert (decode_image(png, SQUARE) == decode_image(encode(make_photo(300, 200), "PNG"), SQUARE)).all()


def test_fill_bytes_between_jpeg_segments_are_allowed() -> None:
    data = encode(make_quarters(), "JPEG", quality=95)
    padded = data[:2] + b"\xff\xff\xff" + data[2:]
    assert (decode_image(padded, SQUARE) == decode_image(data, SQUARE)).all()


def test_reads_the_first_picture_of_a_multi_picture_jpeg() -> None:
    frames = [Image.new("RGB", (50, 40), colour) for colour in (RED, GREEN)]
    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert_close([tuple(decode_image(data, SQUARE)[32, 32])], [RED], 4)


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (2, 3)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_extreme_shapes_work(kind: str, size: tuple[int, int], fit: str) -> None:
    data = encode(Image.new("RGB", size, RED), kind)
    assert_close([tuple(decode_image(data, ImageFormat(32, fit, LIMIT))[16, 16])], [RED], 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_refuses_a_truncated_photo(kind: str) -> None:
    data = encode(make_photo(400, 300), kind)
    for length in (1, 5, 20, 40, len(data) // 3, len(data) // 2):
        with pytest.raises(ImageError, match=r"^The (photo|bytes|\w+ photo) "):
            decode_image(data[:length], SQUARE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"not a photo at all", "not a photo of a supported format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photo of a supported format"),
        (b"%PDF-1.7\n", "not a photo of a supported format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a photo of a supported format"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not a photo of a supported format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "AVIF"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"GIF89a", "damaged"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\0" * 2000, "damaged"),
        (make_png_by_hand(0, 5, 8, 2, b""), "damaged"),
    ],
)
def test_refuses_other_file_types(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_image(data, SQUARE)


def test_messages_do_not_reveal_libraries_or_paths() -> None:
    damaged = encode(make_photo(400, 300), "PNG")[:-2000]
    with pytest.raises(ImageError) as caught:
        decode_image(damaged, SQUARE)
    assert str(caught.value) == "The PNG photo cannot be decoded: it is damaged, incomplete or unusual."


def make_bombs() -> dict[str, bytes]:
    jpeg = encode(make_photo(64, 64), "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    webp = bytearray(encode(make_photo(64, 64).convert("RGBA"), "WEBP", lossless=True, exif=b"II*\0\x08\0\0\0\0\0"))
    webp[24:30] = b"\xff\x3f\0\xff\x3f\0"
    gif = encode(make_photo(64, 64).convert("P"), "GIF")
    descriptor = gif.index(b"\x2c\0\0\0\0\x40\0\x40\0")
    bmp = encode(make_photo(64, 64), "BMP")
    return {
        "JPEG": jpeg[: frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9 :],
        "PNG": make_png_by_hand(60_000, 60_000, 8, 2, b"\0"),
        "GIF canvas": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "GIF frame": gif[: descriptor + 5] + b"\xff\xff\xff\xff" + gif[descriptor + 9 :],
        "WebP": bytes(webp),
        "BMP": bmp[:18] + struct.pack("<ii", 40_000, -40_000) + bmp[26:],
    }


@pytest.mark.parametrize("kind", sorted(make_bombs()))
def test_a_decompression_bomb_is_refused_from_its_header(kind: str) -> None:
    script = (
        "import resource, sys\n"
        "from landmarks.photos.decoding import ImageFormat, decode_image\n"
        "from landmarks.errors import ImageError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    decode_image(sys.stdin.buffer.read(), ImageFormat(64, 'crop', 50_000_000))\n"
        "except ImageError as error:\n"
        "    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], input=make_bombs()[kind], capture_output=True)
    assert done.stderr == b""
    message, grown_kib = done.stdout.decode().splitlines()
    assert "pixels, more than the 50000000 allowed" in message
    assert int(grown_kib) < 10_000


def test_the_pixel_limit_is_inclusive() -> None:
    data = encode(Image.new("L", (1000, 1001), 7), "PNG")
    assert decode_image(data, ImageFormat(32, "crop", 1_001_000)).max() == 7
    with pytest.raises(ImageError, match="1000 x 1001 pixels, more than the 1000999 allowed"):
        decode_image(data, ImageFormat(32, "crop", 1_000_999))


def test_a_photo_above_pillows_limit_is_read_without_a_warning() -> None:
    data = encode(Image.new("1", (20_000, 9_500), 1), "PNG")  # 190 megapixels: above Pillow's own error limit
    assert (decode_image(data, ImageFormat(32, "crop", 200_000_000)) == 255).all()


@pytest.mark.parametrize(
    ("image", "kind", "options", "most"),
    [
        (Image.new("CMYK", (6200, 6200)), "JPEG", {"progressive": True}, 37_500_000),
        (Image.new("RGB", (5000, 4000)), "WEBP", {"method": 0}, 18_750_000),
    ],
)
def test_a_photo_whose_decoder_needs_too_much_memory_is_refused(
    image: Image.Image, kind: str, options: dict[str, Any], most: int
) -> None:
    with pytest.raises(ImageError, match=f"photo of this kind, at most {most} can be decoded"):
        decode_image(encode(image, kind, **options), ImageFormat(32, "crop", 200_000_000))
    other = encode(image, "JPEG")  # as the message advises
    assert decode_image(other, ImageFormat(32, "crop", 200_000_000)).shape == (32, 32, 3)


def make_layers(mode: str) -> tuple[Image.Image, dict[str, Any]]:
    colours = make_photo(413, 301)
    if mode == "I;16":
        return Image.fromarray((np.asarray(colours.convert("L")).astype(np.uint16) << 8) + 77), {}
    if mode in ("RGBA", "LA"):
        layered = colours.convert(mode)
        layered.putalpha(Image.linear_gradient("L").resize(layered.size))
        return layered, {}
    return colours.convert(mode), {"transparency": 0} if mode == "P" else {}


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "I;16"])
def test_decoding_in_strips_agrees_with_decoding_at_once(
    mode: str, fit: Literal["crop", "stretch"], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, options = make_layers(mode)
    data = encode(image, "PNG", **options)
    whole = decode_image(data, ImageFormat(32, fit, 10**6)).astype(int)
    monkeypatch.setattr(images, "_LARGE_PIXELS", 1000)
    for strip_pixels in (1, 5000, 10**6):
        monkeypatch.setattr(images, "_STRIP_PIXELS", strip_pixels)
        strips = decode_image(data, ImageFormat(32, fit, 10**6)).astype(int)
        assert np.abs(strips - whole).mean() < 0.5
        assert np.abs(strips - whole).max() <= 3


def test_a_jpeg_with_thousands_of_scans_is_refused() -> None:
    data = encode(make_photo(64, 64), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(ImageError, match="scans"):
        decode_image(data[:-2] + data[scan:-2] * 5000 + data[-2:], SQUARE)


def test_threads_get_the_same_pixels_and_warning_filters_stay() -> None:
    photos = [
        encode(make_photo(300 + 10 * i, 200, i), kind) for i in range(6) for kind in ("JPEG", "PNG", "GIF", "WEBP")
    ]
    expected = [decode_image(photo, SQUARE) for photo in photos]
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    start = threading.Barrier(8)

    def decode_all(_: int) -> bool:
        start.wait()
        return all((decode_image(photo, SQUARE) == right).all() for photo, right in zip(photos, expected, strict=True))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(decode_all, range(8))) == [True] * 8
    assert list(warnings.filters) == filters
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_random_damage_gives_pixels_or_an_image_error(kind: str) -> None:
    rng = random.Random(kind)
    whole = encode(make_photo(90, 70), kind)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 30))):
            data[rng.randrange(min(len(data), rng.choice((60, 10**9))))] = rng.randrange(256)
        try:
            pixels = decode_image(bytes(data), SQUARE)
        except ImageError:
            continue
        assert pixels.shape == (64, 64, 3)


def test_png_round_trip_is_exact() -> None:
    rng = np.random.default_rng(1)
    for pixels in (rng.integers(0, 256, (64, 64, 3), np.uint8), np.asarray(make_photo(64, 64))):
        data = encode_png(pixels)
        assert (decode_png(data) == pixels).all()
        assert (np.asarray(Image.open(io.BytesIO(data))) == pixels).all()


@pytest.mark.skipif("LANDMARKS_SAMPLES" not in os.environ, reason="LANDMARKS_SAMPLES is not set: no real photos")
def test_real_photos_agree_with_a_full_decode() -> None:
    paths = sorted((Path(os.environ["LANDMARKS_SAMPLES"]) / "fullsize" / "train").rglob("*.jpg"))[::6]
    target = ImageFormat(64, "crop", 50_000_000)
    differences = []
    for path in paths:
        expected = decode_slowly(ImageOps.exif_transpose(Image.open(path)), target)
        differences.append(compute_difference(decode_image(path.read_bytes(), target), expected))
    assert np.mean(differences) < 1.5
    assert max(differences) < 6.0


@pytest.mark.parametrize("size", [(640, 480), (90, 64)])
def test_every_photo_passes_through_the_common_size(size: tuple[int, int]) -> None:
    data = encode(make_photo(*size), "JPEG")
    common = decode_image(data, ImageFormat(128, "crop", LIMIT))
    assert (decode_image(data, SQUARE) == decode_image(encode_png(common), SQUARE)).all()
