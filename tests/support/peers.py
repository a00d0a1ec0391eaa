"""Peers: what of them is only for these tests. The rest is in the public kit."""

import socket
from pathlib import Path

from manyhands.listening.proc_net import LISTENING, entries_in
from manyhands.testing import everything


def is_closed_by_server(peer: socket.socket) -> bool:
    """Return whether the server closes the connection of a peer without having sent anything."""
    return everything(peer) == b""


def received(peer: socket.socket, size: int) -> bytes:
    """Return so many bytes that a peer receives."""
    got = bytearray()
    while len(got) < size:
        data = peer.recv(65536)
        assert data, got[-100:]
        got += data
    return bytes(got)


def is_listening(port: int) -> bool:
    """Tell, without connecting, whether any socket still listens on a TCP port of IPv4."""
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    return any(entry.state == LISTENING for entry in entries_in(table, port))
