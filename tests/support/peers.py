"""Peers: what of them is only for these tests. The rest is in the public kit."""

import socket
from pathlib import Path

from manyhands.listening.proc_net import LISTENING, sockets_on
from manyhands.testing import everything


def is_hung_up(peer: socket.socket) -> bool:
    """Tell whether the server has hung up on a peer to which it has said nothing."""
    return everything(peer) == b""


def is_listening(port: int) -> bool:
    """Tell, without calling, whether anybody's socket still listens on a TCP port of IPv4."""
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    return any(state == LISTENING for state, _ in sockets_on(port, table))
