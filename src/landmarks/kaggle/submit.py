"""Write a Kaggle submission for a folder of test photos, batch by batch in bounded memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from landmarks.errors import DataError, ImageError
from landmarks.evaluation.gap import Guess
from landmarks.evaluation.retrieval import DEPTH
from landmarks.kaggle.files import write_recognition_submission, write_retrieval_submission
from landmarks.photos.decoding import decode_image
from landmarks.photos.walk import read_photo
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.network_format import ImageFormat, Pixels

_BATCH = 64
_THREADS = 4  # read and decode a batch; the network itself runs between two batches

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Unanswered:
    """A photo that could not be read, so its cell is empty, and the reason."""

    path: Path
    reason: str


def submit_recognition(
    recognizer: Recognizer, photos: Sequence[Path], out: Path, threshold: float | None = None
) -> list[Unanswered]:
    """Write `id,landmarks`: the most likely landmark of every photo, with its confidence.

    Args:
        recognizer: the model to use.
        photos: files; the id of a photo is its name without the suffix.
        out: the submission, written atomically.
        threshold: leave cells with a lower confidence empty; None answers every photo.

    Returns:
        The photos that could not be read. Their rows have an empty cell.

    Raises:
        DataError: two photos have the same id, a name is not UTF-8, or the file cannot be written.
    """

    def answer(pixels: Pixels) -> list[Guess | None]:
        recognitions = recognizer.classify_pixels(pixels, 1)
        guesses = [Guess(one.predictions[0].landmark_id, one.confidence) for one in recognitions]
        return [guess if threshold is None or guess.score >= threshold else None for guess in guesses]

    unanswered: list[Unanswered] = []
    answers = _answer_all(_identify(photos), recognizer.network.image_format, answer, unanswered)
    write_recognition_submission(out, answers)
    return unanswered


def submit_retrieval(recognizer: Recognizer, photos: Sequence[Path], out: Path) -> list[Unanswered]:
    """Write `id,images`: up to 100 ids of gallery photos for every photo, the most similar first.

    Arguments, result and errors are the same as for `submit_recognition`.
    """

    def search(pixels: Pixels) -> tuple[str, ...] | ImageError:
        try:
            return tuple(neighbour.image_id for neighbour in recognizer.search_pixels(pixels, DEPTH)[0])
        except ImageError as error:  # the embedding of this photo is zero
            return error

    def answer(pixels: Pixels) -> list[tuple[str, ...] | ImageError]:
        return [search(one[None]) for one in pixels]  # one by one, so that an error concerns one photo only

    unanswered: list[Unanswered] = []
    answers = _answer_all(_identify(photos), recognizer.network.image_format, answer, unanswered)
    write_retrieval_submission(out, ((image_id, images or ()) for image_id, images in answers))
    return unanswered


def _identify(photos: Sequence[Path]) -> dict[str, Path]:
    """Return the photos by id, sorted by id."""
    by_id: dict[str, Path] = {}
    for path in photos:
        # Python represents bytes of a name that are not UTF-8 as lone surrogates, which cannot be written to the CSV.
        if path.stem.encode("utf-8", "ignore").decode() != path.stem:
            raise DataError(f"The name of {str(path)!r} is not UTF-8, so it cannot be an id: rename the file.")
        if path.stem in by_id:
            raise DataError(
                f"{by_id[path.stem]} and {path} have the same id, {path.stem!r:.60}. A submission has one row per "
                "id: rename or remove one of them."
            )
        by_id[path.stem] = path
    return dict(sorted(by_id.items()))


def _answer_all(
    photos: Mapping[str, Path],
    image_format: ImageFormat,
    answer: Callable[[Pixels], Sequence[Answer | ImageError]],
    unanswered: list[Unanswered],
) -> Iterator[tuple[str, Answer | None]]:
    """Yield each id with its answer, in order; None for a photo that cannot be read, which is added to `unanswered`."""
    items = list(photos.items())
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(items), unit=" photos", desc="submit", disable=None) as progress,
    ):
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            decoded = list(pool.map(lambda item: _try_decode(item[1], image_format), batch))
            good = [pixels for pixels in decoded if not isinstance(pixels, ImageError)]
            answers = iter(answer(np.stack(good)) if good else ())
            for (image_id, path), pixels in zip(batch, decoded, strict=True):
                found = pixels if isinstance(pixels, ImageError) else next(answers)
                if isinstance(found, ImageError):
                    unanswered.append(Unanswered(path, str(found)))
                yield image_id, None if isinstance(found, ImageError) else found
            progress.update(len(batch))


def _try_decode(path: Path, image_format: ImageFormat) -> Pixels | ImageError:
    try:
        return decode_image(read_photo(path), image_format)
    except ImageError as error:
        return error
