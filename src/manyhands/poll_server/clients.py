"""The clients of a poll server: each in its own time, none of them waited for."""

import abc
import contextlib
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from manyhands.runtime.unpatched import original

CHUNK = 16 * 1024
"""Bytes that are received from a client at once, before the others have their turn."""

_HAS_COME = select.POLLIN | select.POLLHUP | select.POLLERR
"""A client that has gone is found out by receiving from it."""


class Client(abc.ABC):
    """One client, as its protocol has it. For the one thread that serves all of them.

    Parameters
    ----------
    connection
        Its connection, which does not block.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.unsent: deque[memoryview] = deque()
        """What it has not taken yet."""

        self.deadline: float | None = None
        """When its time is over, by `time.monotonic`; None: never."""

        self.has_ended = False
        """Whether it is to be closed now."""

    @property
    def is_heard(self) -> bool:
        """Whether what it sends is received now; else the kernel holds it."""
        return True

    def priority(self) -> int:
        """Return how much it is to keep its place, compared with the others."""
        return 0

    @abc.abstractmethod
    def receive(self, data: bytes) -> None:
        """Take what it has sent; nothing means that it sends no more.

        Raises
        ------
        Exception
            Whatever went wrong; it is reported, and the client is ended.
        """

    def has_taken_all(self) -> None:  # noqa: B027 - most clients go on
        """Note that the client has been sent all that there was.

        Raises
        ------
        OSError
            When it has gone.
        """

    def settled(self) -> None:  # noqa: B027 - most deadlines run whatever the client does
        """Note that it has been sent what it takes just now: whether it is heard may have changed."""

    def left(self) -> None:  # noqa: B027 - of most, nothing is kept elsewhere
        """Note that it is being closed, for whatever reason."""

    def send(self, data: bytes) -> None:
        """Have data sent to it as soon as it takes some."""
        self.unsent.append(memoryview(data))


class Clients:
    """The clients of one server. For the one thread that serves them.

    Parameters
    ----------
    close_connection
        Closes the connection of a client.
    """

    def __init__(self, close_connection: Callable[[Any], None]) -> None:
        self._close_connection = close_connection
        self._poll = original(select, "poll")()
        self._clients: dict[int, Client] = {}
        self._awaited: dict[int, int] = {}

    @property
    def poll(self) -> Any:
        """What waits for them; other descriptors may be registered too."""
        return self._poll

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        """Go over them in the order of their coming."""
        return iter(list(self._clients.values()))

    def add(self, client: Client) -> None:
        """Serve a client."""
        self._clients[client.connection.fileno()] = client
        self.settle(client)

    def end_one(self) -> bool:
        """End the client of the least priority, of several the first one; return False without any."""
        # The order is that of their coming, and `min` returns the first of several.
        least = min(self._clients.values(), key=lambda client: client.priority(), default=None)
        if least is not None:
            self._close(least)
        return least is not None

    def seconds_left(self) -> float | None:
        """Return the seconds until the next client has used its time up; None where there is none."""
        deadlines = [each.deadline for each in self._clients.values() if each.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def end_late_ones(self) -> None:
        """End those that have used their time up; they come again, if they want."""
        now = time.monotonic()
        for client in self:
            if client.deadline is not None and now >= client.deadline:
                self._close(client)

    def serve(self, descriptor: int, events: int) -> None:
        """Go on with a client of which the poll has told.

        Raises
        ------
        Exception
            What its protocol raised; the client is to be ended then.
        """
        client = self._clients.get(descriptor)
        if client is None:
            return
        try:
            if events & _HAS_COME and client.is_heard:
                client.receive(client.connection.recv(CHUNK))
        except BlockingIOError:
            pass  # another one than the poll told of
        except OSError:
            client.has_ended = True  # it has gone
        self.settle(client)

    def settle(self, client: Client) -> None:
        """Send a client what it takes now, and wait for it to take more, or to send; or close it.

        One that was closed meanwhile is left alone.
        """
        if not self._is_here(client):
            return
        try:
            _send(client)
        except BlockingIOError:
            pass
        except OSError:
            client.has_ended = True
        if client.has_ended:
            self._close(client)
            return
        client.settled()
        descriptor = client.connection.fileno()
        awaited = select.POLLIN * client.is_heard | select.POLLOUT * bool(client.unsent)
        if self._awaited.get(descriptor, 0) != awaited:
            if awaited:
                # Registered once more, a descriptor's events are replaced.
                self._poll.register(descriptor, awaited)
            else:
                # Of one that has gone the poll would tell all the time, whatever is awaited (poll(2)).
                self._poll.unregister(descriptor)
            self._awaited[descriptor] = awaited

    def end(self, descriptor: int) -> None:
        """End a client."""
        client = self._clients.get(descriptor)
        if client is not None:
            self._close(client)

    def _is_here(self, client: Client) -> bool:
        return self._clients.get(client.connection.fileno()) is client

    def release(self, client: Client) -> None:
        """Serve a client no more, whose connection stays open."""
        descriptor = client.connection.fileno()
        del self._clients[descriptor]
        self._awaited.pop(descriptor, None)
        with contextlib.suppress(OSError, KeyError):
            self._poll.unregister(descriptor)

    def _close(self, client: Client) -> None:
        if not self._is_here(client):
            return
        self.release(client)
        client.left()
        self._close_connection(client.connection)

    def close(self) -> None:
        """End all of them."""
        for client in self:
            self._close(client)


def _send(client: Client) -> None:
    while client.unsent:
        data = client.unsent[0]
        rest = data[client.connection.send(data) :]
        if rest:
            client.unsent[0] = rest
            return
        client.unsent.popleft()
        if not client.unsent:
            client.has_taken_all()
