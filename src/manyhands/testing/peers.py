"""Peers: sockets that call a server, as clients do, and as they should not.

They work on any connected stream socket, one of TLS too.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from manyhands.connections.closing import reset_at_close
from manyhands.testing.waiting import PATIENCE

_SMALLEST_BUFFER = 4096
"""Bytes that a deaf peer has its kernel receive for it, which takes twice as many for itself (socket(7))."""


def call(address: Any, *, receive_buffer: int | None = None) -> socket.socket:
    """Connect to a stream server; close what this returns.

    Parameters
    ----------
    address : tuple or str or bytes
        As `socket.connect` takes it: ``(host, port)`` of IPv4 or IPv6, or a Unix socket's path.
    receive_buffer : int, optional
        Bytes that the kernel may receive before they are read (SO_RCVBUF, socket(7)).

    Returns
    -------
    socket.socket
        Blocking, with a timeout that fails a test rather than letting it hang.
    """
    return connected(address, receive_buffer=receive_buffer)


def connected(
    address: Any,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    *,
    receive_buffer: int | None = None,
    said: bytes = b"",
) -> socket.socket:
    """Connect a socket of a kind, and send what is to be said first."""
    peer = socket.socket(_family(address), kind)
    peer.settimeout(PATIENCE)
    try:
        if receive_buffer is not None:
            # Before the connection is made: afterwards its window has been offered.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect(address)
        if said:
            peer.sendall(said)
    except BaseException:
        peer.close()
        raise
    return peer


def _family(address: Any) -> socket.AddressFamily:
    if isinstance(address, str | bytes):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def read_line(peer: socket.socket) -> bytes:
    """Receive one line, with its end, and not a byte more.

    Raises
    ------
    AssertionError
        When the server hangs up before its end.
    """
    line = b""
    while not line.endswith(b"\n"):
        octet = peer.recv(1)
        if not octet:
            raise AssertionError(f"the server hung up after {line!r}")
        line += octet
    return line


def everything(peer: socket.socket) -> bytes:
    """Receive until the server has hung up; a reset is an end like any other."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := peer.recv(65536):
            received += data
    return received


def hear(address: Any) -> bytes:
    """Call, say nothing, and return all that the server says; what it resets counts as silence."""
    with call(address) as peer:
        return everything(peer)


def ask(address: Any, line: bytes = b"hello\n") -> bytes:
    """Call, say one line, say that no more comes, and return the whole answer."""
    with call(address) as peer:
        peer.sendall(line)
        # A server that has answered without reading all may have reset the connection by now.
        with contextlib.suppress(OSError):
            half_close(peer)
        return everything(peer)


def half_close(peer: socket.socket) -> None:
    """Say that no more comes, and go on hearing (FIN; on a TLS socket this ends TLS as well)."""
    peer.shutdown(socket.SHUT_WR)


def reset(peer: socket.socket) -> None:
    """Vanish: close the connection with a reset (RST), which takes back what the server has not read yet.

    On a Unix socket this is a plain close. A forked process that inherited the peer's socket keeps the
    connection open: a handler in a process of its own does, if it was started after the call.
    """
    reset_at_close(peer)
    peer.close()


def stalled(address: Any, said: bytes = b"") -> socket.socket:
    """Call, say the beginning of something, and no more; close what this returns."""
    return connected(address, said=said)


def deaf(address: Any, said: bytes = b"") -> socket.socket:
    """Call, ask, and never read the answer; close what this returns.

    Its kernel takes a few kilobytes: a handler that sends more than those and its own send buffer is stuck.
    """
    return connected(address, receive_buffer=_SMALLEST_BUFFER, said=said)


def drip(peer: socket.socket, data: bytes, size: int = 1) -> Iterator[bytes]:
    """Send `data` in drops of `size` bytes, each when the test asks for the next.

    Yields
    ------
    bytes
        What has been sent just now.
    """
    for start in range(0, len(data), size):
        drop = data[start : start + size]
        peer.sendall(drop)
        yield drop


@contextlib.contextmanager
def dripping(
    peer: socket.socket, data: bytes, size: int = 1, every: float = 0.05
) -> Iterator[threading.Event]:
    """Send `data` in drops beside the test, until its end, the server's hanging up, or the context's end.

    Parameters
    ----------
    peer : socket.socket
        The connection; the test may receive from it meanwhile.
    data : bytes
        What to send.
    size : int
        Bytes of a drop.
    every : float
        Seconds between two drops.

    Yields
    ------
    threading.Event
        Set when the dripping has ended.
    """
    stop, ended = threading.Event(), threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError):
            for _ in drip(peer, data, size):
                if stop.wait(every):
                    break
        ended.set()

    thread = threading.Thread(target=run, name="dripping-peer", daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join(PATIENCE)
