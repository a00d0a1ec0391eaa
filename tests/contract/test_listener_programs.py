"""Programs that do with servers and listeners what real libraries do: on both modules."""

import concurrent.futures
import gc
import os
import select
import socket
import threading
from types import ModuleType
from typing import Any

import pytest

from tests.support import (
    Echo,
    answering,
    call,
    everything,
    hear,
    is_closed_by_server,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def test_a_server_that_connects_instead_of_listening(module: ModuleType) -> None:
    # idlelib's RPCServer.
    class RPCServer(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def server_bind(self) -> None:
            pass

        def server_activate(self) -> None:
            self.socket.connect(self.server_address)

        def get_request(self) -> tuple[Any, Any]:
            return self.socket, self.server_address

    with socket.create_server(HERE) as listener:
        server = RPCServer(listener.getsockname(), answering(b"connected"))
        peer, _ = listener.accept()
        with server, peer:
            peer.sendall(b"go")
            server.handle_request()
            peer.settimeout(20)
            assert peer.recv(100) == b"connected"


def test_a_program_selects_on_the_socket_and_then_handles_one_request(module: ModuleType) -> None:
    # logging.config's receiver.
    class Receiver(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        allow_reuse_address = True

        def __init__(self, handler: Any) -> None:
            super().__init__(HERE, handler)
            self.stop = threading.Event()
            self.timeout = 1

        def serve_until_stopped(self) -> None:
            while not self.stop.is_set():
                ready, _, _ = select.select([self.socket.fileno()], [], [], 0.02)
                if ready:
                    self.handle_request()
            self.server_close()

    receiver = Receiver(answering(b"configured"))
    thread = threading.Thread(target=receiver.serve_until_stopped, daemon=True)
    thread.start()
    assert [hear(receiver.server_address) for _ in range(3)] == [b"configured"] * 3
    receiver.stop.set()
    thread.join(20)
    assert receiver.socket.fileno() == -1


def test_werkzeug_swaps_the_listener_before_it_serves(module: ModuleType) -> None:
    with socket.create_server(HERE) as inherited:
        server = module.ThreadingTCPServer(("127.0.0.1", 1), answering(b"swapped"), False)
        server.socket.close()
        server.socket = socket.socket(fileno=os.dup(inherited.fileno()))
        server.server_address = server.socket.getsockname()
        with serving(server):
            assert hear(inherited.getsockname()) == b"swapped"


def test_patroni_runs_init_again_on_reload(module: ModuleType) -> None:
    class RestApiServer(module.ThreadingMixIn, module.TCPServer, threading.Thread):  # type: ignore[name-defined,misc]  # see above
        def __init__(self, answer: bytes) -> None:
            self._answer = answer
            self.executor = concurrent.futures.ThreadPoolExecutor(2)
            self.initialize()

        def initialize(self) -> None:
            module.TCPServer.__init__(self, HERE, answering(self._answer))
            threading.Thread.__init__(self, target=self.serve_forever, daemon=True)

        def reload(self, answer: bytes) -> None:
            self.shutdown()
            self.server_close()
            self._answer = answer
            self.initialize()
            self.start()

        def process_request(self, request: Any, client_address: Any) -> None:
            self.executor.submit(self.process_request_thread, request, client_address)

    server = RestApiServer(b"first")
    server.start()
    assert hear(server.server_address) == b"first"
    server.reload(b"second")
    assert hear(server.server_address) == b"second"
    server.shutdown()
    server.server_close()
    server.executor.shutdown()


def test_python_osc_s_verify_request_takes_the_pair_of_a_datagram(module: ModuleType) -> None:
    class Server(module.ThreadingUDPServer):  # type: ignore[name-defined,misc]  # see above
        request_queue_size = 300

        def verify_request(self, request: Any, client_address: Any) -> bool:
            data, listener = request
            return listener is self.socket and data.startswith(b"/")

    def handler(request: Any, client_address: Any, server: Any) -> None:
        request[1].sendto(b"done " + request[0], client_address)

    with (
        serving(Server(HERE, handler)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(20)
        peer.connect(server.server_address)
        peer.send(b"no message")
        peer.send(b"/play")
        assert peer.recv(100) == b"done /play"


def test_pymodbustcp_sets_attributes_on_the_class(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.ThreadingTCPServer, "address_family", socket.AF_INET6)
    monkeypatch.setattr(module.ThreadingTCPServer, "daemon_threads", True)

    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(str(threading.current_thread().daemon).encode())

    with serving(module.ThreadingTCPServer(("::1", 0, 0, 0), handler)) as server:
        assert hear(server.server_address) == b"True"


def test_acme_runs_both_ip_versions_on_one_port(module: ModuleType) -> None:
    class Four(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        allow_reuse_address = True

    class Six(Four):
        address_family = socket.AF_INET6

        def server_bind(self) -> None:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            super().server_bind()

    # IPv4 first: the port that it gets is hardly taken by a client's end in IPv6.
    with serving(Four(("0.0.0.0", 0), answering(b"four"))) as four:
        port = four.server_address[1]
        with serving(Six(("::", port), answering(b"six"))):
            assert hear(("::1", port)) == b"six"
            assert hear(("127.0.0.1", port)) == b"four"


def test_a_program_unsets_the_socket_when_it_stops(module: ModuleType) -> None:
    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        server._BaseServer__shutdown_request = True
        server.socket.close()
        server.socket = None

    server = module.TCPServer(HERE, handler)
    with call(server.server_address) as peer:
        server.serve_forever(0.02)
        assert is_closed_by_server(peer)


def test_an_attribute_called_engine_is_the_program_s_own(
    module: ModuleType, recwarn: pytest.WarningsRecorder
) -> None:
    class Instance(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def __init__(self) -> None:
            super().__init__(HERE, answering(b"served"))
            self.engine = {"a dictionary": "of a game"}

    class Unhashable(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        engine: Any = {"a dictionary": "of a game"}  # noqa: RUF012 - the program's own business

    with serving(Instance()) as server:
        assert hear(server.server_address) == b"served"
    assert not [warning for warning in recwarn if "engine" in str(warning.message)]
    with serving(Unhashable(HERE, answering(b"served"))) as server:
        assert hear(server.server_address) == b"served"


def test_get_request_of_the_program_wraps_tls(module: ModuleType, authority: Any) -> None:
    context = authority.server_context()

    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        def get_request(self) -> tuple[Any, Any]:
            connection, client_address = self.socket.accept()
            return context.wrap_socket(connection, server_side=True), client_address

    with (
        serving(Server(HERE, answering(b"secret"))) as server,
        call(server.server_address) as peer,
        authority.client_context().wrap_socket(peer, server_hostname="localhost") as secured,
    ):
        assert secured.recv(100) == b"secret"


def test_a_server_serves_without_a_socket(module: ModuleType) -> None:
    class Piped(module.BaseServer):  # type: ignore[name-defined,misc]  # a class of either module
        def fileno(self) -> int:
            return reader

        def get_request(self) -> tuple[bytes, None]:
            return os.read(reader, 1), None

    served: list[bytes] = []
    reader, writer = os.pipe()
    server = Piped("a pipe", lambda request, *_: served.append(request))
    with serving(server, poll_interval=0.01):
        for count in range(1, 5):
            os.write(writer, b"%d" % count)
            wait_until(lambda: len(served) == count)  # noqa: B023 - called here
    assert served == [b"1", b"2", b"3", b"4"]
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("method", ["handle_request", "serve_forever"])
def test_a_closed_listener_is_a_selector_s_error(module: ModuleType, method: str) -> None:
    server = module.TCPServer(HERE, Echo)
    server.server_close()
    with pytest.raises(ValueError, match=r"^Invalid file descriptor: -1$"):
        getattr(server, method)()


def test_a_connection_is_of_the_class_that_the_program_has_put_in_its_place(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(socket.socket):
        pass

    def handler(request: Any, *_: object) -> None:
        kinds.append(type(request))

    kinds: list[type] = []
    with module.TCPServer(HERE, handler) as server, call(server.server_address):
        monkeypatch.setattr(socket, "socket", Own)
        server.handle_request()
    assert kinds == [Own]


def test_a_connection_that_get_request_does_not_return_is_closed(module: ModuleType) -> None:
    class Stop(BaseException):
        pass

    class Stopped(module.TCPServer):  # type: ignore[name-defined,misc]  # a class of either module
        def get_request(self) -> Any:
            _accepted = super().get_request()
            raise Stop

    # No reference of ours keeps it: it is closed without a collection.
    gc.disable()
    try:
        with Stopped(HERE, Echo) as server, call(server.server_address) as peer:
            with pytest.raises(Stop) as raised:
                server.handle_request()
            del raised
            assert everything(peer) == b""
    finally:
        gc.enable()
