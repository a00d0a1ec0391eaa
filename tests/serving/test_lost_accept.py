"""A listener is readable, and another process takes the client: the loop must not wait for the next one."""

import socket
from typing import Any

import pytest

from manyhands import FiberTCPServer
from tests.support import Authority, Echo, ask, ask_secretly, call, run_python, secured, serving

HERE = ("127.0.0.1", 0)


class Beaten(FiberTCPServer):
    """Loses its second client to a quicker process."""

    def __init__(self) -> None:
        super().__init__(HERE, Echo)
        self.clients = 0
        self.taken: list[socket.socket] = []

    def get_request(self) -> Any:
        self.clients += 1
        if self.clients == 2:
            self.taken.append(socket.socket.accept(self.socket)[0])
        return super().get_request()

    def server_close(self) -> None:
        super().server_close()
        for connection in getattr(self, "taken", []):
            connection.close()


def test_a_listener_with_a_timeout_holds_up_no_connection() -> None:
    server = Beaten()
    server.socket.settimeout(3600)
    with serving(server), call(server.server_address) as peer:
        peer.sendall(b"one\n")
        assert peer.recv(10) == b"one\n"
        with call(server.server_address):
            peer.sendall(b"two\n")
            assert peer.recv(10) == b"two\n"
            assert ask(server.server_address) == b"hello\n"


def test_a_tls_listener_with_a_timeout_holds_up_no_connection(authority: Authority) -> None:
    server = secured(Beaten(), authority)
    server.socket.settimeout(3600)
    context = authority.client_context()
    with (
        serving(server),
        context.wrap_socket(call(server.server_address), server_hostname="localhost") as peer,
    ):
        peer.sendall(b"one\n")
        assert peer.recv(10) == b"one\n"
        with call(server.server_address):
            peer.sendall(b"two\n")
            assert peer.recv(10) == b"two\n"
            assert ask_secretly(server.server_address, authority) == b"hello\n"


@pytest.mark.parametrize("is_tls", [False, True])
def test_under_gevent_monkey_the_loop_goes_on_too(is_tls: bool) -> None:
    program = """
        from gevent import monkey
        monkey.patch_all()
        import threading
        from tests.serving.test_lost_accept import Beaten
        from tests.support import Authority, call, secured

        server = secured(Beaten(), Authority()) if IS_TLS else Beaten()
        server.clients = 1
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with call(server.server_address):
            while not server.taken:
                threading.Event().wait(0.001)
            server.shutdown()
            print("ended")
    """
    assert run_python(program.replace("IS_TLS", str(is_tls))) == "ended\n"


def test_what_a_tls_listener_with_a_timeout_accepts_waits_without_one(
    authority: Authority,
) -> None:
    timeouts: list[float | None] = []

    def tell(request: Any, client_address: Any, server: Any) -> None:
        timeouts.append(request.gettimeout())
        request.sendall(request.recv(100))

    server = secured(FiberTCPServer(HERE, tell), authority)
    server.socket.settimeout(3600)
    with serving(server):
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    assert timeouts == [None]
