"""Small pictures of large photos, for the page alone."""

import base64
import io

from PIL import Image, ImageOps, UnidentifiedImageError

_SIDE = 720
_MOST_PIXELS = 50_000_000


def make_preview(photo: bytes) -> str | None:
    """A JPEG of at most 720 pixels a side as a data address; None where the photo cannot be drawn."""
    try:
        with Image.open(io.BytesIO(photo)) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            image.draft("RGB", (_SIDE, _SIDE))
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((_SIDE, _SIDE))
            stream = io.BytesIO()
            upright.convert("RGB").save(stream, "JPEG", quality=85)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
