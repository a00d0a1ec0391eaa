"""What tests of programs pin: the same on the standard library and on ours."""

import contextlib
import signal
import socket
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import ANY, patch

import pytest

from tests.support import (
    answering,
    call,
    everything,
    hear,
    server_class,
    serving,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork", "ignore:forking a server process")


def test_a_plain_server_runs_handlers_in_the_calling_thread(module: ModuleType) -> None:
    threads = []

    def handler(*_: object) -> None:
        threads.append(threading.current_thread())

    with module.TCPServer(HERE, handler) as server, call(server.server_address):
        server.handle_request()
    assert threads == [threading.current_thread()]


def test_handle_request_works_alone(module: ModuleType, engine: str) -> None:
    with (
        server_class(engine, module)(HERE, answering(b"alone")) as server,
        call(server.server_address) as peer,
    ):
        server.handle_request()
        assert everything(peer) == b"alone"


def test_handle_request_returns_what_an_overridden_hook_returns(module: ModuleType) -> None:
    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # a class of either module
        def _handle_request_noblock(self) -> str:
            super()._handle_request_noblock()
            return "served"

    with Server(HERE, answering(b"")) as server, call(server.server_address):
        assert server.handle_request() == "served"


def test_a_handler_is_made_as_its_class_makes_it(module: ModuleType) -> None:
    class Handler(module.BaseRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def __getattribute__(self, name: str) -> Any:
            if name == "__init__":
                raise AttributeError(name)
            return super().__getattribute__(name)

        def handle(self) -> None:
            self.request.sendall(b"made")

    with module.TCPServer(HERE, Handler) as server, call(server.server_address) as peer:
        server.handle_request()
        assert everything(peer) == b"made"


def test_a_handler_whose_constructor_returns_something_is_an_error(module: ModuleType) -> None:
    errors = []

    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def handle_error(self, request: Any, client_address: Any) -> None:
            errors.append(str(sys.exception()))

    class Handler(module.BaseRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            return self  # type: ignore[return-value]  # the mistake  # noqa: PLE0101

    with Server(HERE, Handler) as server, call(server.server_address):
        server.handle_request()
    (error,) = errors
    assert error == "__init__() should return None, not 'Handler'"


def test_a_constructor_that_a_test_has_replaced_is_called_as_the_class_calls_it(
    module: ModuleType,
) -> None:
    class Handler(module.BaseRequestHandler):  # type: ignore[name-defined,misc]  # see above
        pass

    with (
        module.TCPServer(HERE, Handler) as server,
        call(server.server_address) as peer,
        patch.object(Handler, "__init__", return_value=None) as replaced,
    ):
        server.handle_request()
        replaced.assert_called_once_with(ANY, peer.getsockname(), server)


@pytest.mark.parametrize("way", ["the server's", "the socket's", "the shorter"])
def test_handle_request_honours_timeouts(module: ModuleType, way: str) -> None:
    class Impatient(module.TCPServer):  # type: ignore[name-defined,misc]  # a class of either module
        timed_out = 0

        def handle_timeout(self) -> None:
            self.timed_out += 1

    with Impatient(HERE, module.BaseRequestHandler) as server:
        if way != "the socket's":
            server.timeout = 0.02
        if way != "the server's":
            server.socket.settimeout(0.02 if way == "the socket's" else 1000)
        server.handle_request()
        assert server.timed_out == 1


def test_a_signal_does_not_truncate_a_write(module: ModuleType) -> None:
    written, size = [], 2_000_000

    class Talker(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def handle(self) -> None:
            written.append(self.wfile.write(b"x" * size))

    main = threading.get_ident()
    received: list[int] = []

    def client(address: Any) -> None:
        with call(address) as peer:
            peer.recv(1)
            signal.pthread_kill(main, signal.SIGUSR1)
            received.append(1 + len(everything(peer)))

    signals: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: signals.append(1))
    try:
        with module.TCPServer(HERE, Talker) as server:
            thread = threading.Thread(target=client, args=[server.server_address])
            thread.start()
            server.handle_request()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (written, received, signals) == ([size], [size], [1])


def test_handle_error_runs_with_the_exception_active(module: ModuleType, engine: str) -> None:
    class Server(server_class(engine, module)):  # type: ignore[misc]  # see above
        def handle_error(self, request: socket.socket, client_address: Any) -> None:
            # sshtunnel asks the socket, which is still open.
            assert request.getsockname() == self.server_address
            try:
                raise  # noqa: PLE0704 - programs do it here
            except ZeroDivisionError:
                request.sendall(str(sys.exc_info()[1]).encode())

    def handler(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    with serving(Server(HERE, handler)) as server:
        assert hear(server.server_address) == b"by zero"


def test_shutdown_request_runs_even_when_verify_request_is_false(
    module: ModuleType, engine: str
) -> None:
    shut: list[Any] = []

    class Picky(server_class(engine, module)):  # type: ignore[misc]  # see above
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return False

        def shutdown_request(self, request: Any) -> None:
            shut.append(request)
            super().shutdown_request(request)

    with serving(Picky(HERE, answering(b"served"))) as server:
        assert hear(server.server_address) == b""
        assert len(shut) == 1


def test_an_overridden_shutdown_request_is_honoured(module: ModuleType, engine: str) -> None:
    class Polite(server_class(engine, module)):  # type: ignore[misc]  # see above
        def shutdown_request(self, request: socket.socket) -> None:
            request.sendall(b"goodbye")
            super().shutdown_request(request)

    with serving(Polite(HERE, answering(b"hello "))) as server:
        assert hear(server.server_address) == b"hello goodbye"


def test_base_server_serves_what_is_no_socket(module: ModuleType) -> None:
    # wsgiref's tests call only BaseServer.__init__, and finish_request with a pair of files.
    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def __init__(self, address: Any, handler: Any) -> None:
            module.BaseServer.__init__(self, address, handler)

    served = []
    server = Server(("127.0.0.1", 80), lambda *arguments: served.append(arguments))
    server.finish_request(("in", "out"), ("127.0.0.1", 8888))
    assert served == [(("in", "out"), ("127.0.0.1", 8888), server)]


@pytest.mark.parametrize("mix_in", ["ThreadingMixIn", "ForkingMixIn"])
def test_a_mix_in_stands_on_a_class_that_is_no_server(module: ModuleType, mix_in: str) -> None:
    # Django asks isinstance(server, ThreadingMixIn) of such a stub; others also serve with it.
    ours, theirs = socket.socketpair()

    class Stub(getattr(module, mix_in)):  # type: ignore[misc]  # see above
        def finish_request(self, request: socket.socket, client_address: Any) -> None:
            request.sendall(b"served")

        def shutdown_request(self, request: socket.socket) -> None:
            request.close()

        close_request = shutdown_request

    stub = Stub()
    assert isinstance(stub, getattr(module, mix_in))
    with theirs:
        stub.process_request(ours, "nobody")
        assert everything(theirs) == b"served"
    if mix_in == "ForkingMixIn":
        stub.collect_children(blocking=True)


def test_a_datagram_handler_gets_the_pair(module: ModuleType) -> None:
    class Handler(module.DatagramRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def handle(self) -> None:
            data, listener = self.request
            assert (data, listener) == (self.packet, self.server.socket)
            assert self.rfile.read() == data
            self.wfile.write(data.upper() + str(self.client_address[1]).encode())

    with (
        serving(module.UDPServer(HERE, Handler)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(20)
        peer.connect(server.server_address)
        peer.send(b"hello")
        assert peer.recv(100) == b"HELLO" + str(peer.getsockname()[1]).encode()


def test_a_stream_handler_has_its_names(module: ModuleType, engine: str) -> None:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # see above
        timeout = 5
        disable_nagle_algorithm = True
        wbufsize = -1

        def handle(self) -> None:
            assert self.request is self.connection
            assert self.client_address == self.request.getpeername()
            assert self.server.server_address == self.request.getsockname()
            assert self.request.gettimeout() == 5
            assert self.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert self.rfile.raw._sock is self.request
            self.wfile.write(b"sent by finish")

    with serving(server_class(engine, module)(HERE, Handler)) as server:
        assert hear(server.server_address) == b"sent by finish"


def test_the_traceback_is_printed_as_ever(
    module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    with module.TCPServer(HERE, handler) as server, call(server.server_address) as peer:
        server.handle_request()
        address = peer.getsockname()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == lines[-1] == "-" * 40
    assert lines[1] == f"Exception occurred during processing of request from {address}"
    assert lines[-2] == "ZeroDivisionError: by zero"


def test_a_namespace_is_enough_of_a_server_for_a_handler(module: ModuleType) -> None:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())

    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), theirs:
        theirs.sendall(b"line\n")
        Handler(ours, "nobody", SimpleNamespace())
        assert theirs.recv(100) == b"line\n"
