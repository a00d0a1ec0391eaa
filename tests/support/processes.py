"""The processes of a program, as Linux tells of them."""

import os
import signal
from pathlib import Path

from tests.support.waiting import wait_until


def children_of(process: int) -> list[int]:
    """Return the processes that descend from another one."""
    found: list[int] = []
    for each in _children(process):
        found += [each, *children_of(each)]
    return found


def has_ended(process: int) -> bool:
    """Tell whether a process has ended, waited for or not."""
    return state_of(process) in {"Z", "X"}


def state_of(process: int) -> str:
    """Return the letter of its state: ``S`` waits, ``Z`` has ended, and is not waited for, ``X`` is gone."""
    return _state_in(Path(f"/proc/{process}"))


def stop(process: int) -> None:
    """Stop a process, and wait until each of its threads is stopped: until then any of them may still act."""
    os.kill(process, signal.SIGSTOP)
    threads = Path(f"/proc/{process}/task")
    wait_until(lambda: all(_state_in(each) == "T" for each in threads.iterdir()))


def _state_in(folder: Path) -> str:
    try:
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # before the open (ENOENT), or between that and the read (ESRCH)
        return "X"
    # Behind the name, which may have parentheses in it (proc_pid_stat(5)).
    return text.rpartition(")")[2].split()[0]


def own_number_of(process: int) -> int:
    """Return the id that a process has in its own namespace (pid_namespaces(7)); 0 of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    [ids] = [line for line in lines if line.startswith("NSpid:")]
    return int(ids.split()[-1])


def _children(process: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        return [
            int(each) for thread in threads for each in (thread / "children").read_text().split()
        ]
    except OSError:
        return []  # it has just ended
