"""How many processors this process may use: every number of threads or workers that we choose comes from here."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def count_processors(root: Path = Path("/")) -> int:
    """Count the processors that this process may use: by its affinity, and by the CPU quotas of its cgroups.

    Half a processor of a quota counts as one, as in Java and joblib. Both versions of cgroups are understood, also
    where a container sees its own cgroup as the root.

    Args:
        root: where `proc` and `sys` are.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _read_quotas(root))]))


def _read_quotas(root: Path) -> Iterator[float]:
    """Read the quotas of the cgroups of this process and of those above them, in processors."""
    cgroups = root / "sys/fs/cgroup"
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2 has one tree for all controllers
                yield from _climb(cgroups, path)
            elif "cpu" in (names := controllers.split(",")):
                # the tree of version 1 is named after its controllers, and usually linked as `cpu` too
                yield from _climb(cgroups / ",".join(names), path)
                yield from _climb(cgroups / "cpu", path)


def _climb(mount: Path, path: str) -> Iterator[float]:
    inner = PurePosixPath(path.lstrip("/"))
    for folder in (inner, *inner.parents):
        with suppress(OSError, ValueError):
            quota, period = (mount / folder / "cpu.max").read_text(encoding="ascii").split()
            yield int(quota) / int(period)  # "max", which is no number, is no limit
        with suppress(OSError, ValueError):
            quota = (mount / folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (mount / folder / "cpu.cfs_period_us").read_text(encoding="ascii")
            if int(quota) > 0:  # -1 is no limit
                yield int(quota) / int(period)
