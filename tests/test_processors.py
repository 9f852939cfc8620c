"""Processors are counted by the affinity of this process and by the quotas of real cgroup files in a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from landmarks import processors
from landmarks.processors import count_processors

ALLOWED = len(os.sched_getaffinity(0))
PACKAGE = Path(processors.__file__).parent
MANY = pytest.mark.usefixtures("many")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with 64 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def test_a_machine_without_cgroups_counts_by_affinity(tmp_path: Path) -> None:
    assert count_processors(tmp_path) == ALLOWED


@MANY
@pytest.mark.parametrize(
    ("quota", "expected"),
    [("400000 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("6400000000 100000", 64)],
)
def test_version_2_is_read_in_a_container_that_sees_itself_as_the_root(
    tmp_path: Path, quota: str, expected: int
) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota}\n"})
    assert count_processors(tmp_path) == expected


@MANY
def test_the_lowest_quota_of_all_cgroups_above_counts(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/training.service\n",
            "sys/fs/cgroup/system.slice/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/system.slice/training.service/cpu.max": "max 100000\n",
        },
    )
    assert count_processors(tmp_path) == 3


@MANY
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("own", ["docker/0123/", ""])  # a container sees its path on the host, but only its own files
def test_version_1_is_read(tmp_path: Path, mount: str, own: str) -> None:
    folder = f"sys/fs/cgroup/{mount}/{own}"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "12:pids:/docker/0123\n4:cpu,cpuacct:/docker/0123\n3:cpuset:/docker/0123\n0::/\n",
            f"{folder}cpu.cfs_quota_us": "200000\n",
            f"{folder}cpu.cfs_period_us": "100000\n",
        },
    )
    assert count_processors(tmp_path) == 2


@MANY
def test_version_1_without_a_limit_says_minus_one(tmp_path: Path) -> None:
    files = {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}
    write(tmp_path, {"proc/self/cgroup": "4:cpu:/\n", **{f"sys/fs/cgroup/cpu/{n}": t for n, t in files.items()}})
    assert count_processors(tmp_path) == 64


@MANY
@pytest.mark.parametrize("text", ["", "nonsense", "0::", "0:cpu", "4:cpu:/../..\n", "0::/a\n0::/b"])
def test_unreadable_cgroups_are_no_limit(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"proc/self/cgroup": text, "sys/fs/cgroup/cpu.max": "what 0\n"})
    assert count_processors(tmp_path) == 64


def test_real_affinity_is_respected() -> None:
    code = (
        "import os; from landmarks.processors import count_processors;"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(count_processors())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "1\n"


def test_processors_are_counted_nowhere_else() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name != "processors.py":
            text = path.read_text()
            assert "cpu_count" not in text, path
            assert "sched_getaffinity" not in text, path
