"""Answer many photo files: decoded in parallel, and run in batches while the next ones are decoded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from landmarks.errors import ImageError
from landmarks.photos.decoding import decode_image
from landmarks.photos.walk import read_photo
from landmarks.processors import count_processors
from landmarks.recognizer.serving_network import BATCH
from landmarks.schema.network_format import ImageFormat, Pixels

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def answer_files(
    paths: Iterable[Path],
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

    return answer_items(paths, load, answer)


def answer_items(
    items: Iterable[Item],
    load: Callable[[Item], Pixels | Answer],
    answer: Callable[[Pixels], Sequence[Answer]],
    threads: int | None = None,
    find: Callable[[Item], Answer | None] = lambda _: None,
) -> Iterator[tuple[Item, Answer]]:
    """Yield the answer for each item, in their order; items are taken two batches ahead.

    Args:
        items: whatever stands for a photo.
        load: from an item to its decoded photo, uint8 (image_size, image_size, 3), or at once to its answer.
        answer: from a batch, uint8 (n, image_size, image_size, 3), to one answer for each of its photos.
        threads: that load; one per processor if None.
        find: returns an answer that is known without loading anything, or None; it is quick.
    """
    with ThreadPoolExecutor(threads or count_processors(), "photos") as pool:
        waiting = iter(items)

        def take() -> list[tuple[Item, Future[Pixels | Answer] | Answer]]:
            batch = [(item, find(item)) for item in islice(waiting, BATCH)]
            return [(item, pool.submit(load, item) if known is None else known) for item, known in batch]

        try:
            own = take()
            while own:
                coming = take()
                loaded = [(item, one.result() if isinstance(one, Future) else one) for item, one in own]
                pixels = [photo for _, photo in loaded if isinstance(photo, np.ndarray)]
                answers = iter(answer(np.stack(pixels)) if pixels else ())
                for item, photo in loaded:
                    yield item, next(answers) if isinstance(photo, np.ndarray) else photo
                own = coming
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # nobody waits for what has not begun
            raise
