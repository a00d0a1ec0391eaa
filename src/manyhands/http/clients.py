"""The clients of a page server: each in its own time, none of them waited for."""

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from manyhands.http.messages import END_OF_HEAD, LONGEST_HEAD, Request, parse
from manyhands.runtime.unpatched import original

CLIENT_TIMEOUT = 2.0
"""Seconds for a client to send its request, and as many to take the answer and to close."""

MOST_CLIENTS = 32
"""Clients that are served at once: there are seldom more than two, a scraper and a person."""

Answer = Callable[[Request | None], bytes]
"""Returns the bytes that answer a request; None stands for bytes that are no request."""


class _Client:
    """One client: what has come of its request, or what is left of its answer; at last, its end."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.head = b""
        self.answer: memoryview | None = None
        self.deadline = time.monotonic() + CLIENT_TIMEOUT

    def need(self) -> int:
        """Return how much it needs its place: least when it has its answer."""
        return 1 if self.answer is None else 2 * bool(self.answer)


class Clients:
    """The clients of one server. For the one thread that serves them.

    Parameters
    ----------
    answer
        Answers a request.
    close_connection
        Closes the connection of a client.
    """

    def __init__(self, answer: Answer, close_connection: Callable[[Any], None]) -> None:
        self._answer = answer
        self._close_connection = close_connection
        self._poll = original(select, "poll")()
        self._clients: dict[int, _Client] = {}

    @property
    def poll(self) -> Any:
        """What waits for them; other descriptors may be registered too."""
        return self._poll

    def add(self, connection: Any) -> None:
        """Serve a client; where there are too many, one goes."""
        if len(self._clients) >= MOST_CLIENTS:
            self.end_one()
        connection.setblocking(False)
        self._clients[connection.fileno()] = _Client(connection)
        self._poll.register(connection, select.POLLIN)

    def end_one(self) -> bool:
        """End the client that needs its place least; return False when there is none.

        One that has its answer, else the one that has said nothing for longest.
        """
        # The order is that of their coming, and `min` returns the first of several.
        least = min(self._clients.values(), key=_Client.need, default=None)
        if least is not None:
            self._close(least)
        return least is not None

    def seconds_left(self) -> float | None:
        """Return the seconds until the next client has used its time up; None where there is none."""
        deadlines = [client.deadline for client in self._clients.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def end_late_ones(self) -> None:
        """End those that have used their time up; they ask again, if they want."""
        now = time.monotonic()
        for client in list(self._clients.values()):
            if now >= client.deadline:
                self._close(client)

    def serve(self, descriptor: int) -> None:
        """Go on with a client of which the poll has told.

        Raises
        ------
        Exception
            What a page raised; the client is to be ended then.
        """
        client = self._clients.get(descriptor)
        if client is None:
            return
        try:
            if client.answer is None:
                self._receive_request(client)
            elif not client.answer:
                self._receive_rest(client)
            if client.answer:
                self._send_answer(client, client.answer)
        except BlockingIOError:
            return
        except OSError:
            self._close(client)  # it has gone

    def end(self, descriptor: int) -> None:
        """End a client."""
        client = self._clients.get(descriptor)
        if client is not None:
            self._close(client)

    def _receive_request(self, client: _Client) -> None:
        received = client.connection.recv(LONGEST_HEAD)
        client.head += received
        head, end, _ = client.head.partition(END_OF_HEAD)
        if end or not received or len(client.head) >= LONGEST_HEAD:
            client.answer = memoryview(self._answer(parse(head) if end else None))
            client.deadline = time.monotonic() + CLIENT_TIMEOUT
            self._poll.modify(client.connection, select.POLLOUT)

    def _send_answer(self, client: _Client, left: memoryview) -> None:
        client.answer = left[client.connection.send(left) :]
        if not client.answer:
            # Not closed yet: a close before all has been read is a reset (RFC 1122, 4.2.2.13), and a client
            # that is still sending then loses the answer (RFC 9112, section 9.6).
            client.connection.shutdown(socket.SHUT_WR)
            self._poll.modify(client.connection, select.POLLIN)

    def _receive_rest(self, client: _Client) -> None:
        """Throw away what a client sends after its request, until it closes."""
        if not client.connection.recv(LONGEST_HEAD):
            self._close(client)

    def _close(self, client: _Client) -> None:
        descriptor = client.connection.fileno()
        self._clients.pop(descriptor, None)
        with contextlib.suppress(OSError, KeyError):
            self._poll.unregister(descriptor)
        self._close_connection(client.connection)

    def close(self) -> None:
        """End all of them."""
        for client in list(self._clients.values()):
            self._close(client)
