"""Serves pages over HTTP from a thread that depends on nothing of the servers that the pages tell of."""

import socket
import time
from collections.abc import Callable
from typing import Any

from manyhands.http.messages import END_OF_HEAD, LONGEST_HEAD, Request, parse
from manyhands.model.addresses import Address
from manyhands.poll_server.clients import Client
from manyhands.poll_server.server import PollServer

CLIENT_TIMEOUT = 2.0
"""Seconds for a client to send its request, and as many to take the answer and to close."""

MOST_CLIENTS = 32
"""Clients that are served at once: there are seldom more than two, a scraper and a person."""

Answer = Callable[[Request | None], bytes]
"""Returns the bytes that answer a request; None stands for bytes that are no request."""


class _PageClient(Client):
    """One client: its request, then what is left of its answer; at last, its end.

    Parameters
    ----------
    connection
        The connection.
    answer
        Answers its request.
    """

    def __init__(self, connection: Any, answer: Answer) -> None:
        super().__init__(connection)
        self._answer = answer
        self._head = b""
        self._is_answered = False
        self.deadline = time.monotonic() + CLIENT_TIMEOUT

    @property
    def is_heard(self) -> bool:
        """Whether it is asking, or has its answer."""
        return not self.unsent

    def priority(self) -> int:
        """Return how much it is to keep its place: least when it has its answer."""
        return 2 * bool(self.unsent) if self._is_answered else 1

    def receive(self, data: bytes) -> None:
        """Take a part of its request; or throw away what it sends after that, until it closes."""
        if self._is_answered:
            self.has_ended = not data
            return
        self._head += data
        head, end, _ = self._head.partition(END_OF_HEAD)
        if end or not data or len(self._head) >= LONGEST_HEAD:
            answer = self._answer(parse(head) if end else None)
            self._is_answered = True
            self.deadline = time.monotonic() + CLIENT_TIMEOUT
            self.send(answer)

    def has_taken_all(self) -> None:
        """Say that this was all.

        Not closed yet: a close before all has been read is a reset (RFC 1122, 4.2.2.13), and a client that
        is still sending then loses the answer (RFC 9112, section 9.6).
        """
        self.connection.shutdown(socket.SHUT_WR)


class PageServer(PollServer):
    """Answers requests of HTTP until it is closed. Thread-safe.

    Where there are too many clients, one goes: that which has its answer, else the one that came first of
    those that are still asking.

    Parameters
    ----------
    address : Address
        Where.
    answer
        Returns the bytes that answer a request; None stands for bytes that are no request. See
        `manyhands.http.messages.answering`.
    on_close
        Called at the end.

    Raises
    ------
    Mistake, OSError
        As of `manyhands.listening`: when the address cannot be had.
    """

    thread_name = "manyhands-http"

    def __init__(
        self,
        address: Address,
        answer: Answer,
        on_close: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._on_close = on_close
        super().__init__(address)

    def new_client(self, connection: Any) -> Client:
        """Return a client that is about to ask."""
        if len(self.clients) >= MOST_CLIENTS:
            self.clients.end_one()
        return _PageClient(connection, self._answered)

    def _answered(self, request: Request | None) -> bytes:
        # Figures of the process are read from files, one after the other.
        with self.room_for_files():
            return self._answer(request)

    def has_closed(self) -> None:
        """Have the pages that are served no more count no longer."""
        self._on_close()
