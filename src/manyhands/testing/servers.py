"""Servers on free ports, for the time of a test, and a listener whose `accept` fails as it is told to."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from manyhands import socketserver
from manyhands.model import events
from manyhands.model.addresses import Address
from manyhands.server import Server
from manyhands.testing.peers import connected
from manyhands.testing.waiting import PATIENCE

if TYPE_CHECKING:
    from manyhands.serving.drain import CutOff

FREE_PORT = "tcp://127.0.0.1:0"

DRAIN = 1.0
"""Seconds that connections get at a test's end; its peers have closed their ends by then."""


@contextmanager
def running(server: Any, poll_interval: float | None = None) -> Iterator[Any]:
    """Run a server of the `socketserver` family in a thread; stop and close it at the end.

    Parameters
    ----------
    server
        Any that has `serve_forever`, `shutdown` and `server_close`, the standard library's too.
    poll_interval : float, optional
        Seconds, as `serve_forever` takes them. Ours get a minute, for nothing may have to wait for it.

    Yields
    ------
    object
        The server.

    Raises
    ------
    AssertionError
        When `serve_forever` does not return after `shutdown`.
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
        if thread.is_alive():
            raise AssertionError(f"serve_forever did not return in {PATIENCE:g} s")
        server.server_close()


class FlakyListener(socket.socket):
    """Takes a listening socket's place, and fails with one error after the other before it accepts.

    ::

        server.socket = FlakyListener(server.socket, [errno.EMFILE, errno.ECONNABORTED])

    Parameters
    ----------
    listener : socket.socket
        A listening stream socket, not of TLS; it gives its descriptor up.
    errors : iterable of int or None
        The errno for each `accept` in turn (accept(2) names them); None lets one succeed. When they have
        been used up, `accept` is as ever.
    """

    def __init__(self, listener: socket.socket, errors: Iterable[int | None]) -> None:
        timeout = listener.gettimeout()
        super().__init__(listener.family, listener.type, listener.proto, listener.detach())
        self.settimeout(timeout)
        self._errors = list(errors)

    @property
    def errors_left(self) -> int:
        """How many of the errors are still to come."""
        return sum(error is not None for error in self._errors)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, or fail.

        Raises
        ------
        OSError
            The next of the errors.
        """
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise OSError(error, os.strerror(error))
        return super().accept()


class ServerUnderTest:
    """A `manyhands.Server` that runs for a test, and the peers that called it.

    Attributes
    ----------
    server : Server
        The server.
    events : list of manyhands.events.Event
        What has been emitted since it was made, by any server in this process.
    cut_off : list
        The connections that were cut off at the end; empty before it.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.events: list[events.Event] = []
        self.cut_off: list[CutOff] = []
        self._peers = contextlib.ExitStack()

    @property
    def address(self) -> Any:
        """Its first address, as a socket takes it: ``(host, port)``, or a path."""
        return socket_address(self.server.addresses[0])

    def connect(self, number: int = 0) -> socket.socket:
        """Call one of its addresses; the peer is closed with the server, if not before.

        Parameters
        ----------
        number : int
            Which of them, from 0.

        Returns
        -------
        socket.socket
            As of `call`; to a datagram address one that is connected too.
        """
        address = self.server.addresses[number]
        is_stream = address.scheme in {"tcp", "unix"}
        kind = socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM
        peer = connected(socket_address(address), kind)
        self._peers.callback(_hang_up, peer)
        return peer

    def hang_up(self) -> None:
        """End the connection of every peer that `connect` made, and close it."""
        self._peers.close()


@contextmanager
def serving(
    handler: Callable[[Any, Any, Any], Any],
    *addresses: str | Address,
    accept_errors: Iterable[int | None] = (),
    **options: Any,
) -> Iterator[ServerUnderTest]:
    r"""Serve a handler for the time of a test, on a free port of 127.0.0.1 unless addresses are given.

    ::

        with serving(Echo, engine="fibers") as server, server.connect() as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(100) == b"hello\n"

    Parameters
    ----------
    handler
        A handler class, or anything callable with ``(request, client_address, server)``.
    *addresses
        As of `manyhands.Server`.
    accept_errors : iterable of int or None
        What the first accepts on each stream address fail with: see `FlakyListener`.
    **options
        As of `manyhands.Server`; ``engine`` is ``"threads"`` and ``drain_timeout`` one second unless given.

    Yields
    ------
    ServerUnderTest
        The running server. At the end its peers hang up, and it drains.

    Raises
    ------
    Mistake, OSError
        As of `manyhands.Server`.
    """
    usual: dict[str, Any] = {"engine": "threads", "drain_timeout": DRAIN}
    server = Server(handler, *(addresses or (FREE_PORT,)), **usual | options)
    under_test = ServerUnderTest(server)
    unsubscribe = events.hub.subscribe(under_test.events.append)
    try:
        server.listen()
        # Before the first accept, and after the addresses are bound.
        _make_flaky(server, list(accept_errors))
        server.start()
        try:
            yield under_test
        finally:
            under_test.hang_up()
            under_test.cut_off = server.close()
    finally:
        unsubscribe()


def _make_flaky(server: Server, errors: list[int | None]) -> None:
    for listener in server.listeners:
        if errors and listener.socket_type == socket.SOCK_STREAM:
            listener.socket = FlakyListener(listener.socket, errors)


def socket_address(address: Address) -> Any:
    """Return an address as a socket takes it."""
    if address.path.startswith("@"):
        return "\0" + address.path[1:]
    return address.path or (address.host, address.port)


def _hang_up(peer: socket.socket) -> None:
    # A handler in a process of its own has a copy of each peer of this one, which a close leaves open.
    with contextlib.suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)
    peer.close()
