"""What the tests of servers behind a balancer share."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from manyhands import events, socketserver
from manyhands.model.connection_states import Reason
from manyhands.proxy import Tlv, TlvType, encode_v1, encode_v2
from tests.support import call, everything, server_class, serving, wait_until

HERE = ("127.0.0.1", 0)

CLIENT, SERVICE = ("192.0.2.1", 56324), ("192.0.2.2", 443)
CLIENT_6, SERVICE_6 = ("2001:db8::1", 56324, 0, 0), ("2001:db8::2", 443, 0, 0)

V1 = encode_v1(CLIENT, SERVICE)
V2 = encode_v2(CLIENT, SERVICE)
WITH_NAME = encode_v2(
    CLIENT, SERVICE, tlvs=[Tlv(TlvType.AUTHORITY, b"shop.example")], has_checksum=True
)


class Tell(socketserver.StreamRequestHandler):
    """Answers a line with the client's address."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(repr(self.client_address).encode())


class Never(socketserver.BaseRequestHandler):
    """Fails the test when it gets to run."""

    def setup(self) -> None:
        raise AssertionError("a handler ran without a PROXY header")


def behind_a_balancer(engine: str, handler: Any = Tell, **attributes: Any) -> Any:
    """Make a drop-in server that requires headers."""
    kind = server_class(engine)
    own = {"proxy_protocol": True, **attributes}
    return type(kind.__name__, (kind,), own)(HERE, handler)


@contextlib.contextmanager
def balanced(engine: str, handler: Any = Tell, **attributes: Any) -> Iterator[Any]:
    """Run a drop-in server that requires headers, with a detailed registry."""
    with serving(behind_a_balancer(engine, handler, **attributes), 0.02) as server:
        assert len(server.connections) == 0
        yield server


def say(address: Any, *pieces: bytes) -> bytes:
    """Send the pieces, each for itself, and return the whole answer."""
    with call(address) as peer:
        if peer.family != socket.AF_UNIX:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The server may have closed the connection before.
        with contextlib.suppress(OSError):
            for piece in pieces:
                peer.sendall(piece)
            peer.shutdown(socket.SHUT_WR)
        return everything(peer)


def wait_for(server: Any, reason: Reason, count: int = 1) -> None:
    """Wait until the registry has counted so many connections, all of them closed for one reason."""
    wait_until(lambda: server.connections.closed == {reason: count})
    assert server.connections.balance == (count, 0, count)


def bad_headers(seen: list[events.Event]) -> list[events.BadProxyHeader]:
    return [event for event in seen if isinstance(event, events.BadProxyHeader)]
