"""Peers: sockets that call a server, as clients do."""

import contextlib
import socket
from pathlib import Path
from typing import Any

from manyhands.binding.port_holder import LISTENING, sockets_on

from .waiting import PATIENCE


def call(address: Any) -> socket.socket:
    """Connect to the address of a stream server; close what this returns."""
    family = socket.AF_UNIX if isinstance(address, str | bytes) else socket.AF_INET
    if isinstance(address, tuple) and ":" in address[0]:
        family = socket.AF_INET6
    peer = socket.socket(family, socket.SOCK_STREAM)
    peer.settimeout(PATIENCE)
    try:
        peer.connect(address)
    except BaseException:
        peer.close()
        raise
    return peer


def everything(peer: socket.socket) -> bytes:
    """Receive until the server has hung up."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := peer.recv(65536):
            received += data
    return received


def hear(address: Any) -> bytes:
    """Call, say nothing, and return all that the server says; what it resets counts as silence."""
    with call(address) as peer:
        return everything(peer)


def ask(address: Any, line: bytes = b"hello\n") -> bytes:
    """Call, say one line to a server that reads it, say that no more comes, and return the answer."""
    with call(address) as peer:
        peer.sendall(line)
        peer.shutdown(socket.SHUT_WR)
        return everything(peer)


def is_hung_up(peer: socket.socket) -> bool:
    """Tell whether the server has hung up on a peer to which it has said nothing."""
    return everything(peer) == b""


def is_listening(port: int) -> bool:
    """Tell, without calling, whether anybody's socket still listens on a TCP port of IPv4."""
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    return any(state == LISTENING for state, _ in sockets_on(port, table))
