"""Servers and clients that speak TLS."""

import ssl
from typing import Any

from manyhands.testing import call

from .certificates import Authority


def secured(
    server: Any, authority: Authority, context: ssl.SSLContext | None = None, **options: Any
) -> Any:
    """Wrap the listening socket, as the usual recipe has it."""
    context = context or authority.server_context()
    server.socket = context.wrap_socket(server.socket, server_side=True, **options)
    return server


def ask_secretly(
    address: Any,
    authority: Authority,
    line: bytes = b"hello\n",
    context: ssl.SSLContext | None = None,
) -> bytes:
    """Call, shake hands, say one line, and return what is answered."""
    context = context or authority.client_context()
    with call(address) as plain, context.wrap_socket(plain, server_hostname="localhost") as peer:
        peer.sendall(line)
        answer: bytes = peer.recv(100)
        return answer
