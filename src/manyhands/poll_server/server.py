"""Serves clients from a thread that depends on nothing of the servers that it tells of.

The thread and its sockets are the system's in every program, gevent's patches or not: it answers while the
hub of the fibers is blocked, while all workers are busy and while a server drains. It takes no lock that a
forked handler could need.
"""

import abc
import contextlib
import os
import select
import socket
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Self

from manyhands.listening.bind import bind, listen
from manyhands.listening.endpoints import Endpoint, endpoints
from manyhands.listening.unix_access import giving
from manyhands.model.accept_errors import is_exhausted
from manyhands.model.addresses import Address
from manyhands.poll_server.clients import Client, Clients
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import accept_at_once, is_ready
from manyhands.runtime.spare_descriptor import SpareDescriptor
from manyhands.runtime.unpatched import original, start_native_thread
from manyhands.runtime.wakeup import PollableLatch, WakeUp

if TYPE_CHECKING:
    from manyhands.listening.unix_paths import BoundPath

BACKLOG = 128
"""Clients that wait to be accepted, which is done at once: more come together only where one means harm."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing waits for an answer under way."""

NO_DESCRIPTOR_PAUSE = 0.1
"""Seconds until the next accept after one that failed, and the next try for what is kept in reserve."""


class PollServer(abc.ABC):
    """Serves clients until it is closed. Thread-safe.

    One thread serves all clients, and waits for none: a client that is silent, or does not read, holds up no
    other. What they ask for is answered one after the other. Out of descriptors it answers as ever, with two
    of its own.

    Parameters
    ----------
    address : Address or None
        Where; None for a server that listens nowhere.
    connected : socket.socket, optional
        A connection of a client that is there from the beginning. It belongs to the server from now on.

    Raises
    ------
    Mistake, OSError
        As of `manyhands.listening`: when the address cannot be had.
    RuntimeError
        When the system has no thread left.

    Notes
    -----
    What a subclass has to be ready for comes first in its `__init__`, and then this one's, which begins to
    serve.
    """

    thread_name: ClassVar[str] = "manyhands-poll-server"
    """The name of its thread, for operators."""

    is_woken: ClassVar[bool] = False
    """Whether other threads have it do chores, by `wake`: that takes two descriptors."""

    def __init__(self, address: Address | None, connected: socket.socket | None = None) -> None:
        self._for_client, self._for_files = SpareDescriptor(), SpareDescriptor()
        self.clients = Clients(self._close_connection)
        """The clients that are there. For the thread of the server."""

        self._listeners: list[Any] = []
        self._files: list[BoundPath] = []
        self._is_open = True
        self._claim = ["to close it"]
        self._closing = PollableLatch()
        self._wake_up: WakeUp | None = None
        self._has_ended = Latch()
        # First: another thread may fork while this one binds.
        renew_in_copies(self, PollServer._leave_to_the_original)
        try:
            self._wake_up = WakeUp() if self.is_woken else None
            for endpoint in () if address is None else endpoints(address):
                self._listen(endpoint)
            self._has_reserve()
            if connected is not None:
                self._add(original(socket, "socket")(fileno=connected.detach()))
            start_native_thread(self._run, name=self.thread_name)
        except BaseException:
            self._give_back()
            raise
        self.addresses = [_address(listener) for listener in self._listeners]
        """Where it listens, with the ports that it got."""

    @abc.abstractmethod
    def new_client(self, connection: Any) -> Client:
        """Return the client that a connection is of, which was accepted just now, as the protocol has it."""

    def seconds_left(self) -> float | None:
        """Return the seconds until `do_chores` has something to do; None when it never has."""
        return None

    def do_chores(self) -> None:  # noqa: B027 - most servers have none
        """Do what is due by now, beside answering. Called after each turn."""

    def wake(self) -> None:
        """Have `do_chores` called soon. Thread-safe; it never waits, and after `close` it does nothing."""
        if self._wake_up is not None:
            self._wake_up.wake()

    def has_closed(self) -> None:  # noqa: B027 - as above
        """Note that it answers no more. Called once, by the thread that closes it."""

    def close(self) -> None:
        """Answer no more. Once more does no harm."""
        try:
            # One step: of several threads, or of a signal handler and what it interrupts, one closes.
            self._claim.pop()
        except IndexError:
            return
        self._let_go()
        self._closing.set()
        self._has_ended.wait(CLOSE_TIMEOUT)
        self.has_closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def room_for_files(self) -> AbstractContextManager[None]:
        """Return a context in which a file can be opened, one after the other, whatever the others hold."""
        return self._for_files.given_up()

    def _run(self) -> None:
        poll = self.clients.poll
        poll.register(self._closing.fileno(), select.POLLIN)
        if self._wake_up is not None:
            poll.register(self._wake_up.fileno(), select.POLLIN)
        by_descriptor = {listener.fileno(): listener for listener in self._listeners}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        try:
            while self._is_open:
                try:
                    self._turn(by_descriptor)
                except Exception as error:  # noqa: BLE001 - no memory, say; it is wanted most then
                    print_uncaught(error)
                    self._wait_a_moment()
        finally:
            # Here and not in `close`, which does not wait for an answer that is being made.
            self._give_back()
            self._has_ended.set()

    def _turn(self, listeners: dict[int, Any]) -> None:
        waits = [self.clients.seconds_left(), self.seconds_left()]
        if not self._has_reserve():
            waits.append(NO_DESCRIPTOR_PAUSE)
        left = min((wait for wait in waits if wait is not None), default=None)
        for descriptor, events in self.clients.poll.poll(None if left is None else 1000 * left):
            if descriptor == self._closing.fileno():
                # Told by the latch alone: `close` has done with it then, and the thread gives it back.
                self._is_open = False
                return
            if self._wake_up is not None and descriptor == self._wake_up.fileno():
                self._wake_up.drain()
            elif descriptor in listeners:
                self._take_client(listeners[descriptor])
            else:
                self._serve(descriptor, events)
        self.clients.end_late_ones()
        self.do_chores()

    def _has_reserve(self) -> bool:
        """Have the descriptors that are kept in reserve; return False when one is still missing."""
        return self._for_client.take() and self._for_files.take()

    def _close_connection(self, connection: Any) -> None:
        missing = self._for_client if self._for_files.is_there else self._for_files
        missing.take_over(connection, like=self._closing.fileno())

    def _take_client(self, listener: Any) -> None:
        try:
            self._add(self._accepted(listener))
        except OSError as error:
            # The client has gone (ECONNABORTED), or there is no descriptor for it (EMFILE): then the listener
            # stays readable, and this would be a busy loop. ENOTSOCK: the server is being closed, and another
            # file has the listener's number.
            if not isinstance(error, BlockingIOError):
                self._wait_a_moment()
        else:
            # One that was turned away has given its descriptor back by now. For any other one must go.
            is_without = not (self._for_client.is_there or self._for_files.is_there)
            if is_without and len(self.clients) > 1:
                self.clients.end_one()

    def _add(self, connection: Any) -> None:
        connection.setblocking(False)
        self.clients.add(self.new_client(connection))

    def _wait_a_moment(self) -> None:
        """Wait `NO_DESCRIPTOR_PAUSE`, or until the server is closed."""
        is_ready(self._closing.fileno(), select.POLLIN, NO_DESCRIPTOR_PAUSE)

    def _accepted(self, listener: Any) -> Any:
        try:
            # Not `accept`: under gevent's patches it makes one of gevent's sockets, which needs a hub.
            descriptor, _ = accept_at_once(listener)
        except OSError as error:
            if not is_exhausted(error) or not (
                self._for_client.give_up() or self._for_files.give_up() or self.clients.end_one()
            ):
                raise
            descriptor, _ = accept_at_once(listener)
        return original(socket, "socket")(fileno=descriptor)

    def _serve(self, descriptor: int, events: int) -> None:
        try:
            self.clients.serve(descriptor, events)
        except Exception as error:  # noqa: BLE001 - of what a program answers itself; the next may do
            print_uncaught(error)
            self.clients.end(descriptor)

    def _listen(self, endpoint: Endpoint) -> None:
        listener = original(socket, "socket")(endpoint.family, endpoint.kind)
        # As soon as there is one: what fails later has it closed.
        self._listeners.append(listener)
        if endpoint.family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if endpoint.is_dual_stack:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        with giving(endpoint.access, listener, endpoint.address):
            file = bind(listener, endpoint.address)
            if file is not None:
                self._files.append(file)
        listen(listener, endpoint.address, BACKLOG)
        listener.setblocking(False)

    def _let_go(self) -> None:
        """Listen no more, whatever the thread is doing: the next server may want the same place.

        The numbers of the listeners stay taken, by another file, until the thread does without them.
        """
        self._remove_files()
        for listener in [each for each in self._listeners if each.fileno() >= 0]:
            os.dup2(self._closing.fileno(), listener.fileno(), inheritable=False)

    def _give_back(self) -> None:
        self._remove_files()
        for listener in self._listeners:
            listener.close()
        self.clients.close()
        self._closing.close()
        if self._wake_up is not None:
            self._wake_up.close()
        self._for_client.give_up()
        self._for_files.give_up()

    def _remove_files(self) -> None:
        # Each once: the file of the next server, which may be there by now, can have the same inode.
        while self._files:
            self._files.pop().unlink()

    def _leave_to_the_original(self) -> None:
        # In a forked copy, which has no thread for them: while one copy of a listener is open its port
        # answers, though nothing accepts.
        self._claim.clear()
        with contextlib.suppress(OSError):
            self._give_back()


def _address(listener: Any) -> Address:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        path = os.fsdecode(name)
        return Address("unix", path=f"@{path[1:]}" if path.startswith("\0") else path)
    host, port, *_ = name
    return Address("tcp", host=host, port=port)
