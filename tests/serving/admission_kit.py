"""What the tests of admission share: handlers that hold a place, and peers that ask for one."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from manyhands import events, socketserver
from manyhands.model.connection_states import Reason
from tests.support import call, everything, read_line, server_class, wait_until

HERE = ("127.0.0.1", 0)

AT_ONCE = ("threads", "processes", "fibers")
"""The engines that serve several clients at the same time."""

REFUSAL = b"not now\n"


class Hold(socketserver.StreamRequestHandler):
    """Says that the client is in, and stays until it says something, or goes."""

    def handle(self) -> None:
        self.wfile.write(b"in\n")
        if self.rfile.readline():
            self.wfile.write(b"out\n")


def server_of(engine: str, handler: Any = Hold, *bases: type, **attributes: Any) -> Any:
    """Return a drop-in server with class attributes."""
    kind = server_class(engine)
    return type(kind.__name__, (*bases, kind), attributes)(HERE, handler)


def close_peer(peer: socket.socket) -> None:
    """End a connection. A forked handler has a copy of the peer, so to close it would not do."""
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_WR)
    peer.close()


@contextlib.contextmanager
def calling(address: Any) -> Iterator[socket.socket]:
    """Call for the time of the context."""
    peer = call(address)
    try:
        yield peer
    finally:
        close_peer(peer)


def enter(address: Any) -> socket.socket:
    """Call, and be in."""
    peer = call(address)
    assert read_line(peer) == b"in\n"
    return peer


def leave(peer: socket.socket) -> None:
    """Leave, and wait for the server's end of the connection."""
    peer.sendall(b"bye\n")
    assert everything(peer) == b"out\n"
    peer.close()


def is_refused(address: Any, refusal: bytes = b"") -> bool:
    """Call, and tell whether that was answered with the refusal and nothing else."""
    with calling(address) as peer:
        return everything(peer) == refusal


@contextlib.contextmanager
def inside(address: Any, count: int) -> Iterator[list[socket.socket]]:
    """Have so many peers be in; those left at the end leave."""
    peers = [enter(address) for _ in range(count)]
    try:
        yield peers
    finally:
        for peer in peers:
            close_peer(peer)


def of_kind(seen: list[events.Event], kind: type) -> list[Any]:
    return [event for event in seen if isinstance(event, kind)]


def balanced(registry: Any, **closed: int) -> bool:
    """Tell whether nothing is open, and so many ended for each reason."""
    accepted, still_open, all_closed = registry.balance
    assert accepted == still_open + all_closed
    expected = {Reason(reason): count for reason, count in closed.items()}
    return not still_open and registry.closed == expected


def wait_for_balance(registry: Any, **closed: int) -> None:
    try:
        wait_until(lambda: balanced(registry, **closed))
    except AssertionError:
        raise AssertionError(f"{registry.closed} is not {closed}") from None


class Storm:
    """Many callers at once; counts how many of them are in at the same time, as they themselves know it."""

    def __init__(self, addresses: list[Any], callers: int) -> None:
        self.served = self.refused = self.most = 0
        self._here = 0
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._call, args=(addresses[n % len(addresses)],))
            for n in range(callers)
        ]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _call(self, address: Any) -> None:
        with calling(address) as peer:
            first = b""
            with contextlib.suppress(ConnectionResetError):
                first = peer.recv(3)
            if not first:
                self.refused += 1
                return
            with self._lock:
                self._here += 1
                self.most = max(self.most, self._here)
            # Before it leaves: the server has it at least for as long as it counts here.
            with self._lock:
                self._here -= 1
                self.served += 1
            peer.sendall(b"bye\n")
            everything(peer)
