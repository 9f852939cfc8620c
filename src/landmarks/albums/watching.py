"""Wait for photos that arrive in folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from landmarks.photos.walk import PhotoStream, is_hidden, is_photo_name

_SETTLE_MILLISECONDS = 2000  # a photo that is still being copied changes again within this


def watch_photos(folders: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the photos that were added or changed below some folders, until interrupted.

    Raises:
        OSError: the folders cannot be watched, for example because the system's limit of watches is reached.
    """
    from watchfiles import Change, watch  # its native part takes a while to load

    def is_wanted(change: Change, path: str) -> bool:
        # what a new folder held before it was watched has no event of its own
        is_photo = is_photo_name(path) or Path(path).is_dir()
        return change != Change.deleted and is_photo and not is_hidden(Path(path).name)

    roots = [folder for folder in folders if folder.is_dir()]
    for changes in watch(*roots, watch_filter=is_wanted, debounce=_SETTLE_MILLISECONDS, raise_interrupt=False):
        arrived = sorted({Path(path) for _, path in changes if Path(path).exists()})
        if photos := [photo for photo in PhotoStream(arrived) if not _is_in_hidden_folder(photo, roots)]:
            yield photos


def _is_in_hidden_folder(photo: Path, roots: Sequence[Path]) -> bool:
    return any(
        photo.is_relative_to(root.resolve()) and any(map(is_hidden, photo.relative_to(root.resolve()).parts[:-1]))
        for root in roots
    )
