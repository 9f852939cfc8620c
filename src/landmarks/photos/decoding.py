"""From the bytes of a photo to the square the network sees: one way, for shards, command line and service alike."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from landmarks.errors import ImageError
from landmarks.photos.headers import Kind, PhotoFile, read_photo_file
from landmarks.schema.network_format import ImageFormat, Pixels

Box = tuple[float, float, float, float]

# Every photo is first brought to a square of this side, where the target is not larger: how large and how sharp it was
# says where it came from, and would tell photos of landmarks from others without a look at what they show.
COMMON_SIZE = 128
# How much larger than that square a JPEG stays when it is decoded at reduced scale. On full-size photos at 64 px: 2 is
# a fifth slower than 1 and keeps the pixels 2.5 times closer to a full decoding; 3 is another third slower.
_OVERSAMPLING = 2
_MOST_DECODER_BYTES = 300_000_000
_LARGE_PIXELS = 4_000_000  # copies of what is larger are made of a strip at a time
_STRIP_PIXELS = 1_000_000
_REDUCING_GAP = 2.0  # what is still larger is first averaged in whole blocks: 1.4 times as fast for other formats

# Opened by class: Image.open consults global limits, which other code in the process may change.
_DECODERS: dict[Kind, Callable[[Any], Image.Image]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
}
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, target: ImageFormat) -> Pixels:
    """Decode a photo and bring it to the square of `target`, by way of one of `COMMON_SIZE` where that is larger.

    JPEG, PNG, GIF, WebP and BMP are read; of an animation the first frame. EXIF orientation is applied, transparency
    is laid over white, 16-bit channels keep their upper 8 bits, CMYK is converted without its profile, and colour
    profiles are ignored. Safe to call from several threads.

    Returns:
        RGB: uint8 (image_size, image_size, 3).

    Raises:
        ImageError: the bytes are no image, are damaged, or have more than `target.max_pixels` pixels.
    """
    photo = read_photo_file(data)
    _check_size(photo, target.max_pixels)
    try:
        return _decode(photo, target)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise all kinds of exceptions for bytes that make no sense
        raise ImageError(f"The {photo.kind} photo cannot be decoded: it is damaged, incomplete or unusual.") from error


def _check_size(photo: PhotoFile, max_pixels: int) -> None:
    if photo.width < 1 or photo.height < 1:
        raise ImageError(f"The photo is damaged: its size is {photo.width} x {photo.height}.")
    if photo.width * photo.height > max_pixels:
        raise ImageError(
            f"The photo has {photo.width} x {photo.height} pixels, more than the {max_pixels} allowed. Reduce it first."
        )
    if photo.width * photo.height * photo.decoder_bytes > _MOST_DECODER_BYTES:
        raise ImageError(
            f"The photo has {photo.width} x {photo.height} pixels; of its kind, {photo.kind}, at most "
            f"{_MOST_DECODER_BYTES // photo.decoder_bytes} can be decoded. Save it as an ordinary JPEG."
        )


def _decode(photo: PhotoFile, target: ImageFormat) -> Pixels:
    size = max(target.image_size, COMMON_SIZE)
    with _DECODERS[photo.kind](io.BytesIO(photo.data)) as image:
        if image.size != (photo.width, photo.height):
            raise ValueError("the decoder sees another size than the header gave")
        image.draft(None, (size * _OVERSAMPLING, size * _OVERSAMPLING))
        image.load()
        if image.width * image.height > _LARGE_PIXELS:
            small, box = _shrink(image, target, size)
        else:
            small, box = _simplify(image), _find_box(*image.size, target)
    small = _lay_over_white(small.resize((size, size), Image.Resampling.BICUBIC, box, _REDUCING_GAP))
    if size != target.image_size:
        small = small.resize((target.image_size, target.image_size), Image.Resampling.BICUBIC)
    # The square is turned, not the photo: the same result for less work.
    return np.asarray(small.transpose(_ORIENTATIONS[photo.orientation]) if photo.orientation != 1 else small)


def _find_box(width: int, height: int, target: ImageFormat) -> Box:
    """The part of a photo that is kept: left, top, right, bottom."""
    if target.fit == "stretch":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _shrink(image: Image.Image, target: ImageFormat, size: int) -> tuple[Image.Image, Box]:
    """The part of a large photo that is kept, simplified and averaged in whole blocks, without a copy of the whole.

    Returns:
        The blocks, and the box in them that is to be used: the last ones may be of fewer pixels.
    """
    left, top, right, bottom = (int(side) for side in _find_box(*image.size, target))
    across, down = (max(1, int(side / size / _REDUCING_GAP)) for side in (right - left, bottom - top))
    rows = max(1, _STRIP_PIXELS // (right - left) // down) * down
    strips = [
        _average(_simplify(image.crop((left, start, right, min(start + rows, bottom)))), (across, down))
        for start in range(top, bottom, rows)
    ]
    small = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for number, strip in enumerate(strips):
        small.paste(strip, (0, number * strips[0].height))
    return small, (0, 0, (right - left) / across, (bottom - top) / down)


def _average(image: Image.Image, factors: tuple[int, int]) -> Image.Image:
    """Mean of blocks; transparent pixels do not lend their colour to it."""
    weighted = {"RGBA": "RGBa", "LA": "La"}.get(image.mode, image.mode)
    return image.convert(weighted).reduce(factors).convert(image.mode)


def _simplify(image: Image.Image) -> Image.Image:
    """Bring palettes, single bits and 16-bit greys to a mode whose values can be averaged."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _lay_over_white(image: Image.Image) -> Image.Image:
    if image.mode == "LA":
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
