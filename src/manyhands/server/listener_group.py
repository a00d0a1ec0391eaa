"""The listeners of one `manyhands.Server`, and the core that they share."""

import contextlib
import socket
from collections.abc import Sequence

from manyhands.engines import Engine, ProcessesEngine
from manyhands.listening.endpoints import endpoints
from manyhands.model.addresses import Address
from manyhands.runtime.wakeup import PollableLatch
from manyhands.server.handler_check import check_kind
from manyhands.server.listener import Handler, Listener, Owner, open_listener
from manyhands.server.option_attributes import OptionValues
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.drain import drain_orphan, refuse_backlog


class ListenerGroup:
    """The listeners of one server, and what they share.

    For the thread that runs the server, but for `suspend`.
    """

    def __init__(self) -> None:
        self.core = ServerCore()
        """What they share: the engine, the registry, admission control and the reaper."""

        self.core.registry.are_detailed = True
        self.listeners: list[Listener] = []
        """One for each endpoint; empty when the server does not listen."""

        self.is_suspended = False
        """Whether no client is accepted for now; listeners begin that way too."""

    @property
    def addresses(self) -> list[Address]:
        """Where they listen, with the ports that they got."""
        return [each.bound_address for each in self.listeners if each.fileno() >= 0]

    def listen(
        self,
        addresses: Sequence[Address],
        handler: Handler,
        options: OptionValues,
        owner: Owner,
        engine: Engine,
    ) -> None:
        """Bind every address, one after the other, unless that was done before.

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
            if isinstance(engine, ProcessesEngine):
                self.core.drain_notice = PollableLatch()
                engine.on_orphan = lambda task: drain_orphan(task, options["drain_timeout"])
            for address in addresses:
                for endpoint in endpoints(address):
                    is_stream = endpoint.kind == socket.SOCK_STREAM
                    check_kind(handler, address, is_stream=is_stream)
                    # As soon as there is one: what fails later has it closed.
                    self.listeners.append(
                        open_listener(endpoint, handler, self.core, options, owner)
                    )
            for listener in self.listeners:
                core_of(listener).is_suspended = self.is_suspended
        except BaseException:
            self.close()
            raise

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
            for listener in reversed(self.listeners):
                if kind in {None, listener.socket_type}:
                    stack.callback(listener.server_close)
                else:
                    stack.callback(listener.stop_receiving)

    def _forget(self) -> None:
        self.listeners = []
        notice, self.core.drain_notice = self.core.drain_notice, None
        if notice is not None:
            notice.close()
