"""A handler that reads on at the end of its input, again and again."""

import ssl
import time
from typing import Any

import pytest

from manyhands import BaseRequestHandler, FiberTCPServer, StreamRequestHandler, events
from tests.support import Authority, ask, call, serving, wait_until

HERE = ("127.0.0.1", 0)


class Spinning(StreamRequestHandler):
    """Echoes lines, and takes the end of its input for a line that has not come yet."""

    def read(self) -> bytes:
        raise NotImplementedError

    def handle(self) -> None:
        deadline = time.monotonic() + 20
        while not self.server.is_over and time.monotonic() < deadline:
            self.wfile.write(self.read())


class ByLine(Spinning):
    def read(self) -> bytes:
        return self.rfile.readline()


class ByRecv(Spinning):
    def read(self) -> bytes:
        return self.request.recv(100)


class ByRecvInto(Spinning):
    def read(self) -> bytes:
        buffer = bytearray(100)
        return bytes(buffer[: self.request.recv_into(buffer)])


class Server(FiberTCPServer):
    is_over = False


def told(seen: list[events.Event]) -> list[events.HandlerSpins]:
    return [event for event in seen if isinstance(event, events.HandlerSpins)]


@pytest.mark.parametrize("handler", [ByLine, ByRecv, ByRecvInto])
def test_it_is_named_and_slowed_down_while_others_are_served(
    seen: list[events.Event], handler: type[BaseRequestHandler]
) -> None:
    with serving(Server(HERE, handler)) as server, call(server.server_address) as peer:
        peer.sendall(b"hello\n")
        assert peer.recv(100) == b"hello\n"
        name = peer.getsockname()
        peer.shutdown(1)
        wait_until(lambda: told(seen))
        before = time.process_time()
        with call(server.server_address) as other:
            for _ in range(10):
                other.sendall(b"hello\n")
                assert other.recv(100) == b"hello\n"
                time.sleep(0.02)
            assert time.process_time() - before < 0.1
            # Before it closes, from when on its handler spins, too.
            server.is_over = True
    (event,) = told(seen)
    assert (event.peer, event.times) == (name, 1000)
    assert event.handler.endswith(handler.__name__)
    assert "in read" in event.stack


def test_on_tls_too(seen: list[events.Event], authority: Authority) -> None:
    class Secure(Server):
        def get_request(self) -> Any:
            request, address = super().get_request()
            context = authority.server_context()
            return context.wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            ), address

    with serving(Secure(HERE, ByRecv)) as server:
        client = authority.client_context()
        with client.wrap_socket(call(server.server_address), server_hostname="localhost") as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(100) == b"hello\n"
            peer.setblocking(False)
            with pytest.raises(ssl.SSLWantReadError):
                peer.unwrap()  # close_notify is sent, and the server's does not come
            wait_until(lambda: told(seen))
            server.is_over = True


def test_a_handler_that_reads_the_end_a_few_times_is_none(seen: list[events.Event]) -> None:
    def patient(request: Any, client_address: Any, server: Any) -> None:
        assert [request.recv(10) for _ in range(100)][-1] == b""

    with serving(FiberTCPServer(HERE, patient)) as server:
        assert ask(server.server_address, b"bye") == b""
    assert not told(seen)
