"""Answers scrapes, in a thread that depends on nothing of what it reports on.

It is one of the system's threads, with sockets of the system's, in every program: it answers while the hub of
the fibers is blocked, while all workers are busy and while the server drains. It takes no lock that a forked
handler could need.
"""

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Self

from manyhands.listening.bind import bind, listen
from manyhands.listening.endpoints import Endpoint, endpoints
from manyhands.metrics.request import END, LONGEST, Request, parse
from manyhands.model.addresses import Address
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import accept_at_once
from manyhands.runtime.unpatched import original, start_native_thread

PATIENCE = 2.0
"""Seconds for a client to send its request, and as many to take the answer; others wait meanwhile."""

BACKLOG = 16
"""Scrapers that wait: there are seldom more than two."""

AT_THE_END = 1.0
"""Seconds that closing waits for a scrape under way."""


class Exporter:
    """Answers requests of HTTP, one after the other, until it is closed. Thread-safe.

    Parameters
    ----------
    address : Address
        Where.
    answer
        Returns the bytes that answer a request; of what was none, None.
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
        answer: Callable[[Request | None], bytes],
        on_close: Callable[[], None],
    ) -> None:
        self._answer = answer
        self._on_close = on_close
        self._listeners: list[Any] = []
        self._is_open = True
        try:
            for endpoint in endpoints(address):
                self._listeners.append(_listening(endpoint))
        except BaseException:
            self._close_sockets()
            raise
        self.addresses = [_address(listener) for listener in self._listeners]
        """Where it listens, with the ports that it got."""

        self._told, self._teller = os.pipe()
        self._has_ended = Latch()
        start_native_thread(self._run)
        renew_in_copies(self, Exporter.forget)

    def close(self) -> None:
        """Answer no more. Once more does no harm."""
        if not self._is_open:
            return
        self._is_open = False
        os.write(self._teller, b"!")
        if self._has_ended.wait(AT_THE_END):
            self._close_everything()
        self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        poll = original(select, "poll")()
        poll.register(self._told, select.POLLIN)
        by_descriptor = {listener.fileno(): listener for listener in self._listeners}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        try:
            while self._is_open:
                for descriptor, _ in poll.poll():
                    if descriptor in by_descriptor and self._is_open:
                        self._serve_next(by_descriptor[descriptor])
        finally:
            self._has_ended.set()

    def _serve_next(self, listener: Any) -> None:
        try:
            descriptor, _ = accept_at_once(listener)
        except OSError:
            # It has gone, or there is no descriptor for it: then it is not to be a busy loop.
            original(time, "sleep")(0.1)
            return
        with original(socket, "socket")(fileno=descriptor) as client:
            try:
                answer = self._answer(_request(client))
                client.settimeout(PATIENCE)
                client.sendall(answer)
            except OSError:
                return  # whoever is too slow, or has gone, scrapes again
            except Exception as error:  # noqa: BLE001 - of a collector of the program's own; the next may do
                sys.excepthook(type(error), error, error.__traceback__)

    def _close_sockets(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _close_everything(self) -> None:
        self._close_sockets()
        for descriptor in (self._told, self._teller):
            original(os, "close")(descriptor)

    def forget(self) -> None:
        """Close a forked copy's own copies: while one is open the port answers, though nobody accepts."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):
                self._close_everything()


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


def _request(client: Any) -> Request | None:
    """Receive a request; one that takes too long, or has too much, is none."""
    head, deadline = b"", time.monotonic() + PATIENCE
    while END not in head and len(head) < LONGEST:
        client.settimeout(max(0.001, deadline - time.monotonic()))
        received = client.recv(LONGEST - len(head))
        if not received:
            break
        head += received
    before, end, _ = head.partition(END)
    return parse(before) if end else None
