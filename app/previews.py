"""Previews of uploaded photos, for the page only."""

import base64
import io

from pi_heif import register_heif_opener
from PIL import Image, ImageOps, UnidentifiedImageError

register_heif_opener()

_SIDE = 720
_MOST_PIXELS = 50_000_000


def make_preview(photo: bytes) -> str | None:
    """Return a JPEG of at most 720 pixels per side as a data URL; None if the photo cannot be shown."""
    try:
        with Image.open(io.BytesIO(photo)) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            # decodes a JPEG at a reduced size, close to the one needed
            image.draft("RGB", (_SIDE, _SIDE))
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((_SIDE, _SIDE))
            stream = io.BytesIO()
            upright.convert("RGB").save(stream, "JPEG", quality=85)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
