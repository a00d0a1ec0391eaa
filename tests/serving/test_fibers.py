"""What is particular to servers on fibers."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

import manyhands
from manyhands import (
    BaseRequestHandler,
    DatagramRequestHandler,
    FiberMixIn,
    FiberTCPServer,
    FiberUDPServer,
    FiberUnixDatagramServer,
    FiberUnixStreamServer,
    StreamRequestHandler,
    TCPServer,
    events,
    socketserver,
)
from manyhands.server import Server
from tests.support import (
    Authority,
    Echo,
    ask,
    call,
    everything,
    hear,
    reset,
    run_python,
    serving,
    wait_until,
)
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)


class Shout(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


def os_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_the_family_is_looked_up_as_people_learn_it() -> None:
    names = [kind.__name__ for kind in FiberTCPServer.__mro__]
    assert names == ["FiberTCPServer", "FiberMixIn", "TCPServer", "BaseServer", "object"]
    assert socketserver.FiberTCPServer is FiberTCPServer
    assert "FiberTCPServer" not in socketserver.__all__
    with pytest.raises(AttributeError, match="FiberSteamServer"):
        _ = socketserver.FiberSteamServer


def test_a_crowd_of_idle_clients_costs_no_threads() -> None:
    with serving(FiberTCPServer(HERE, Echo)) as server:
        assert ask(server.server_address) == b"hello\n"
        before = os_threads()
        crowd = [call(server.server_address) for _ in range(300)]
        for peer in crowd:
            peer.sendall(b"hello\n")
        for peer in crowd:
            assert peer.recv(10) == b"hello\n"
        assert os_threads() <= before  # what an earlier server had may end meanwhile
        for peer in crowd:
            peer.close()


def test_connections_go_on_when_the_thread_that_served_has_gone() -> None:
    server = FiberTCPServer(HERE, Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with call(server.server_address) as peer:
        peer.sendall(b"one\n")
        assert peer.recv(10) == b"one\n"
        server.shutdown()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        peer.sendall(b"two\n")
        assert peer.recv(10) == b"two\n"
    server.server_close()


def test_unix_streams_are_served(tmp_path: Any) -> None:
    with serving(FiberUnixStreamServer(str(tmp_path / "echo.sock"), Echo)) as server:
        assert ask(server.server_address) == b"hello\n"


def test_datagrams_are_answered_and_the_port_is_free_afterwards() -> None:
    server = FiberUDPServer(HERE, Shout)
    address = server.server_address
    with serving(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        for word in (b"one", b"two"):
            peer.sendto(word, address)
            assert peer.recv(10) == word.upper()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as successor:
        successor.bind(address)


def test_a_full_receiver_of_unix_datagrams_holds_up_its_fiber_alone(tmp_path: Any) -> None:
    class Flood(BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            for _ in range(2000 if data == b"flood" else 1):
                sock.sendto(b"x" * 1000, self.client_address)

    def peer(name: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(tmp_path / name))
        sock.settimeout(PATIENCE)
        return sock

    path = str(tmp_path / "server")
    with serving(FiberUnixDatagramServer(path, Flood)), peer("a") as slow, peer("b") as quick:
        slow.sendto(b"flood", path)
        assert len(slow.recv(2000)) == 1000
        quick.sendto(b"hello", path)
        assert len(quick.recv(2000)) == 1000
        for _ in range(1999):
            slow.recv(2000)


def test_as_many_are_served_as_may_be_and_the_rest_waits(seen: list[events.Event]) -> None:
    class Server(FiberTCPServer):
        max_fibers = 2

    with serving(Server(HERE, Echo)) as server:
        first, second, third = (call(server.server_address) for _ in range(3))
        for peer in (first, second, third):
            peer.sendall(b"hello\n")
        assert first.recv(10) == second.recv(10) == b"hello\n"
        wait_until(lambda: any(isinstance(event, events.EngineFull) for event in seen))
        first.close()
        assert third.recv(10) == b"hello\n"
        second.close()
        third.close()


def test_the_block_of_a_handler_is_found_and_named(seen: list[events.Event]) -> None:
    class Rude(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"working\n")
            deadline = time.monotonic() + PATIENCE
            while not is_told() and time.monotonic() < deadline:
                time.sleep(0.01)

    def is_told() -> bool:
        return any(isinstance(event, events.HubBlocked) for event in seen)

    class Server(FiberTCPServer):
        hub_block_time = 0.05

    with serving(Server(HERE, Rude)) as server, call(server.server_address) as peer:
        name = peer.getsockname()
        everything(peer)
        wait_until(lambda: any(isinstance(event, events.HubUnblocked) for event in seen))
    (blocked,) = (event for event in seen if isinstance(event, events.HubBlocked))
    assert blocked.handler.endswith("Rude")
    assert blocked.peer == name
    assert blocked.seconds >= 0.05
    assert blocked.cause == "it waits in C code"
    assert "in handle" in blocked.stack


def test_a_fiber_that_waits_blocks_no_other_and_is_no_event(seen: list[events.Event]) -> None:
    class Server(FiberTCPServer):
        hub_block_time = 0.02

    with serving(Server(HERE, Echo)) as server, call(server.server_address) as peer:
        gevent.sleep(0.1)
        peer.sendall(b"hello\n")
        assert peer.recv(10) == b"hello\n"
    assert not [event for event in seen if isinstance(event, events.HubBlocked)]


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "FiberTCPServer"])
def test_a_blocking_call_runs_on_every_engine(kind: str) -> None:
    class Asking(StreamRequestHandler):
        def handle(self) -> None:
            answer = manyhands.blocking(os.path.join, "a", b"b".decode())
            self.wfile.write(answer.encode())
            try:
                manyhands.blocking(int, "no number", base=10)
            except ValueError:
                self.wfile.write(b", and its errors")

    with serving(getattr(manyhands, kind)(HERE, Asking)) as server:
        assert hear(server.server_address) == b"a/b, and its errors"


def test_a_blocking_call_lets_other_fibers_run(seen: list[events.Event]) -> None:
    release = threading.Event()

    class Waiting(StreamRequestHandler):
        def handle(self) -> None:
            if self.rfile.readline() == b"wait\n":
                assert manyhands.blocking(release.wait, PATIENCE)
            self.wfile.write(b"done\n")

    with serving(FiberTCPServer(HERE, Waiting)) as server, call(server.server_address) as slow:
        slow.sendall(b"wait\n")
        assert ask(server.server_address) == b"done\n"
        release.set()
        assert slow.recv(10) == b"done\n"
    assert not [event for event in seen if isinstance(event, events.HubBlocked)]


def test_an_ordinary_thread_hands_data_to_a_connection() -> None:
    connections: list[Any] = []

    class Listening(StreamRequestHandler):
        def handle(self) -> None:
            connections.append(self.connection)
            self.rfile.read()

    with serving(FiberTCPServer(HERE, Listening)) as server, call(server.server_address) as peer:
        wait_until(lambda: connections)
        connections[0].sendall(b"from outside")
        assert peer.recv(100) == b"from outside"


def test_several_fiber_servers_live_beside_asyncio_and_threads() -> None:
    class Other(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"the other\n")

    async def ask_in_asyncio(address: tuple[str, int]) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        return line

    with serving(FiberTCPServer(HERE, Echo)) as one, serving(FiberTCPServer(HERE, Other)) as two:
        assert asyncio.run(ask_in_asyncio(one.server_address)) == b"hello\n"
        assert asyncio.run(ask_in_asyncio(two.server_address)) == b"the other\n"
        assert socket.socket is not gevent.socket.socket
        assert threading.Event is not gevent.event.Event


def test_tls_begins_on_an_open_connection(authority: Authority) -> None:
    context = authority.server_context()

    class StartTLS(BaseRequestHandler):
        def handle(self) -> None:
            assert self.request.recv(100) == b"STARTTLS\n"
            self.request.sendall(b"go ahead\n")
            self.request = context.wrap_socket(self.request, server_side=True)
            assert isinstance(self.request, ssl.SSLSocket)
            self.request.sendall(self.request.recv(100).upper())

    with (
        serving(FiberTCPServer(HERE, StartTLS)) as server,
        call(server.server_address) as silent,
        call(server.server_address) as plain,
    ):
        # Another client's handshake, which never comes, holds up no fiber.
        silent.sendall(b"STARTTLS\n")
        assert silent.recv(100) == b"go ahead\n"
        plain.sendall(b"STARTTLS\n")
        assert plain.recv(100) == b"go ahead\n"
        client = authority.client_context()
        with client.wrap_socket(plain, server_hostname="localhost") as secret:
            secret.sendall(b"hello")
            assert secret.recv(100) == b"HELLO"


def test_contexts_make_of_plain_sockets_what_they_always_made(authority: Authority) -> None:
    near, far = socket.socketpair()
    with authority.server_context().wrap_socket(
        near, server_side=True, do_handshake_on_connect=False
    ) as plain:
        assert type(plain) is ssl.SSLSocket
    far.close()


@pytest.mark.parametrize("wait", [lambda: gevent.sleep(3600), lambda: gevent.event.Event().wait()])
def test_a_drain_ends_what_waits_for_something_else_than_its_client(
    wait: Callable[[], object],
) -> None:
    is_ended = threading.Event()

    def stubborn(request: Any, client_address: Any, server: Any) -> None:
        try:
            request.sendall(b"here")
            wait()
        finally:
            is_ended.set()

    server = Server(stubborn, "tcp://127.0.0.1:0", engine="fibers", drain_timeout=0.05)
    with server, call(("127.0.0.1", server.addresses[0].port)) as peer:
        assert peer.recv(10) == b"here"
        (cut,) = server.close()
        assert cut.peer == "{}:{}".format(*peer.getsockname())
    assert is_ended.wait(PATIENCE)


def test_a_class_of_its_own_needs_the_mix_in_alone() -> None:
    class Server(FiberMixIn, TCPServer):
        def __init__(self, word: str) -> None:
            self.word = word
            super().__init__(HERE, lambda request, address, server: request.sendall(b"served"))

    with serving(Server("word")) as server, call(server.server_address) as peer:
        assert everything(peer) == b"served"


def test_without_gevent_one_sentence_says_what_is_missing() -> None:
    program = """
import sys
sys.modules["gevent"] = None
import manyhands
try:
    manyhands.FiberTCPServer(("127.0.0.1", 0), None)
except ImportError as error:
    print(error)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert said == (
        "the fibers engine needs gevent, which is not here: pip install gevent, "
        "or in a checkout of manyhands pip install '.[fibers]'\n"
    )


def test_two_handlers_may_close_the_server_at_the_same_time() -> None:
    returned: list[int] = []
    both = threading.Barrier(2)

    class Closing(BaseRequestHandler):
        def handle(self) -> None:
            manyhands.blocking(both.wait, PATIENCE)
            self.server.server_close()
            returned.append(1)

    server = FiberTCPServer(HERE, Closing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with call(server.server_address), call(server.server_address):
        wait_until(lambda: len(returned) == 2)
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("is_patched", [False, True])
def test_a_handler_may_close_the_server_in_a_blocking_call(is_patched: bool) -> None:
    # Which waits for all connections but the one that waits for it.
    program = """
        if PATCHED:
            from gevent import monkey
            monkey.patch_all()
        import socket, threading
        import manyhands

        def closing(request, client_address, server):
            if request.recv(10) == b"close":
                manyhands.blocking(server.server_close)
                request.sendall(b"closed")

        server = manyhands.FiberTCPServer(("127.0.0.1", 0), closing)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with socket.create_connection(server.server_address, 20) as other:
            with socket.create_connection(server.server_address, 20) as peer:
                peer.sendall(b"close")
                thread.join()
                other.sendall(b"bye")
                print(peer.recv(10).decode(), other.recv(10).decode())
    """
    assert run_python(program.replace("PATCHED", str(is_patched))) == "closed \n"


def test_tls_ends_on_an_open_connection(authority: Authority) -> None:
    context = authority.server_context()

    class Unwrapping(BaseRequestHandler):
        def handle(self) -> None:
            secret = context.wrap_socket(self.request, server_side=True)
            secret.sendall(secret.recv(100))
            self.request = secret.unwrap()
            self.request.sendall(self.request.recv(100).upper())
            self.request.close()

    with serving(FiberTCPServer(HERE, Unwrapping)) as server:
        client = authority.client_context()
        with client.wrap_socket(call(server.server_address), server_hostname="localhost") as secret:
            secret.sendall(b"secret")
            assert secret.recv(100) == b"secret"
            plain = secret.unwrap()
            plain.sendall(b"plain")
            assert plain.recv(100) == b"PLAIN"


def test_a_tls_handler_that_reads_is_cut_off_as_at_the_end(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[bytes] = []

    class Reading(BaseRequestHandler):
        def handle(self) -> None:
            secret = authority.server_context().wrap_socket(self.request, server_side=True)
            secret.sendall(b"here")
            connections.append(secret)
            heard.append(secret.recv(100))

    connections: list[Any] = []
    with serving(FiberTCPServer(HERE, Reading)) as server:
        client = authority.client_context()
        with client.wrap_socket(call(server.server_address), server_hostname="localhost") as secret:
            assert secret.recv(100) == b"here"
            wait_until(lambda: connections and connections[0]._channel.is_waited_for(1))
            connections[0].shutdown(socket.SHUT_RDWR)
            wait_until(lambda: heard == [b""])
    assert capsys.readouterr().err == ""


def test_a_client_that_resets_before_its_handshake_is_an_os_error(authority: Authority) -> None:
    caught: list[BaseException] = []
    is_gone = threading.Event()

    class StartTLS(BaseRequestHandler):
        def handle(self) -> None:
            manyhands.blocking(is_gone.wait, PATIENCE)
            try:
                authority.server_context().wrap_socket(self.request, server_side=True)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                caught.append(error)

    with serving(FiberTCPServer(HERE, StartTLS)) as server:
        peer = call(server.server_address)
        peer.sendall(b"data")
        reset(peer)
        is_gone.set()
        wait_until(lambda: caught)
    assert isinstance(caught[0], OSError)


def test_serving_leaves_a_listener_as_it_found_it() -> None:
    server = FiberTCPServer(HERE, Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert ask(server.server_address) == b"hello\n"
    assert not os.get_blocking(server.fileno())
    server.shutdown()
    thread.join(PATIENCE)
    assert os.get_blocking(server.fileno())
    server.server_close()


def test_a_signal_that_falls_into_the_hub_thread_reaches_the_program() -> None:
    # Under gevent.monkey it is a fiber of the main thread, and a signal may come just when it runs.
    program = """
        from gevent import monkey
        monkey.patch_all()
        import signal, socket
        from gevent import getcurrent
        from manyhands import FiberTCPServer
        from manyhands.engines.fibers.hub_thread import HubThread

        is_unused = HubThread._is_unused

        def interrupted(hub_thread):
            if getcurrent() is hub_thread._thread:
                HubThread._is_unused = is_unused
                signal.raise_signal(signal.SIGINT)
            return is_unused(hub_thread)

        HubThread._is_unused = interrupted

        def handler(request, client_address, server):
            server._server_core.engines.latest._hub_thread._may_be_unused.set()

        with FiberTCPServer(("127.0.0.1", 0), handler) as server:
            peer = socket.create_connection(server.server_address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("interrupted")
    """
    assert run_python(program) == "interrupted\n"
