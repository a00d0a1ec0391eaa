"""What the tests of TLS connections share that a hook uses before their handshake."""

import ssl
from typing import Any

from manyhands import events, socketserver
from tests.support import (
    call,
    everything,
)

HERE = ("127.0.0.1", 0)


class Answer(socketserver.StreamRequestHandler):
    """Answers one line."""

    def handle(self) -> None:
        assert type(self.request) is ssl.SSLSocket
        assert self.request.gettimeout() is None
        self.wfile.write(self.rfile.readline())


class Never(socketserver.BaseRequestHandler):
    """Fails the test when it gets to run."""

    def setup(self) -> None:
        raise AssertionError("a handler ran without a handshake")


def failures(seen: list[events.Event]) -> list[events.HandshakeFailed]:
    return [event for event in seen if isinstance(event, events.HandshakeFailed)]


def speak_no_tls(address: Any) -> bytes:
    with call(address) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return everything(peer)
