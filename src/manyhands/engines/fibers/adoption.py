"""From whatever a server accepted to something whose waits let other fibers run."""

import os
from typing import Any

import gevent.socket
from gevent import monkey

from manyhands.engines.accept import accept_at_once, identity

from .fiber_socket import FiberSocket
from .implementation import Poller

_PLAIN = (monkey.get_original("socket", "socket"), gevent.socket.socket)
_PLAIN_ACCEPTS = tuple(kind.accept for kind in _PLAIN)


class Adoption:
    """Makes the sockets of fibers, and keeps those that belong to datagram listeners."""

    def __init__(self) -> None:
        self._twins: dict[Any, FiberSocket] = {}

    def accept(self, listener: Any, poller: Poller) -> tuple[Any, Any]:
        """Accept a connection of a listener, as a fiber's from the start."""
        if getattr(type(listener), "accept", None) not in _PLAIN_ACCEPTS:
            accepted: tuple[Any, Any] = listener.accept()
            return accepted
        descriptor, address = accept_at_once(listener)
        return FiberSocket(*identity(listener), descriptor, poller=poller), address

    def adopt(self, request: Any, poller: Poller) -> Any:
        """Return the form for fibers of a request: of a connection, or of a datagram with its socket.

        What is neither, or has a life of its own already (TLS that somebody else began), stays as it is.
        """
        if type(request) in _PLAIN:
            if request.fileno() < 0:
                return request  # closed by a hook; whoever uses it will be told
            return FiberSocket.taking_over(request, poller)
        if type(request) is tuple and len(request) == 2 and type(request[1]) in _PLAIN:
            data, listener = request
            return data, self._twin(listener, poller)
        return request

    def _twin(self, listener: Any, poller: Poller) -> FiberSocket:
        """Return a socket for fibers beside a datagram listener: its own may neither block nor be changed."""
        twin = self._twins.get(listener)
        if twin is None or twin._channel.poller is not poller:
            # Not `listener.dup()`, which would set the blocking mode that both share.
            descriptor = os.dup(listener.fileno())
            twin = FiberSocket(
                listener.family, listener.type, listener.proto, descriptor, poller=poller
            )
            self._twins[listener] = twin
        return twin

    def release(self) -> None:
        """Close what stands beside listeners that have been closed, for it would keep their addresses."""
        for listener, twin in list(self._twins.items()):
            if listener.fileno() < 0:
                del self._twins[listener]
                twin.close()
