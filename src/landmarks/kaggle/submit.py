"""Write a Kaggle submission for a folder of test photos, batch by batch in bounded memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from landmarks.errors import DataError, ImageError
from landmarks.evaluation.gap import Guess
from landmarks.evaluation.retrieval import DEPTH
from landmarks.kaggle.files import write_recognition_submission, write_retrieval_submission
from landmarks.recognizer.batches import answer_files
from landmarks.recognizer.recognizer import Recognizer
from landmarks.schema.network_format import ImageFormat, Pixels
from landmarks.terminal import show_progress

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
    files = answer_files(list(photos.values()), image_format, answer)
    bar = show_progress(files, description="answering", total=len(photos))
    for image_id, (path, found) in zip(photos, bar, strict=True):
        if isinstance(found, ImageError):
            unanswered.append(Unanswered(path, str(found)))
        yield image_id, None if isinstance(found, ImageError) else found
