"""What people see of work: progress bars, counts, and nothing of what libraries print about themselves."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_BAR_SECONDS = 1.0
_LINE_SECONDS = 30.0


class _Lines:
    """Writes each state of a bar as a line: in a log file, carriage returns would make one endless line of them."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            sys.stderr.write(f"{line}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def show_progress(
    items: Iterable[Any] | None = None,
    *,
    description: str,
    total: int | None = None,
    unit: str = "photo",
    initial: int = 0,
    keep: bool = True,
) -> "tqdm[Any]":
    """Show a progress bar on stderr: on a terminal after a second, elsewhere a line every 30 seconds.

    Args:
        items: to be iterated over; None to call `update` by hand.
        description: what is done.
        total: number of units.
        unit: what is counted.
        initial: units done before.
        keep: leave the finished bar on the terminal.
    """
    from tqdm import tqdm  # the service does without

    options: dict[str, Any] = {"desc": description, "total": total, "unit": unit, "initial": initial, "leave": keep}
    if sys.stderr.isatty():
        return tqdm(items, mininterval=_BAR_SECONDS, delay=_BAR_SECONDS, **options)
    # without a thread that looks after the bar, an update itself shows the state
    rhythm: dict[str, Any] = {"mininterval": _LINE_SECONDS, "maxinterval": _LINE_SECONDS, "delay": _LINE_SECONDS}
    return tqdm(items, file=_Lines(), miniters=1, ncols=90, **rhythm, **options)


def format_count(number: int, noun: str) -> str:
    """Format a number of things.

    >>> format_count(1, "photo"), format_count(1_234, "photo")
    ('1 photo', '1,234 photos')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def hold_stderr() -> Iterator[None]:
    """Keep back what is written to stderr, also by C++ libraries, and show it only if an error is raised."""
    kept = None
    with suppress(OSError):  # stderr is closed, or there is no room for a file: nothing is kept back
        kept = tempfile.TemporaryFile()  # noqa: SIM115
        sys.stderr.flush()
        saved = os.dup(2)
    if kept is None:
        yield
        return
    os.dup2(kept.fileno(), 2)
    try:
        yield
    except BaseException:
        os.dup2(saved, 2)
        kept.seek(0)
        os.write(2, kept.read())
        raise
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        kept.close()
