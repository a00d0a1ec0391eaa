"""What this process uses of the system: processor, memory, descriptors, threads."""

import functools
import os
import resource
import sys
import time


def use_of_system() -> dict[str, object]:
    """Return what the process uses now; None for what the system does not tell."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "cpu_seconds": round(time.process_time(), 3),
        "rss": _resident_bytes(),
        "descriptors": _count_descriptors(),
        "descriptor_limit": None if limit == resource.RLIM_INFINITY else limit,
        "threads": _count_threads(),
    }


def _resident_bytes() -> int | None:
    """Return the memory that is resident now (statm in proc_pid_statm(5)); None where that is not told."""
    words = _words_of("statm")
    return int(words[1]) * resource.getpagesize() if len(words) > 1 else None


def _count_threads() -> int | None:
    # The twentieth field of proc_pid_stat(5); the second, a name, may hold anything.
    words = _words_of("stat")
    return int(words[17]) if len(words) > 17 else None


def _count_descriptors() -> int | None:
    try:
        # Since Linux 6.2 the folder's size is their number; to list ten thousand takes milliseconds.
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def _words_of(file: str) -> list[str]:
    """Return the words of a file of /proc/self; of `stat` those after the name."""
    try:
        with open(f"/proc/self/{file}", encoding="ascii", errors="replace") as opened:
            return opened.read().rpartition(")")[2].split()
    except OSError:
        return []


def start_of_process() -> float:
    """Return when this process was started, in seconds since 1970; where that is not told, it is now."""
    return time.time() - age_of_process()


def age_of_process() -> float:
    """Return for how many seconds this process has been there, by a clock that does not jump.

    Where its start is not told, since this was asked first.
    """
    words = _words_of("stat")
    if len(words) <= 19 or sys.platform != "linux":
        return time.monotonic() - _first_asked()
    # The field `starttime` counts from the boot of the machine.
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(words[19]) / os.sysconf("SC_CLK_TCK")


@functools.cache
def _first_asked() -> float:
    return time.monotonic()
