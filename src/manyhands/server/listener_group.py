"""The listeners of one `manyhands.Server`, and the core that they share."""

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence

from manyhands.connections.registry import Registry
from manyhands.engines import Engine, ProcessesEngine
from manyhands.listening.endpoints import Endpoint, endpoints
from manyhands.model.addresses import Address
from manyhands.runtime.wakeup import PollableLatch
from manyhands.server.handler_check import check_kind
from manyhands.server.listener import Handler, Listener, Making, Owner, open_listener
from manyhands.server.option_attributes import OptionValues
from manyhands.serving.admission_control import AdmissionControl
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.drain import drain_orphan, refuse_backlog


class ListenerGroup:
    """The listeners of one server, and what they share.

    For the thread that runs the server, but for `suspend`.

    Parameters
    ----------
    books
        The registry and the admission control of a supervisor, or of a worker; None makes the usual ones.
    """

    def __init__(self, books: tuple[Registry, AdmissionControl] | None = None) -> None:
        self.core = ServerCore(books=books)
        """What they share: the engine, the registry, admission control and the reaper."""

        self.core.registry.are_detailed = True
        self.listeners: list[Listener] = []
        """One for each endpoint; empty when the server does not listen."""

        self.spares: list[Listener] = []
        """Of a worker: on a neighbour's sockets for datagrams, which it reads only when it is told to."""

        self.is_suspended = False
        """Whether no client is accepted for now; listeners begin that way too."""

    @property
    def addresses(self) -> list[Address]:
        """Where they listen, with the ports that they got."""
        return [each.bound_address for each in self.listeners if each.fileno() >= 0]

    def listen(  # noqa: PLR0913, PLR0917 - all that listeners are made of
        self,
        addresses: Sequence[Address],
        handler: Handler,
        options: OptionValues,
        owner: Owner,
        engine: Engine,
        making: Callable[[int, Endpoint], Making] | None = None,
    ) -> None:
        """Bind every address, one after the other, unless that was done before.

        `making` returns how the listener at a position is made of its endpoint.

        Raises
        ------
        Mistake
            When a host has no address, or a given socket is none that can be served, or not by the handler.
        OSError
            As of `open_listener`; then none is held.
        """
        if self.listeners:
            return
        try:
            self._prepare_processes(engine, options)
            for address in addresses:
                for endpoint in endpoints(address):
                    is_stream = endpoint.kind == socket.SOCK_STREAM
                    check_kind(handler, address, is_stream=is_stream)
                    how = None if making is None else making(len(self.listeners), endpoint)
                    self._open(endpoint, handler, options, owner, how)
        except BaseException:
            self.close()
            raise

    def take(
        self,
        dealt: Iterable[tuple[Endpoint, Making]],
        handler: Handler,
        options: OptionValues,
        owner: Owner,
        engine: Engine,
    ) -> None:
        """Have the listeners of a worker: their supervisor has bound them."""
        self._prepare_processes(engine, options)
        for endpoint, how in dealt:
            self._open(endpoint, handler, options, owner, how)

    def _prepare_processes(self, engine: Engine, options: OptionValues) -> None:
        if isinstance(engine, ProcessesEngine):
            self.core.drain_notice = PollableLatch()
            engine.on_orphan = lambda task: drain_orphan(task, options["drain_timeout"])

    def _open(
        self,
        endpoint: Endpoint,
        handler: Handler,
        options: OptionValues,
        owner: Owner,
        how: Making | None,
    ) -> None:
        listener = open_listener(endpoint, handler, self.core, options, owner, how)
        core_of(listener).is_suspended = self.is_suspended
        # As soon as there is one: what fails later has it closed.
        self.listeners.append(listener)

    def take_spare(
        self, endpoint: Endpoint, handler: Handler, options: OptionValues, owner: Owner, how: Making
    ) -> Listener:
        """Have one of the `spares` of a worker, and return it."""
        spare = open_listener(endpoint, handler, self.core, options, owner, how)
        core_of(spare).is_read_elsewhere = True
        self.spares.append(spare)
        return spare

    def set_suspended(self, value: bool) -> None:
        """Have the accept loop leave the listeners alone, or look at them again; it is to be woken.

        Raises
        ------
        RuntimeError
            In the process of a forked handler, which has only a copy of the server.
        """
        self.is_suspended = value
        for listener in self.listeners:
            core_of(listener).set_suspended(listener, value)

    def close_copies(self) -> None:
        """Close a child's copies: while one is open the port answers, though no process accepts."""
        for listener in self.listeners:
            if listener.is_stream:
                listener.socket.close()

    def refuse_backlogs(self) -> None:
        """Close the clients that are still in the backlogs, but for those of sockets that are given.

        A given socket goes on listening: the next process that its giver has serves them.
        """
        for listener in self.listeners:
            if listener.endpoint.descriptor < 0:
                refuse_backlog(listener)

    def close(self, kind: socket.SocketKind | None = None) -> None:
        """Close the listeners of one kind, or all.

        The socket of datagrams is the one that their answers go out on, so it outlasts the drain.
        """
        # All of them, whatever a subscriber raises that is told of refusals.
        with contextlib.ExitStack() as stack:
            if kind is None:
                stack.callback(self._forget)
            for listener in reversed([*self.listeners, *self.spares]):
                if kind in {None, listener.socket_type}:
                    stack.callback(listener.server_close)
                else:
                    stack.callback(listener.stop_receiving)

    def _forget(self) -> None:
        self.listeners, self.spares = [], []
        notice, self.core.drain_notice = self.core.drain_notice, None
        if notice is not None:
            notice.close()
