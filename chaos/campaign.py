"""What the campaigns of this folder share: how an attack counts what came of each try."""

import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from landmarks.errors import LandmarksError

Attack = Callable[[int, int, Path], "Tally"]
Input = TypeVar("Input")

MAX_SECONDS = 2.0  # of processor time that a reader may take for one input


@dataclass
class Tally:
    """What came of the tries of an attack.

    Attributes:
        outcomes: number of tries by what came of them, such as `refused` or `same answer`.
        failures: one line per try that broke the promise, with what it takes to repeat it.
        figures: what was measured beside the tries, by name and unit.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def count(self, outcome: str) -> None:
        """Count a try that kept the promise."""
        self.outcomes[outcome] += 1

    def fail(self, what: str) -> None:
        """Record a try that broke the promise."""
        self.failures.append(what)

    def describe(self) -> str:
        """Return the counts in one line."""
        counts = [f"{number:,} {outcome}" for outcome, number in sorted(self.outcomes.items())]
        figures = [f"{value:g} {name}" for name, value in self.figures.items()]
        return ", ".join([*counts, *figures, f"{len(self.failures):,} broke the promise"])


def try_reader(tally: Tally, read: Callable[[Input], Any], given: Input, what: str) -> Any:
    """Call a reader and count `read` or `refused`; any other exception, and slowness, are failures.

    Returns:
        What was read; None if it was refused or failed.
    """
    # processor time, so that a busy machine breaks no promise
    started, found, outcome = time.process_time(), None, "refused"
    try:
        found, outcome = read(given), "read"
    except LandmarksError:
        pass
    except Exception as error:  # noqa: BLE001 - the promise is that there is none
        place = traceback.extract_tb(error.__traceback__)[-1]
        tally.fail(f"{what}: {type(error).__name__} in {place.name}: {error!s:.100}")
        return None
    seconds = time.process_time() - started
    if seconds > MAX_SECONDS:
        tally.fail(f"{what}: {seconds:.1f} s")
    else:
        tally.count(outcome)
    return found
