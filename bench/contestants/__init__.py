"""Who is measured: one small server program for each contestant, written as its own documentation recommends.

Each program is run with the name of a service (``echo``, ``lines``, ``udp``, ``tls``, ``halves``), listens on
a free port of 127.0.0.1 and prints the port. All have a backlog of 1,024, set in each one's documented way,
since the load opens thousands of connections; where a program says how much to receive at once, it is 64 KiB.
``in-turn`` and ``requests`` serve one client after the other, by `serve_forever` and by a loop of
`handle_request`; ``in-turn-udp`` and ``requests-udp`` one datagram after the other. ``tell`` and
``tell-stalled`` echo the first message of each connection, and send every other one to all of them;
``tell-program`` sends them what datagrams say that come on the same port.
"""

import functools
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.build import epoll_loop

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contestant:
    """A server program, and what it needs.

    `services` names those that it has. `packages` are what its version is made of, `needs` what must be there
    to be imported (``module:name``). `nodelay` tells whether it sets TCP_NODELAY by default. `forks`: each
    handler has a process, whose processor time counts too. `is_watched`: it has a control socket, at
    `place_of` its process, on which a client watches. `tree` is the folder of another version of manyhands.
    """

    name: str
    title: str
    program: str
    services: tuple[str, ...]
    nodelay: bool
    packages: tuple[str, ...] = ()
    needs: str = ""
    forks: bool = False
    is_watched: bool = False
    tree: str = ""

    def command(self, service: str) -> Sequence[str]:
        """Return the command that serves."""
        path = HERE / self.program
        if path.suffix == ".c":
            return [str(epoll_loop()), service]
        if path.suffix == ".js":
            return ["node", str(path), service]
        return [sys.executable, str(path), service]

    def environment(self) -> dict[str, str]:
        """Return the environment of the program: with the other version first, if it is to run on that."""
        # A path in PYTHONPATH comes before those of installed packages.
        return {**os.environ, "PYTHONPATH": f"{self.tree}/src"} if self.tree else dict(os.environ)

    def missing(self) -> str | None:
        """Say why it cannot be measured on this machine; None when it can."""
        if self.program.endswith(".js"):
            return None if shutil.which("node") else "this machine has no `node`"
        return _cannot_import(self.needs) if self.needs else None

    def version(self) -> str:
        """Name the versions of what it is made of."""
        if self.program.endswith(".js"):
            return f"Node.js {_output('node', '--version')}"
        if self.program.endswith(".c"):
            return "C"
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in self.packages)


def _output(*command: str) -> str:
    return subprocess.check_output(command, text=True, timeout=20).strip()


@functools.cache
def _cannot_import(needs: str) -> str | None:
    """Try an import in a process of its own: what an import does to this one must not matter."""
    module, _, name = needs.partition(":")
    program = f"from {module} import {name}" if name else f"import {module}"
    tried = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    if not tried.returncode:
        return None
    complaint = tried.stderr.strip().splitlines()[-1]
    return re.sub(r" \(/.*\)$", "", complaint)  # where it was looked for is this machine's affair


ALL = ("echo", "lines", "udp")
IN_TURN = ("in-turn", "in-turn-udp", "requests", "requests-udp")
LATENCY = ("tls", "halves")
TELL = ("tell", "tell-stalled")
TOLD = (*TELL, "tell-program")

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("epoll", "C epoll loop", "epoll.c", (*ALL, *TOLD), nodelay=True),
        Contestant(
            "manyhands-fibers",
            "manyhands on fibers",
            "manyhands_fibers.py",
            (*ALL, *LATENCY, *TOLD, "stop"),
            nodelay=False,
            packages=("manyhands", "gevent"),
            needs="manyhands:FiberTCPServer",
        ),
        Contestant(
            "manyhands-guarded",
            "manyhands on fibers, everything on",
            "manyhands_guarded.py",
            ("echo", "lines"),
            nodelay=False,
            packages=("manyhands", "gevent", "prometheus-client"),
            needs="manyhands.metrics.collector",
            is_watched=True,
        ),
        Contestant(
            "manyhands-threads",
            "manyhands on threads",
            "manyhands_threads.py",
            (*ALL, *LATENCY, *TOLD, "stop"),
            nodelay=False,
            packages=("manyhands",),
        ),
        Contestant(
            "manyhands-processes",
            "manyhands on processes",
            "manyhands_processes.py",
            ("echo", "tell", "tell-program"),
            nodelay=False,
            packages=("manyhands",),
            forks=True,
        ),
        Contestant(
            "uvloop-protocol",
            "uvloop Protocol",
            "uvloop_protocol.py",
            ("echo", "udp", *LATENCY, *TELL),
            nodelay=True,
            packages=("uvloop",),
            needs="uvloop",
        ),
        Contestant(
            "uvloop-streams",
            "uvloop streams",
            "uvloop_streams.py",
            ("echo", "lines"),
            nodelay=True,
            packages=("uvloop",),
            needs="uvloop",
        ),
        Contestant(
            "asyncio-protocol",
            "asyncio Protocol",
            "asyncio_protocol.py",
            ("echo", "udp", *LATENCY, *TELL),
            nodelay=True,
        ),
        Contestant(
            "asyncio-streams",
            "asyncio streams",
            "asyncio_streams.py",
            ("echo", "lines"),
            nodelay=True,
        ),
        Contestant(
            "gevent",
            "gevent StreamServer",
            "gevent_server.py",
            (*ALL, *LATENCY),
            nodelay=False,
            packages=("gevent",),
            needs="gevent",
        ),
        Contestant(
            "stdlib",
            "standard library on threads",
            "stdlib_threads.py",
            (*ALL, *LATENCY, "tell", "stop"),
            nodelay=False,
        ),
        Contestant(
            "stdlib-gevent",
            "standard library under gevent.monkey",
            "stdlib_gevent.py",
            (*ALL, *LATENCY, "stop"),
            nodelay=False,
            packages=("gevent",),
            needs="gevent",
        ),
        Contestant(
            "twisted",
            "Twisted",
            "twisted_protocol.py",
            ALL,
            nodelay=False,
            packages=("twisted",),
            needs="twisted",
        ),
        Contestant(
            "trio",
            "trio",
            "trio_streams.py",
            ("echo", "udp"),
            nodelay=True,
            packages=("trio",),
            needs="trio",
        ),
        Contestant(
            "stdlib-in-turn",
            "standard library, in turn",
            "stdlib_in_turn.py",
            IN_TURN,
            nodelay=False,
        ),
        Contestant(
            "manyhands-in-turn",
            "manyhands, in turn",
            "manyhands_in_turn.py",
            IN_TURN,
            nodelay=False,
            packages=("manyhands",),
        ),
        Contestant("node", "Node.js net", "node_net.js", ALL, nodelay=False),
    )
}


def place_of(pid: int) -> str:
    """Return the place of the control socket of a contestant's process."""
    return f"@manyhands-bench-{pid}"


LIMIT = "epoll"
"""The contestant that the others' ratios are given against, and whose spread tells how noisy a run is."""


def python_version() -> str:
    """Name the interpreter that all Python contestants run on."""
    return f"{platform.python_implementation()} {platform.python_version()}"
