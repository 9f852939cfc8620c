"""Run campaigns that try to break the promises of docs/reliability.md: `make chaos`, or one by its name.

Every other module of this folder but `campaign` and `small_service` is a campaign, and has

- `PROMISE`, a sentence;
- `TRIES`, how often it tries to break it by default;
- `attack(tries, seed, scratch)`, which makes that many tries in an empty folder and returns a `Tally`.

The tests of tests/reliability call the same `attack` with few tries.
"""

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_OTHERS = {"__init__", "__main__", "campaign", "small_service"}


def list_campaigns() -> list[str]:
    """List the names of all campaigns."""
    return sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - _OTHERS)


def load_campaign(name: str) -> Any:
    """Import a campaign by its name."""
    return importlib.import_module(f"chaos.{name}")


def main() -> None:
    """Run the campaigns named on the command line, or all of them, and print a line of results for each."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(list_campaigns())}; default: all")
    parser.add_argument("--tries", type=int, help="number of tries; by default as many as the campaign says")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(list_campaigns()):
        parser.error(f"there is no campaign {', '.join(sorted(unknown))}; there are {', '.join(list_campaigns())}")
    broken = [
        name
        for name in arguments.names or list_campaigns()
        if not _run(name, arguments.tries or load_campaign(name).TRIES, arguments.seed)
    ]
    if broken:
        sys.exit(f"These promises were broken: {', '.join(broken)}.")


def _run(name: str, tries: int, seed: int) -> bool:
    campaign = load_campaign(name)
    print(f"\n## {name}\n{campaign.PROMISE}", flush=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"landmarks-{name}-") as scratch:
        tally = campaign.attack(tries, seed, Path(scratch))
    for failure in tally.failures:
        print(f"- {failure}")
    print(f"{tries:,} tries (seed {seed}) in {time.perf_counter() - started:.0f} s: {tally.describe()}", flush=True)
    return not tally.failures


if __name__ == "__main__":
    main()
