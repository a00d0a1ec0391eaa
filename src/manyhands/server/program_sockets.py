"""What a supervisor serves for a program of `manyhands run`: the addresses that the program binds."""

import errno
import os
import socket
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from manyhands.listening.endpoints import Endpoint
from manyhands.listening.inherited_sockets import duplicate
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.sockets import has_client_waiting, mix_into
from manyhands.server import one_supervisor
from manyhands.server.listener import Handler, Making
from manyhands.server.stand_ins import HandlerElsewhere
from manyhands.server.supervised_sockets import Dealing, SupervisedSockets
from manyhands.server.takeover import Estate, estate_of_process
from manyhands.supervisor.template_process import TemplateProcess
from manyhands.workers.share import plain_endpoint


class _OfProgram:
    """Has a listener bind a program's own socket: a mix-in before its class."""

    of_program: int
    socket: socket.socket

    def server_bind(self) -> None:
        """Bind it."""
        self.socket.close()
        self.socket = duplicate(self.of_program)
        super().server_bind()  # type: ignore[misc]  # of the class that this stands before


class _DealingOfProgram(Dealing, _OfProgram):
    """Has its connections dealt as well."""


class _NeverWaits:
    """A listening socket of which the program may have a copy, and have that block, as TLS sockets do.

    The flag is of both copies (O_NONBLOCK in fcntl(2)), so it is asked first whether a client waits.
    """

    __slots__ = ()

    def _accept(self) -> tuple[int, Any]:
        if not has_client_waiting(self):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        accepted: tuple[int, Any] = super()._accept()  # type: ignore[misc]  # of a socket
        return accepted


class ProgramSockets(SupervisedSockets):
    """Has workers serve what a program binds, each address once for all workers and generations."""

    @property
    def stand_in(self) -> Handler:
        """What stands for the program's handlers in this process."""
        return HandlerElsewhere("")

    def listen(self) -> None:
        """Start the program, bind what it asks for, and have the workers of the first generation serve.

        Raises
        ------
        NotStarted
            When they do not come to serve: the text says why.
        """
        if self.group.listeners:
            return
        one_supervisor.claim(self)
        self._claimed: weakref.WeakKeyDictionary[TemplateProcess, set[int]] = (
            weakref.WeakKeyDictionary()
        )
        """The positions of the listeners that each template has bound."""

        with ExitStack() as undo:
            undo.callback(self.close_fleet)
            undo.callback(self.group.close)
            self.fleet.options = {"drain_timeout": self.options["drain_timeout"]}
            self.fleet.on_bind = self._bind
            self.fleet.holds = self._holds
            self.fleet.on_ready = self._check_listeners
            estate = self.estate = estate_of_process()
            if estate is None:
                self.fleet.begin()
                self.wait_for_first()
                self.reach_hub().wait_until_connected()
                self.begin_control()
            else:
                self._take_listeners_over(estate)
                self.take_over(estate)
            undo.pop_all()

    def _take_listeners_over(self, estate: Estate) -> None:
        """Have the listeners of the program before: of the new one, its template binds the same."""
        for position, endpoint in enumerate(estate.endpoints):
            self._take(endpoint, self.making(position, endpoint))

    def _take(self, endpoint: Endpoint, making: Making) -> None:
        self.group.take([(endpoint, making)], self.stand_in, self.options, self, self.engine)
        listener = self.group.listeners[-1]
        if listener.is_stream and listener.fileno() >= 0:
            mix_into(listener.socket, _NeverWaits)

    def _bind(self, template: TemplateProcess, said: Mapping[str, Any], own: int) -> None:
        """Bind an address, or find it bound, and tell the template.

        It is the program's own socket that is bound, which has its options; `own` is a descriptor of it.

        Raises
        ------
        OSError
            When it cannot be had; the text says what holds it.
        """
        address = said["address"]
        endpoint = Endpoint(
            socket.AddressFamily(said["family"]),
            socket.SocketKind(said["type"]),
            tuple(address) if isinstance(address, list) else address,
        )
        claimed = self._claimed.setdefault(template, set())
        found = [
            position
            for position, each in enumerate(self.group.listeners)
            if position not in claimed and plain_endpoint(each.endpoint) == plain_endpoint(endpoint)
        ]
        if not found:
            if self.fleet.hub:
                # The accept loop knows its listeners, and so do the workers of before.
                template.failure = "the program binds further addresses than before: start it anew"
                raise OSError(errno.EPERM, template.failure)
            found = [self._bind_first(endpoint, own)]
        claimed.add(found[0])
        descriptor = self.group.listeners[found[0]].socket.fileno()
        template.answer({"position": found[0]}, descriptor)

    def _holds(self, path: str) -> bool:
        """Tell whether a file is that of one of the sockets."""
        names = [each.server_address for each in self.group.listeners]
        held = [os.path.abspath(each) for each in names if isinstance(each, str)]  # noqa: PTH100 - as told
        return path in held

    def _bind_first(self, endpoint: Endpoint, own: int) -> int:
        position = len(self.group.listeners)
        making = self.making(position, endpoint)
        making = making._replace(
            mix_in=_OfProgram if making.mix_in is None else _DealingOfProgram,
            own=making.own | {"of_program": own},
        )
        self._take(endpoint, making)
        return position

    def _check_listeners(self, template: TemplateProcess) -> str:
        """Tell what is wrong with what a template has bound; nothing, as a rule."""
        if not self.group.listeners:
            return "the program serves no address that it has bound by server_bind"
        if len(self._claimed.get(template, ())) < len(self.group.listeners):
            return "the program binds fewer addresses than before: start it anew"
        if not self.fleet.hub:
            try:
                self.fleet.listen([self.listening_of(each) for each in self.group.listeners])
            except Mistake as mistake:
                return str(mistake)
        return ""
