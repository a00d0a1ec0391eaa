"""How many processors this process may use: of those that it may run on, what its cgroups' quotas pay for.

`os.cpu_count` has all of the machine, and in a container a server would start a worker for each of them. Go
and Java go by the same two: https://go.dev/doc/go1.25#runtime, https://bugs.openjdk.org/browse/JDK-8146115.
"""

import os
import re
from collections.abc import Iterator

_LONGEST = 1 << 20
"""Characters that are read of a file. A host of containers has thousands of mounts, a line for each."""

_CPU = "cpu"
"""The controller that has the quota, as version 1 of cgroups names its hierarchies."""


def usable_processors(root: str = "", affinity: int | None = None) -> int:
    """Return how many processors this process may use: 1 at least. The files are read anew each time.

    Parameters
    ----------
    root : str
        The folder in which ``/proc`` and ``/sys`` are.
    affinity : int, optional
        How many it may run on; None: the system is asked. (A cgroup's cpuset is in that answer.)

    Returns
    -------
    int
        The lowest quota of its cgroup and of all above it, rounded up, but no more than `affinity`. Where the
        system has no cgroups, or does not tell, that is `affinity`.
    """
    most = may_run_on() if affinity is None else affinity
    memberships = _read(f"{root}/proc/self/cgroup")
    mounts = _read(f"{root}/proc/self/mountinfo")
    quotas = [_quota(root + folder) for folder in folders(memberships, mounts)]
    return max(1, min([most, *(quota for quota in quotas if quota is not None)]))


def may_run_on() -> int:
    """Return on how many processors this process may run, whatever it may use of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # elsewhere than on Linux


def folders(memberships: str, mounts: str) -> Iterator[str]:
    """Return the folders of a process's cgroups that may have a quota, and of those above them.

    Parameters
    ----------
    memberships : str
        The text of ``/proc/self/cgroup``, as cgroups(7) has it.
    mounts : str
        The text of ``/proc/self/mountinfo``, as proc_pid_mountinfo(5) has it.

    Yields
    ------
    str
        The path of a folder. Of version 2, of version 1, or of both, where a system has both.
    """
    for line in memberships.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        # Version 2 has one hierarchy, without a name. Where version 1 has the controller, it has no quota.
        if not controllers or _CPU in controllers.split(","):
            for mounted, where in _mounts(mounts, is_of_version_2=not controllers):
                yield from _upwards(path, mounted, where)


def quota_of_version_2(cpu_max: str) -> int | None:
    """Return how many processors the text of ``cpu.max`` pays for, rounded up; None: it sets no bound."""
    quota, _, period = cpu_max.strip().partition(" ")
    return _processors(quota, period)


def quota_of_version_1(cfs_quota_us: str, cfs_period_us: str) -> int | None:
    """Return how many processors the texts of the two files pay for, rounded up; None: they set no bound."""
    return _processors(cfs_quota_us.strip(), cfs_period_us.strip())


def _processors(quota: str, period: str) -> int | None:
    # No bound is "max" in version 2, -1 in version 1; a file that is not there is "" here.
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return -(-int(quota) // int(period))


def _quota(folder: str) -> int | None:
    quota = quota_of_version_2(_read(f"{folder}/cpu.max"))
    if quota is not None:
        return quota
    return quota_of_version_1(
        _read(f"{folder}/cpu.cfs_quota_us"), _read(f"{folder}/cpu.cfs_period_us")
    )


def _mounts(mounts: str, *, is_of_version_2: bool) -> Iterator[tuple[str, str]]:
    """Return what is mounted of a hierarchy, the path of a cgroup, and where: the path of a folder."""
    for line in mounts.splitlines():
        place, _, filesystem = line.partition(" - ")
        fields, kind = place.split(), filesystem.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        is_version_1 = kind[0] == "cgroup" and _CPU in kind[2].split(",")
        if kind[0] == "cgroup2" if is_of_version_2 else is_version_1:
            yield _unescaped(fields[3]), _unescaped(fields[4])


def _upwards(path: str, mounted: str, where: str) -> Iterator[str]:
    """Return the folder of a cgroup, and of all above it, as far as a mount shows them."""
    # What is outside of the cgroup namespace begins with `/..` (cgroup_namespaces(7)): no folder shows that.
    if ".." in path.split("/") or not f"{path}/".startswith(f"{mounted.rstrip('/')}/"):
        return
    below = [name for name in path[len(mounted.rstrip("/")) :].split("/") if name]
    for depth in range(len(below), -1, -1):
        yield "/".join([where.rstrip("/"), *below[:depth]])


def _unescaped(field: str) -> str:
    # Blanks and backslashes are octal there.
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:  # noqa: PTH123 - no other use of pathlib here
            return opened.read(_LONGEST)
    except OSError:
        return ""
