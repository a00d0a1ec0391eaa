"""Servers and clients that speak TLS."""

import contextlib
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


def shake_hands(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, name: str | None = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Do a handshake in memory; return what the server has of it, and what the client has."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    for party in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            party.do_handshake()
    with contextlib.suppress(ssl.SSLWantReadError):
        client.read()  # the session tickets
    return server, client


def host_names_shown(client: Any) -> list[str]:
    """Return the host names in the certificate that a client was shown and has verified."""
    return [name for kind, name in client.getpeercert()["subjectAltName"] if kind == "DNS"]


def shown(server_context: ssl.SSLContext, authority: Authority, name: str | None) -> list[str]:
    """Return the host names of the certificate that is shown to a client that calls `name`."""
    context = authority.client_context()
    context.check_hostname = name is not None
    _, client = shake_hands(server_context, context, name)
    return host_names_shown(client)
