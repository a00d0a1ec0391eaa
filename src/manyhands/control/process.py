"""The process that control sockets are for: which servers it has, how they fare, and what it uses."""

import os
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from manyhands._version import __version__
from manyhands.connections.connection import Connection
from manyhands.control.messages import Refusal
from manyhands.control.protocol import VERSION, Code
from manyhands.logs.lines import iso_time
from manyhands.model.connection_states import Reason
from manyhands.serving.controls import ServerControls
from manyhands.serving.info import ServerInfo

_REFUSALS = frozenset(reason.value for reason in Reason if reason.is_refusal)


class Controlled(NamedTuple):
    """One server of the process, and the number by which clients know it."""

    number: int
    server: ServerControls


class ControlledProcess:
    """The servers of this process that a control socket is for. Thread-safe.

    Parameters
    ----------
    name
        How the process was started, in a few words.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._began = _start_of_process()
        self._last_number = 0
        # Replaced, never changed in place: the thread that answers reads it without a lock.
        self._servers: tuple[Controlled, ...] = ()

    def add(self, server: ServerControls) -> None:
        """Have one more server. Under the lock of the caller, as `remove`."""
        self._last_number += 1
        self._servers = (*self._servers, Controlled(self._last_number, server))

    def remove(self, server: ServerControls) -> bool:
        """Have a server no more; return whether another one is left."""
        self._servers = tuple(each for each in self._servers if each.server is not server)
        return bool(self._servers)

    def servers(self, number: int | None = None) -> Sequence[Controlled]:
        """Return the servers, or the one of a number.

        Raises
        ------
        Refusal
            There is none of that number.
        """
        servers = self._servers
        if number is None:
            return servers
        found = [each for each in servers if each.number == number]
        if not found:
            there = ", ".join(str(each.number) for each in servers) or "none any more"
            raise Refusal(Code.NO_SUCH_THING, f"there is no server {number}; there is {there}")
        return found

    def connections(self) -> Iterator[tuple[int, Connection]]:
        """Yield the open connections of all servers, each with the number of its server."""
        for number, server in self._servers:
            for connection in server.core.registry.snapshot():
                yield number, connection

    def connection(self, number: int) -> tuple[int, Connection] | None:
        """Return an open connection by its number, with that of its server; None where it is not open."""
        for each in self._servers:
            found = each.server.core.registry.get(number)
            if found is not None:
                return each.number, found
        return None

    def hello(self, *, may_write: bool) -> dict[str, object]:
        """Return what a client is told first."""
        return {
            "manyhands": __version__,
            "protocol": VERSION,
            "pid": os.getpid(),
            "started": iso_time(self._began),
            "role": "server",
            "name": self.name,
            "may": ["read", "write"] if may_write else ["read"],
        }

    def status(self, *, may_write: bool) -> dict[str, Any]:
        """Return how the servers and the process fare now."""
        infos = [(each, each.server.info(totals=True)) for each in self._servers]
        return {
            **self.hello(may_write=may_write),
            "python": platform.python_version(),
            "uptime": round(time.time() - self._began, 3),
            "servers": [_server(each, info) for each, info in infos],
            "books": _books([info for _, info in infos]),
            "process": _use_of_system(),
        }


def _server(controlled: Controlled, info: ServerInfo) -> dict[str, object]:
    server, totals = controlled.server, info.totals
    return {
        "server": controlled.number,
        "kind": server.kind,
        "handler": server.handler,
        "listeners": [asdict(listener) for listener in info.listeners],
        "engines": [asdict(engine) for engine in info.engines],
        "is_draining": info.is_draining,
        "accepted": info.accepted,
        "open": info.open,
        "closed": info.closed,
        "dropped": info.dropped,
        "bytes_in": None if totals is None else totals.bytes_in,
        "bytes_out": None if totals is None else totals.bytes_out,
        "certificates": info.certificates,
    }


def _books(infos: list[ServerInfo]) -> dict[str, int]:
    closed: Counter[str] = Counter()
    for info in infos:
        closed.update(info.closed)
    return {
        "accepted": sum(info.accepted for info in infos),
        "open": sum(sum(info.open.values()) for info in infos),
        "closed": closed.total(),
        "refused": sum(count for reason, count in closed.items() if reason in _REFUSALS),
    }


def _use_of_system() -> dict[str, object]:
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


def _start_of_process() -> float:
    """Return when this process was started, in seconds since 1970; where that is not told, it is now."""
    words = _words_of("stat")
    if len(words) <= 19 or sys.platform != "linux":
        return time.time()
    # The field `starttime` counts from the boot of the machine.
    since_boot = int(words[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
