"""The hashes of `requirements.lock`, which a Bento takes with it, so that its image checks what it installs."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

LOCK = "requirements.lock"
_PIN = re.compile(r"([\w.-]+==[^\s;]+)[^#]*?((?: +--hash=\w+:[0-9a-f]+)+)")

_log = logging.getLogger(__name__)


def add_hashes(pins: Sequence[str], lock: Path) -> list[str]:
    """Add to each pin the hashes that the lock has for it, as `NAME==VERSION --hash=... --hash=...`.

    Installers take hashes for all packages or for none. So where the lock lacks a pin, since the environment was not
    made from it, none gets hashes, and the log says so.
    """
    hashes = _read_lock(lock)
    if missing := [pin for pin in pins if pin not in hashes]:
        shown = ", ".join(missing[:3]) + (", ..." if missing[3:] else "")
        _log.warning("The Bento has no hashes of its packages, since %s does not have %s.", lock, shown)
        return list(pins)
    return [f"{pin} {hashes[pin]}" for pin in pins]


def _read_lock(lock: Path) -> dict[str, str]:
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ") if lock.is_file() else ""
    return {found[1]: " ".join(found[2].split()) for line in text.splitlines() if (found := _PIN.match(line))}
