"""Answering a folder of test photos in a Kaggle submission: photo by photo, in bounded memory."""

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
from landmarks.recognizer.recognizer import Recognition, Recognizer
from landmarks.schema.network_format import ImageFormat, Pixels

_BATCH = 64
_THREADS = 4  # to read and decode photos; the network runs between two batches

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Unanswered:
    """A photo whose cell stays empty because it could not be read, and why."""

    path: Path
    reason: str


def submit_recognition(
    recognizer: Recognizer, photos: Sequence[Path], out: Path, threshold: float | None = None
) -> list[Unanswered]:
    """Write `id,landmarks`: for every photo the most likely landmark, with the confidence in it.

    Args:
        recognizer: that answers.
        photos: files; the id of a photo is its name without the suffix.
        out: the submission, written atomically.
        threshold: leave the cell empty where the confidence is lower; None answers every photo.

    Returns:
        The photos that could not be read. They have rows too.

    Raises:
        DataError: two photos have the same id, a name is no UTF-8, or the file cannot be written.
    """

    def answer(pixels: Pixels) -> list[Guess | None]:
        guesses = [_make_guess(recognition) for recognition in recognizer.classify_pixels(pixels, 1)]
        return [guess if threshold is None or guess.score >= threshold else None for guess in guesses]

    unanswered: list[Unanswered] = []
    answers = _answer_all(_identify(photos), recognizer.network.image_format, answer, unanswered)
    write_recognition_submission(out, answers)
    return unanswered


def submit_retrieval(recognizer: Recognizer, photos: Sequence[Path], out: Path) -> list[Unanswered]:
    """Write `id,images`: for every photo up to 100 ids of the gallery, the most similar first.

    Arguments, result and errors are those of `submit_recognition`.
    """

    def answer(pixels: Pixels) -> list[tuple[str, ...] | ImageError]:
        return [_search_one(recognizer, one[None]) for one in pixels]

    unanswered: list[Unanswered] = []
    answers = _answer_all(_identify(photos), recognizer.network.image_format, answer, unanswered)
    write_retrieval_submission(out, ((image_id, images or ()) for image_id, images in answers))
    return unanswered


def _make_guess(recognition: Recognition) -> Guess:
    return Guess(recognition.predictions[0].landmark_id, recognition.confidence)


def _search_one(recognizer: Recognizer, pixels: Pixels) -> tuple[str, ...] | ImageError:
    try:
        return tuple(neighbour.image_id for neighbour in recognizer.search_pixels(pixels, DEPTH)[0])
    except ImageError as error:
        return error


def _identify(photos: Sequence[Path]) -> dict[str, Path]:
    """The photos by id, in the order of their ids."""
    by_id: dict[str, Path] = {}
    for path in photos:
        if path.stem.encode("utf-8", "ignore").decode() != path.stem:
            raise DataError(f"The name of {str(path)!r} is no UTF-8, and so no id for a submission: rename the file.")
        if path.stem in by_id:
            raise DataError(
                f"{by_id[path.stem]} and {path} have the same id, {path.stem!r:.60}. A submission has one row for each "
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
    """Each id with its answer, in order; None for a photo that cannot be read, which is added to `unanswered`."""
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
        return decode_image(path.read_bytes(), image_format)
    except ImageError as error:
        return error
    except OSError as error:
        return ImageError(f"The file cannot be read: {error.strerror}.")
