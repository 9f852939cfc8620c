"""RAW photos: cameras put a preview into each, which is what is looked at."""

import io

import numpy as np
from PIL import Image

from landmarks.errors import ImageError

RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")

# as LibRaw numbers them
_TURNS = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.ROTATE_90, 6: Image.Transpose.ROTATE_270}


def is_raw_name(name: str) -> bool:
    """Return whether a file name has the suffix of a RAW photo."""
    return name.lower().endswith(RAW_SUFFIXES)


def get_photo(name: str, data: bytes) -> bytes:
    """Return the encoded photo in a file of some name: of a RAW photo the preview, else the file itself.

    Raises:
        ImageError: as `extract_preview`.
    """
    return extract_preview(data) if is_raw_name(name) else data


def extract_preview(data: bytes) -> bytes:
    """Return the largest preview in a RAW photo, as an encoded photo.

    Raises:
        ImageError: it is damaged, of an unknown camera, or has no preview.
    """
    import rawpy  # not at the top: LibRaw takes a while to load, and most processes do without

    try:
        with rawpy.imread(io.BytesIO(data)) as photo:
            preview, turn = photo.extract_thumb(), photo.sizes.flip
    except rawpy.LibRawNoThumbnailError:
        raise ImageError("The RAW photo has no preview. Convert it to JPEG.", "unsupported") from None
    except rawpy.LibRawError as error:
        raise ImageError(f"The RAW photo cannot be read: {_describe(error)}.") from None
    if preview.format == rawpy.ThumbFormat.JPEG:
        return bytes(preview.data)
    encoded, image = io.BytesIO(), Image.fromarray(np.asarray(preview.data))
    if turn in _TURNS:  # JPEGs say themselves how they are turned
        image = image.transpose(_TURNS[turn])
    image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _describe(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
