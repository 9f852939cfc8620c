"""Answer many photo files: decoded in parallel, and run in batches while the next ones are decoded."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from landmarks.errors import ImageError
from landmarks.photos.decoding import decode_image
from landmarks.photos.walk import read_photo
from landmarks.processors import count_processors
from landmarks.recognizer.serving_network import BATCH
from landmarks.schema.network_format import ImageFormat, Pixels

Answer = TypeVar("Answer")


def answer_files(
    paths: Sequence[Path],
    image_format: ImageFormat,
    answer: Callable[[Pixels], Sequence[Answer | ImageError]],
    read: Callable[[Path], bytes] = read_photo,
) -> Iterator[tuple[Path, Answer | ImageError]]:
    """Yield the answer for each file, in their order, or the error of a file that cannot be read.

    At most two batches of decoded photos are in memory.

    Args:
        paths: of the photos.
        image_format: that the network expects.
        answer: from a batch, uint8 (n, image_size, image_size, 3), to one answer for each of its photos.
        read: returns the encoded bytes of a file.
    """

    def load(path: Path) -> Pixels | ImageError:
        try:
            return decode_image(read(path), image_format)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(count_processors(), "photos") as pool:
        blocks = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
        coming: list[Future[Pixels | ImageError]] = []
        for number, block in enumerate(blocks):
            own = coming or [pool.submit(load, path) for path in block]
            coming = [pool.submit(load, path) for path in blocks[number + 1]] if number + 1 < len(blocks) else []
            loaded = [future.result() for future in own]
            pixels = [photo for photo in loaded if not isinstance(photo, ImageError)]
            answers = iter(answer(np.stack(pixels)) if pixels else ())
            for path, photo in zip(block, loaded, strict=True):
                yield path, photo if isinstance(photo, ImageError) else next(answers)
