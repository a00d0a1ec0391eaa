"""Addresses of a program that its supervisor binds, once for all workers and generations.

A program may come to the next generation while the last one serves. So what it does about its addresses must
not concern the listener that is there: it gets that in the place of its own socket, and the file of a Unix
socket stays, which programs remove before they bind, and at their end.
"""

import contextlib
import os
import stat
import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

from manyhands import socketserver
from manyhands.dropin.tcp import begin_to_listen
from manyhands.runtime.sockets import mix_into
from manyhands.runtime.unpatched import put_in_place
from manyhands.workers.template import Template


class BoundAbove:
    """The servers of this process that the supervisor has bound.

    Parameters
    ----------
    template
        What this process is.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._process = os.getpid()
        self._paths: set[str] = set()
        self.may_ask = True
        """Whether the supervisor answers: not in a worker, which serves."""

        self.servers: dict[int, Any] = {}
        """The servers by the positions of their listeners."""

    def take_part(self) -> None:
        """Have all servers of this process be bound so."""
        begin, bind = socketserver.TCPServer.__init__, socketserver.TCPServer.server_bind

        @wraps(begin)
        def __init__(  # noqa: N807 - of the class
            self: Any, server_address: Any, handler: Any, bind_and_activate: bool = True
        ) -> None:
            begin(self, server_address, handler, False)
            # A hook of the program's may bind the socket itself.
            _bound_by[self.socket] = lambda address: above.bind(self, address)
            mix_into(self.socket, _BindsAbove)
            if bind_and_activate:
                begin_to_listen(self)

        @wraps(bind)
        def server_bind(self: Any) -> None:
            if not above.bind(self, self.server_address):
                bind(self)
                return
            self.server_address = self.socket.getsockname()
            self.keep_path()

        above = self
        kind: Any = socketserver.TCPServer
        kind.__init__, kind.server_bind = __init__, server_bind
        for name in ("remove", "unlink"):
            put_in_place(os, name, self._leaving_paths(getattr(os, name)))

    def bind(self, server: Any, address: Any) -> bool:
        """Have a server bound by the supervisor; return False where it is to be bound here.

        In a worker a further server is its own, as in a copy of the process that the program has forked.

        Raises
        ------
        OSError
            When the address cannot be had.
        """
        _put_class_back(server.socket)
        if not self.may_ask or os.getpid() != self._process:
            return False
        asked = {
            "kind": "bind",
            "family": int(server.address_family),
            "type": int(server.socket_type),
            "address": _plain(address),
        }
        # The first time it is this very socket that is bound, with the options that the program has set.
        told, descriptors = self._template.ask(asked, server.socket.fileno())
        if "sentence" in told:
            raise OSError(told["errno"], told["sentence"])
        # The object stays: the program may have wrapped it for TLS by now.
        os.dup2(descriptors[0], server.socket.fileno(), inheritable=False)
        os.close(descriptors[0])
        self.servers[int(told["position"])] = server
        name = server.socket.getsockname()
        if isinstance(name, str) and name:
            self._paths.add(os.path.abspath(name))
        return True

    def _leaving_paths(self, remove: Callable[..., None]) -> Callable[..., None]:
        def leave_paths(path: Any, *, dir_fd: int | None = None) -> None:
            if dir_fd is not None or not self._is_held(path):
                remove(path, dir_fd=dir_fd)

        return leave_paths

    def _is_held(self, path: Any) -> bool:
        """Tell whether a file is that of a socket on which the supervisor listens."""
        with contextlib.suppress(OSError, TypeError, ValueError):
            name = os.path.abspath(os.fsdecode(path))
            if name in self._paths:
                return True  # be it there or not: at the end the supervisor removes it
            if self.may_ask and os.getpid() == self._process and _is_socket(name):
                told, _ = self._template.ask({"kind": "holds", "address": name})
                return bool(told["holds"])
        return False


def _is_socket(name: str) -> bool:
    return stat.S_ISSOCK(os.lstat(name).st_mode)


_bound_by: "weakref.WeakKeyDictionary[Any, Callable[[Any], bool]]" = weakref.WeakKeyDictionary()
"""What binds the sockets of servers that are not bound yet."""


class _BindsAbove:
    """Has a socket be bound by the supervisor: mixed into its class until then."""

    __slots__ = ()

    def bind(self, address: Any) -> None:
        """Bind it, or have it bound."""
        if not _bound_by[self](address):
            self.bind(address)  # of the class that it had before


def _put_class_back(socket: Any) -> None:
    if isinstance(socket, _BindsAbove):
        kind: Any = type(socket)
        socket.__class__ = kind.__mro__[kind.__mro__.index(_BindsAbove) + 1]


def _plain(address: Any) -> Any:
    """Return an address as JSON has it."""
    if isinstance(address, tuple | list):
        return [_plain(each) for each in address]
    return os.fsdecode(bytes(address)) if isinstance(address, bytes | bytearray) else address
