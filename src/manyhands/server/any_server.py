"""What tools that look at a server take: a `manyhands.Server`, or a server of `manyhands.socketserver`."""

import socketserver as standard
from typing import Any, TypeAlias

from manyhands.dropin.base import BaseServer
from manyhands.server.server import Server

AnyServer: TypeAlias = Server | BaseServer | standard.BaseServer
"""Any server of ours: a mix-in of ours may stand on a class of the standard library's, too."""


def listeners_of(server: AnyServer) -> tuple[Any, ...]:
    """Return the listeners of a server, of a drop-in class the server itself; none while it has none."""
    return server.listeners if isinstance(server, Server) else (server,)
