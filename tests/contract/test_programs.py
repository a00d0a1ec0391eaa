"""Programs that do with handlers and threads what real libraries do: on both modules."""

import contextlib
import fcntl
import gc
import os
import select
import socket
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from tests.support import answering, ask, call, everything, hear, serving, wait_until

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def test_a_handler_hands_its_socket_off_and_the_server_does_not_close_it(
    module: ModuleType,
) -> None:
    # pynetdicom: process_request_thread skips shutdown_request when all went well.
    handed_off: list[socket.socket] = []

    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # of either module
        ticks = 0

        def server_bind(self) -> None:
            super().server_bind()
            self.socket.settimeout(60)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                self.finish_request(request, client_address)
            except Exception:  # noqa: BLE001 - as the library has it
                self.handle_error(request, client_address)
                self.shutdown_request(request)

        def service_actions(self) -> None:
            self.ticks += 1
            gc.collect(0)

        def shutdown(self) -> None:
            super().shutdown()
            self.server_close()

    server = Server(HERE, lambda request, *_: handed_off.append(request))
    with serving(server, poll_interval=0.01), call(server.server_address) as peer:
        wait_until(lambda: handed_off)
        ticks = server.ticks
        wait_until(lambda: server.ticks > ticks + 5)  # about every poll_interval
        handed_off[0].sendall(b"after handle()")
        handed_off[0].close()
        assert everything(peer) == b"after handle()"


def test_a_process_request_of_the_program_s_own_serves_in_its_thread(module: ModuleType) -> None:
    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        def process_request(self, request: Any, client_address: Any) -> None:
            self.finish_request(request, client_address)
            self.shutdown_request(request)

    def handler(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(threading.current_thread().name.encode())

    with module.ThreadingTCPServer(HERE, None), serving(Server(HERE, handler)) as server:
        assert b"process_request_thread" not in hear(server.server_address)


def test_a_socket_that_is_never_closed_is_closed_when_it_is_forgotten(module: ModuleType) -> None:
    # A weak reference to a connection is all that a server may keep after the handler.
    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        def shutdown_request(self, request: Any) -> None:
            """Leave it to the garbage collector."""

    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(10))

    with serving(Server(HERE, handler)) as server, call(server.server_address) as peer:
        time.sleep(0.05)  # the loop is asleep again when the handler ends
        peer.sendall(b"served")
        peer.settimeout(5)
        assert everything(peer) == b"served"


def test_django_s_threaded_server(module: ModuleType) -> None:
    class WSGIServer(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        request_queue_size = 10

    class ThreadedWSGIServer(module.ThreadingMixIn, WSGIServer):  # type: ignore[name-defined,misc]  # see above
        daemon_threads = True

        def __init__(self, *arguments: Any, alias: str) -> None:
            super().__init__(*arguments)
            self.alias = alias
            self.closed: list[str] = []

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            self.closed.append(self.alias)
            super().process_request_thread(request, client_address)

        def close_request(self, request: Any) -> None:
            self.closed.append(threading.current_thread().name)
            super().close_request(request)

    made = type("WSGIServer", (module.ThreadingMixIn, WSGIServer), {})
    assert isinstance(made.__new__(made), module.ThreadingMixIn)
    with serving(ThreadedWSGIServer(HERE, answering(b"page"), alias="default")) as server:
        assert hear(server.server_address) == b"page"
        wait_until(lambda: len(server.closed) == 2)
    assert server.closed[0] == "default"
    assert "process_request_thread" in server.closed[1]


def test_the_server_s_timeout_is_the_handler_s_in_hl7apy(module: ModuleType) -> None:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def setup(self) -> None:
            self.timeout = self.server.timeout
            super().setup()

        def handle(self) -> None:
            self.wfile.write(str(self.request.gettimeout()).encode())

    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        def __init__(self, timeout: float) -> None:
            self.timeout = timeout
            super().__init__(HERE, Handler)

    with serving(Server(timeout=0.05), poll_interval=0.5) as server:
        time.sleep(0.1)  # longer than the server's timeout, which concerns no loop
        assert hear(server.server_address) == b"0.05"


def test_ospd_gives_handle_request_another_meaning(module: ModuleType) -> None:
    class Handler(module.BaseRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def handle(self) -> None:
            self.server.handle_request(self.request, self.client_address)

    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        def handle_request(self, request: Any, client_address: Any) -> None:
            # The library detaches the request into a TLS socket.
            with socket.socket(fileno=request.detach()) as stream:
                stream.sendall(str(client_address[1]).encode())

    with serving(Server(HERE, Handler)) as server, call(server.server_address) as peer:
        assert everything(peer) == str(peer.getsockname()[1]).encode()


def test_impacket_takes_the_thread_s_name_for_the_connection_s(module: ModuleType) -> None:
    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(threading.current_thread().name.encode())
        request.recv(1)

    with (
        serving(module.ThreadingTCPServer(HERE, handler)) as server,
        contextlib.ExitStack() as stack,
    ):
        names = set()
        for _ in range(20):
            names.add(stack.enter_context(call(server.server_address)).recv(100))
        for _ in range(5):
            stack.pop_all().close()
            with call(server.server_address) as peer:
                names.add(peer.recv(100))
    assert len(names) == 25
    assert all(name.startswith(b"Thread-") for name in names)


def test_thread_locals_of_one_connection_do_not_reach_the_next(module: ModuleType) -> None:
    local, freed = threading.local(), []

    class Resource:
        def __del__(self) -> None:
            # Not current_thread(): `threading` has forgotten the thread already, and would make a dummy for
            # it, which CPython 3.13 complains about at exit.
            freed.append(threading.get_ident())

    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"leaked" if hasattr(local, "resource") else b"fresh")
        local.resource = Resource()

    with serving(module.ThreadingTCPServer(HERE, handler)) as server:
        assert [hear(server.server_address) for _ in range(10)] == [b"fresh"] * 10
        wait_until(lambda: len(freed) == 10)
    assert threading.main_thread().ident not in freed


def test_fakeredis_makes_the_connection_non_blocking_by_its_descriptor(module: ModuleType) -> None:
    class Handler(module.StreamRequestHandler):  # type: ignore[name-defined,misc]  # see above
        def handle(self) -> None:
            descriptor = self.rfile.fileno()
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
            select.select([self.request], [], [])
            self.wfile.write(self.rfile.readline())

    with serving(module.ThreadingTCPServer(HERE, Handler)) as server:
        assert ask(server.server_address, b"PING\n") == b"PING\n"


def test_a_plain_handler_function_and_a_class_method_serve_alike(module: ModuleType) -> None:
    class Application:
        def serve(self, request: socket.socket, client_address: Any, server: Any) -> None:
            request.sendall(b"method")

    with serving(module.ThreadingTCPServer(HERE, Application().serve)) as server:
        assert hear(server.server_address) == b"method"
