"""Decode a photo into the network's square input; shards, command line and service all use this one function."""

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
from landmarks.photos.headers import Kind, PhotoFile, identify, read_photo_file
from landmarks.schema.network_format import ImageFormat, Pixels

Box = tuple[float, float, float, float]

# Photos pass through a square of this side unless the target is larger. Landmark photos and distractors come from
# different sources; their original resolution and sharpness would let the network separate them without their content.
COMMON_SIZE = 128
# JPEGs are decoded at the smallest DCT scale that is still this much larger than the square. Measured on full-size
# photos at 64 px: 2 is a fifth slower than 1 and 2.5 times closer to a full decode; 3 is another third slower.
_OVERSAMPLING = 2
_MAX_DECODER_BYTES = 300_000_000
_LARGE_PIXELS = 4_000_000  # above this, mode conversions copy one strip at a time to bound memory
_STRIP_PIXELS = 1_000_000
# Pillow's `reducing_gap`: a box filter shrinks the photo to twice the target before the bicubic resize. 1.4 times as
# fast for the formats that cannot be decoded at a reduced scale.
_REDUCING_GAP = 2.0


def _open_heic(stream: io.BytesIO) -> Image.Image:
    from pi_heif.as_plugin import HeifImageFile  # not at the top, as the next two: most processes do without

    image: Image.Image = HeifImageFile(stream)
    return image


def _open_avif(stream: io.BytesIO) -> Image.Image:
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile(stream)


def _open_tiff(stream: io.BytesIO) -> Image.Image:
    from PIL.TiffImagePlugin import TiffImageFile

    return TiffImageFile(stream)


# Opened by class: `Image.open` checks `Image.MAX_IMAGE_PIXELS`, a global that other code in the process may change.
_DECODERS: dict[Kind, Callable[[Any], Image.Image]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "HEIC": _open_heic,
    "AVIF": _open_avif,
    "TIFF": _open_tiff,
}
_TURNING = frozenset(("HEIC", "AVIF", "TIFF"))  # whose decoders may exchange width and height, or crop
ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# With premultiplied alpha, transparent pixels do not bleed their colour into an average.
_PREMULTIPLIED = {"RGBA": "RGBa", "LA": "La"}


def decode_image(data: bytes, target: ImageFormat) -> Pixels:
    """Decode a photo and resize it to the square of `target`, through `COMMON_SIZE` where that is larger.

    Supports JPEG, PNG, HEIC, AVIF, WebP, TIFF, GIF and BMP; of several pictures, the first. Applies the EXIF
    orientation, composites transparency over white, keeps the upper 8 bits of 16-bit channels, and ignores colour
    profiles, also for CMYK.
    Thread-safe.

    Returns:
        RGB: uint8 (image_size, image_size, 3).

    Raises:
        ImageError: the bytes are not a supported image, are damaged, or have more than `target.max_pixels` pixels.
    """
    return decode_photo(read_photo_file(data), target)


def decode_photo(photo: PhotoFile, target: ImageFormat) -> Pixels:
    """Decode a photo whose header is parsed already; otherwise as `decode_image`."""
    _check_size(photo, target.max_pixels)
    try:
        return _decode(photo, target)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many exception types for corrupt data
        raise ImageError(f"The {photo.kind} photo cannot be decoded: it is damaged, incomplete or unusual.") from error


def open_undecoded(data: bytes) -> Image.Image:
    """Open a photo for what it says about itself, with all of its metadata, which `decode_image` never sees.

    Raises:
        ImageError: the bytes are not a supported image.
        Exception: whatever Pillow's parsers raise for damaged metadata.
    """
    kind = identify(data)
    if kind not in _DECODERS:
        raise ImageError("The bytes are not a photo of a supported format.", "unsupported")
    return _DECODERS[kind](io.BytesIO(data))


def _check_size(photo: PhotoFile, max_pixels: int) -> None:
    if photo.width < 1 or photo.height < 1:
        raise ImageError(f"The photo is damaged: its size is {photo.width} x {photo.height}.")
    if photo.width * photo.height > max_pixels:
        raise ImageError(
            f"The photo has {photo.width} x {photo.height} pixels, more than the {max_pixels} allowed. "
            "Reduce it first.",
            "too_large",
        )
    if photo.width * photo.height * photo.decoder_bytes > _MAX_DECODER_BYTES:
        raise ImageError(
            f"The photo has {photo.width} x {photo.height} pixels; of a {photo.kind} photo of this kind, at most "
            f"{_MAX_DECODER_BYTES // photo.decoder_bytes} can be decoded. Save it as a baseline JPEG.",
            "too_large",
        )


def _decode(photo: PhotoFile, target: ImageFormat) -> Pixels:
    size = max(target.image_size, COMMON_SIZE)
    with _DECODERS[photo.kind](io.BytesIO(photo.data)) as image:
        # The limits were checked on the header's size, so a decoder that sees another one has bypassed them.
        _check_decoded(image, photo)
        image.draft(None, (size * _OVERSAMPLING, size * _OVERSAMPLING))
        image.load()
        if photo.kind in _TURNING:
            _check_decoded(image, photo)
        # of AVIF, from the boxes that say how to turn it
        orientation = image.getexif().get(ORIENTATION_TAG, 1) if photo.kind == "AVIF" else photo.orientation
        return fit_image(image, target, orientation)


def _check_decoded(image: Image.Image, photo: PhotoFile) -> None:
    is_larger = image.width * image.height > photo.width * photo.height
    if is_larger or (photo.kind not in _TURNING and image.size != (photo.width, photo.height)):
        raise ValueError("the decoder found a different size than the header")


def fit_image(image: Image.Image, target: ImageFormat, orientation: int = 1) -> Pixels:
    """Resize a loaded photo to the square of `target`, as `decode_image` does.

    Args:
        image: of any mode.
        target: its `max_pixels` is not looked at.
        orientation: as in Exif; unknown values count as upright.
    """
    size = max(target.image_size, COMMON_SIZE)
    if image.width * image.height > _LARGE_PIXELS:
        small, box = _shrink(image, target, size)
    else:
        small, box = _convert_mode(image), _find_box(*image.size, target)
    small = _composite_over_white(small.resize((size, size), Image.Resampling.BICUBIC, box, _REDUCING_GAP))
    if size != target.image_size:
        small = small.resize((target.image_size, target.image_size), Image.Resampling.BICUBIC)
    # Rotate the small square rather than the photo: same result, less work.
    turn = _ORIENTATIONS.get(orientation)
    return np.asarray(small if turn is None else small.transpose(turn))


def _find_box(width: int, height: int, target: ImageFormat) -> Box:
    """Return the part of a photo to keep: left, top, right, bottom."""
    if target.fit == "stretch":
        return 0, 0, width, height
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _shrink(image: Image.Image, target: ImageFormat, size: int) -> tuple[Image.Image, Box]:
    """Crop a large photo and shrink it by an integer factor, strip by strip, without a full-size copy.

    Returns:
        The shrunken photo, and the box to resize from: blocks at the right and bottom edge may cover fewer pixels.
    """
    left, top, right, bottom = (int(side) for side in _find_box(*image.size, target))
    across, down = (max(1, int(side / size / _REDUCING_GAP)) for side in (right - left, bottom - top))
    rows = max(1, _STRIP_PIXELS // (right - left) // down) * down
    strips = []
    for start in range(top, bottom, rows):
        strip = _convert_mode(image.crop((left, start, right, min(start + rows, bottom))))
        averaged = strip.convert(_PREMULTIPLIED.get(strip.mode, strip.mode)).reduce((across, down))
        strips.append(averaged.convert(strip.mode))
    small = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for number, strip in enumerate(strips):
        small.paste(strip, (0, number * strips[0].height))
    return small, (0, 0, (right - left) / across, (bottom - top) / down)


def _convert_mode(image: Image.Image) -> Image.Image:
    """Convert palettes, bilevel and 16-bit greyscale to a mode whose values can be averaged."""
    if image.mode.startswith("I"):
        # Pillow's own conversion to L clips 16-bit values at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # a transparent colour or palette entry
        return image.convert("RGBA")
    if image.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _composite_over_white(image: Image.Image) -> Image.Image:
    if image.mode == "LA":
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
