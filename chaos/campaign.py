"""What the campaigns of this folder share: how an attack counts what came of each try."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Attack = Callable[[int, int, Path], "Tally"]


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
