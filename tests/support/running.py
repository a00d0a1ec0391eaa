"""Servers on free ports, in threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from manyhands import Server, socketserver

from .waiting import PATIENCE

ENGINES = ("sequential", "threads", "processes", "fibers")


class Echo(socketserver.StreamRequestHandler):
    """Says each line back."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


def server_class(engine: str, module: ModuleType = socketserver) -> Any:
    """Return the TCP server class of a module whose mix-in chooses the engine."""
    names = {
        "sequential": "TCPServer",
        "threads": "ThreadingTCPServer",
        "processes": "ForkingTCPServer",
        "fibers": "FiberTCPServer",
    }
    return getattr(module, names[engine])


@contextmanager
def serving(server: Any, poll_interval: float | None = None) -> Iterator[Any]:
    """Run a server in a thread; stop and close it at the end.

    Ours gets a poll interval of a minute, which nothing may have to wait for.
    """
    if poll_interval is None:
        poll_interval = 60 if isinstance(server, socketserver.BaseServer) else 0.02
    thread = threading.Thread(target=server.serve_forever, args=(poll_interval,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "serve_forever did not return"
        server.server_close()


def bound(server: Server, number: int = 0) -> Any:
    """Return one of the server's addresses as a socket takes it."""
    address = server.addresses[number]
    return address.path.replace("@", "\0", 1) if address.path else (address.host, address.port)


def open_descriptors() -> set[str]:
    """Name what this process has open, each socket and pipe by its inode."""
    names = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            names.add(str(link.readlink()))
        except OSError:
            continue  # the descriptor of the listing itself
    return names
