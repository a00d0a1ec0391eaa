"""Serves pages from a thread that depends on nothing of the servers that the pages tell of.

The thread and its sockets are the system's in every program, gevent's patches or not: it answers while the
hub of the fibers is blocked, while all workers are busy and while a server drains. It takes no lock that a
forked handler could need.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Self

from manyhands.http.clients import Answer, Clients
from manyhands.http.messages import Request
from manyhands.listening.bind import bind, listen
from manyhands.listening.endpoints import Endpoint, endpoints
from manyhands.model.accept_errors import is_exhausted
from manyhands.model.addresses import Address
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import accept_at_once
from manyhands.runtime.spare_descriptor import SpareDescriptor
from manyhands.runtime.unpatched import original, start_native_thread
from manyhands.runtime.wakeup import PollableLatch

BACKLOG = 128
"""Clients that wait to be accepted, which is done at once: more come together only where one means harm."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing waits for an answer under way."""

NO_DESCRIPTOR_PAUSE = 0.1
"""Seconds until the next accept after one that failed, and the next try for what is kept in reserve."""


class PageServer:
    """Answers requests of HTTP until it is closed. Thread-safe.

    One thread serves all clients, and waits for none: a client that is silent, or does not read, holds up no
    other. Pages are made one after the other. Out of descriptors it answers as ever, with two of its own.

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

    def __init__(
        self,
        address: Address,
        answer: Answer,
        on_close: Callable[[], None],
    ) -> None:
        self._for_client, self._for_files = SpareDescriptor(), SpareDescriptor()
        self._answer = answer
        self._clients = Clients(self._answered, self._close_connection)
        self._on_close = on_close
        self._listeners: list[Any] = []
        self._is_open = True
        self._claim = ["to close it"]
        self._closing = PollableLatch()
        self._has_ended = Latch()
        try:
            for endpoint in endpoints(address):
                self._listeners.append(_listening(endpoint))
            self._has_reserve()
            start_native_thread(self._run)
        except BaseException:
            self._give_back()
            raise
        self.addresses = [_address(listener) for listener in self._listeners]
        """Where it listens, with the ports that it got."""

        renew_in_copies(self, PageServer._leave_to_the_original)

    def close(self) -> None:
        """Answer no more. Once more does no harm."""
        try:
            # One step: of several threads, or of a signal handler and what it interrupts, one closes.
            self._claim.pop()
        except IndexError:
            return
        # In this order: the thread gives the latch's descriptor back once it finds the server closed.
        self._closing.set()
        self._is_open = False
        self._has_ended.wait(CLOSE_TIMEOUT)
        self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        poll = self._clients.poll
        poll.register(self._closing.fileno(), select.POLLIN)
        by_descriptor = {listener.fileno(): listener for listener in self._listeners}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        try:
            while self._is_open:
                try:
                    self._turn(by_descriptor)
                except Exception as error:  # noqa: BLE001 - no memory, say; the page is wanted most then
                    print_uncaught(error)
                    original(time, "sleep")(NO_DESCRIPTOR_PAUSE)
        finally:
            # Here and not in `close`, which does not wait for a page that is being made.
            self._give_back()
            self._has_ended.set()

    def _turn(self, listeners: dict[int, Any]) -> None:
        left = self._clients.seconds_left()
        if not self._has_reserve():
            left = NO_DESCRIPTOR_PAUSE if left is None else min(left, NO_DESCRIPTOR_PAUSE)
        for descriptor, _ in self._clients.poll.poll(None if left is None else 1000 * left):
            if descriptor in listeners:
                self._take_client(listeners[descriptor])
            else:
                self._serve(descriptor)
        self._clients.end_late_ones()

    def _has_reserve(self) -> bool:
        """Have the descriptors that are kept in reserve; return False when one is still missing."""
        return self._for_client.take() and self._for_files.take()

    def _answered(self, request: Request | None) -> bytes:
        # Figures of the process are read from files, one after the other.
        with self._for_files.given_up():
            return self._answer(request)

    def _close_connection(self, connection: Any) -> None:
        client, files = self._for_client, self._for_files
        missing, other = (client, files) if files.is_there else (files, client)
        missing.take_over(connection, like=other)

    def _take_client(self, listener: Any) -> None:
        try:
            self._clients.add(self._accepted(listener))
        except OSError as error:
            # The client has gone (ECONNABORTED), or there is no descriptor for it (EMFILE): then the listener
            # stays readable, and this would be a busy loop.
            if not isinstance(error, BlockingIOError):
                original(time, "sleep")(NO_DESCRIPTOR_PAUSE)

    def _accepted(self, listener: Any) -> Any:
        try:
            # Not `accept`: under gevent's patches it makes one of gevent's sockets, which needs a hub.
            descriptor, _ = accept_at_once(listener)
        except OSError as error:
            if not is_exhausted(error) or not (
                self._for_client.give_up() or self._clients.end_one()
            ):
                raise
            descriptor, _ = accept_at_once(listener)
        return original(socket, "socket")(fileno=descriptor)

    def _serve(self, descriptor: int) -> None:
        try:
            self._clients.serve(descriptor)
        except Exception as error:  # noqa: BLE001 - of a page of the program's own; the next may do
            print_uncaught(error)
            self._clients.end(descriptor)

    def _give_back(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._clients.close()
        self._closing.close()
        self._for_client.give_up()
        self._for_files.give_up()

    def _leave_to_the_original(self) -> None:
        # In a forked copy, which has no thread for them: while one copy of a listener is open its port
        # answers, though nothing accepts.
        self._claim.clear()
        self._is_open = False
        with contextlib.suppress(OSError):
            self._give_back()


def _listening(endpoint: Endpoint) -> Any:
    listener = original(socket, "socket")(endpoint.family, endpoint.kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.is_dual_stack:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bind(listener, endpoint.address)
        listen(listener, endpoint.address, BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _address(listener: Any) -> Address:
    host, port, *_ = listener.getsockname()
    return Address("tcp", host=host, port=port)
