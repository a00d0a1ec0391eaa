"""How many processors a process may use, by what the files of systems of all sorts have said."""

import subprocess
import sys
from pathlib import Path

import pytest

from manyhands.runtime.processors import (
    folders,
    may_run_on,
    quota_of_version_1,
    quota_of_version_2,
    usable_processors,
)

MANY = 64

# As systems have them, cut to the lines that matter and some that must not.
HOST_2 = """\
24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
35 25 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
DOCKER_2 = """\
602 601 0:62 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
611 605 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw
"""
DOCKER_1_CGROUP = """\
12:cpuset:/docker/4f2a
5:cpu,cpuacct:/docker/4f2a
1:name=systemd:/docker/4f2a
"""
DOCKER_1_MOUNTS = """\
711 700 0:60 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
712 711 0:25 /docker/4f2a /sys/fs/cgroup/systemd ro,relatime master:9 - cgroup cgroup rw,name=systemd
715 711 0:29 /docker/4f2a /sys/fs/cgroup/cpuset ro,relatime master:13 - cgroup cgroup rw,cpuset
716 711 0:30 /docker/4f2a /sys/fs/cgroup/cpu,cpuacct ro,relatime master:14 - cgroup cgroup rw,cpu,cpuacct
"""
HYBRID_CGROUP = """\
4:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/session-3.scope
0::/user.slice/session-3.scope
"""
HYBRID_MOUNTS = """\
33 24 0:28 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs rw,mode=755
34 33 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
36 33 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
"""


class System:
    """A folder with the files of a system, as far as a process sees them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def process(self, memberships: str, mounts: str) -> None:
        self.has({"proc/self/cgroup": memberships, "proc/self/mountinfo": mounts})

    def usable(self, affinity: int = MANY) -> int:
        return usable_processors(str(self.root), affinity)


def version_1(folder: str, quota: str) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000\n"}


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.mark.parametrize(
    ("cpu_max", "processors"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("200001 100000\n", 3),
        ("150000 100000", 2),
        ("1000 100000\n", 1),
        ("50000 10000\n", 5),
        ("", None),
        ("100000\n", None),
        ("100000 0\n", None),
        ("nonsense of a kind", None),
    ],
)
def test_the_quota_of_version_2_is_rounded_up(cpu_max: str, processors: int | None) -> None:
    assert quota_of_version_2(cpu_max) == processors


@pytest.mark.parametrize(
    ("quota", "period", "processors"),
    [
        ("-1\n", "100000\n", None),
        ("250000\n", "100000\n", 3),
        ("100000\n", "100000\n", 1),
        ("100000\n", "0\n", None),
        ("", "", None),
    ],
)
def test_the_quota_of_version_1_is_rounded_up(
    quota: str, period: str, processors: int | None
) -> None:
    assert quota_of_version_1(quota, period) == processors


def test_a_container_with_a_cgroup_namespace_has_the_quota_at_the_mount(system: System) -> None:
    system.process("0::/\n", DOCKER_2)
    system.has({"sys/fs/cgroup/cpu.max": "350000 100000\n"})
    assert system.usable() == 4
    assert system.usable(affinity=3) == 3


def test_the_lowest_quota_of_all_cgroups_above_counts(system: System) -> None:
    system.process("0::/shop.slice/echo.service/workers\n", HOST_2)
    slices = "sys/fs/cgroup/shop.slice"
    system.has(
        {
            f"{slices}/echo.service/workers/cpu.max": "max 100000\n",
            f"{slices}/echo.service/cpu.max": "800000 100000\n",
            f"{slices}/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/other.slice/cpu.max": "100000 100000\n",
        }
    )
    assert system.usable() == 2
    system.has({f"{slices}/echo.service/workers/cpu.max": "10000 100000\n"})
    assert system.usable() == 1


def test_no_bound_in_any_cgroup_leaves_the_affinity(system: System) -> None:
    system.process("0::/a.slice/b\n", HOST_2)
    folder = "sys/fs/cgroup/a.slice"
    system.has({f"{folder}/cpu.max": "max 100000\n", f"{folder}/b/cpu.max": "max 100000\n"})
    assert system.usable() == MANY


def test_a_container_of_version_1_has_the_quota_where_its_own_cgroup_is_mounted(
    system: System,
) -> None:
    system.process(DOCKER_1_CGROUP, DOCKER_1_MOUNTS)
    system.has(version_1("sys/fs/cgroup/cpu,cpuacct", "150000\n"))
    assert system.usable() == 2
    system.has(version_1("sys/fs/cgroup/cpu,cpuacct", "-1\n"))
    assert system.usable() == MANY


def test_on_a_system_of_both_versions_the_one_that_has_the_controller_counts(
    system: System,
) -> None:
    system.process(HYBRID_CGROUP, HYBRID_MOUNTS)
    system.has(version_1("sys/fs/cgroup/cpu,cpuacct/user.slice", "300000\n"))
    system.has({"sys/fs/cgroup/unified/user.slice/cgroup.procs": "1\n"})
    assert system.usable() == 3
    assert list(folders(HYBRID_CGROUP, HYBRID_MOUNTS)) == [
        "/sys/fs/cgroup/cpu,cpuacct/user.slice",
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/unified/user.slice/session-3.scope",
        "/sys/fs/cgroup/unified/user.slice",
        "/sys/fs/cgroup/unified",
    ]


@pytest.mark.parametrize(
    ("memberships", "mounts"),
    [
        ("0::/../other\n", DOCKER_2),
        (
            "0::/docker/4f2abc\n",
            DOCKER_1_MOUNTS + DOCKER_2.replace(" / /sys", " /docker/4f2a /sys"),
        ),
        ("3:cpuset:/a\n", HOST_2 + HYBRID_MOUNTS),
        ("0::/a\n", ""),
        ("", HOST_2),
        ("0::/\n", "35 25 0:30 / - cgroup2\n-\n - \n"),
        ("nonsense\n::\n", "nonsense\n"),
    ],
)
def test_a_cgroup_that_no_mount_shows_has_no_folder(memberships: str, mounts: str) -> None:
    assert list(folders(memberships, mounts)) == []


def test_paths_may_have_blanks_and_colons() -> None:
    mounts = HOST_2.replace("/sys/fs/cgroup", r"/mnt/my\040cgroups\134")
    assert list(folders("0::/a:b/c d\n", mounts)) == [
        "/mnt/my cgroups\\/a:b/c d",
        "/mnt/my cgroups\\/a:b",
        "/mnt/my cgroups\\",
    ]


def test_a_system_that_tells_nothing_leaves_the_affinity_and_there_is_one_at_least(
    system: System,
) -> None:
    assert system.usable() == MANY
    assert system.usable(affinity=0) == 1


def test_this_process_may_use_no_more_than_it_may_run_on() -> None:
    assert 1 <= usable_processors() <= may_run_on()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are bound to processors on Linux")
def test_a_process_that_is_bound_to_one_processor_may_use_one() -> None:
    program = (
        "import os\n"
        "from manyhands.runtime.processors import usable_processors\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(usable_processors())"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "1\n"
