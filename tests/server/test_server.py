"""`manyhands.Server`: several listeners, one engine, stop and drain."""

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from manyhands import (
    BaseRequestHandler,
    DatagramRequestHandler,
    Server,
    StreamRequestHandler,
    events,
)
from manyhands.model.usage_errors import Mistake
from tests.support import (
    ENGINES,
    Echo,
    ask,
    bound,
    call,
    everything,
    hear,
    is_listening,
    left_open,
    open_descriptors,
    wait_until,
)

CONCURRENT = ["threads", "processes"]
ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Shout(DatagramRequestHandler):
    """Answers in capitals."""

    def handle(self) -> None:
        self.wfile.write(self.packet.upper())


def either(request: Any, client_address: Any, server: Any) -> None:
    """Serve streams and datagrams."""
    if isinstance(request, tuple):
        data, listener = request
        listener.sendto(data.upper(), client_address)
    else:
        request.sendall(request.recv(100).upper())


def until_told(request: socket.socket, client_address: Any, server: Any) -> None:
    request.sendall(str(os.getpid()).encode())
    if request.recv(1) == b"!":
        request.sendall(b" done")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_is_served_on_each_engine(engine: str) -> None:
    before, threads = open_descriptors(), set(threading.enumerate())
    with Server(Echo, ANY_PORT, engine=engine) as server:
        assert ask(bound(server)) == b"hello\n"
        assert server.engine.name == engine
    assert server.addresses == []
    wait_until(lambda: set(threading.enumerate()) <= threads)
    assert not left_open(before)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_can_be_started_again(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    for _ in range(3):
        with server:
            assert ask(bound(server)) == b"hello\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_several_addresses_share_one_engine(engine: str, tmp_path: Path) -> None:
    addresses = [
        ANY_PORT,
        "tcp://[::1]:0",
        f"unix://{tmp_path}/stream.sock",
        "udp://127.0.0.1:0",
        f"unix-datagram://{tmp_path}/datagram.sock",
    ]
    with Server(either, *addresses, engine=engine) as server:
        for number in range(3):
            assert ask(bound(server, number), b"hello") == b"HELLO"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(20)
            peer.sendto(b"hello", bound(server, 3))
            assert peer.recv(10) == b"HELLO"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.settimeout(20)
            peer.bind(str(tmp_path / "peer.sock"))
            peer.sendto(b"hello", bound(server, 4))
            assert peer.recv(10) == b"HELLO"
        schemes = [address.scheme for address in server.addresses]
    assert schemes == ["tcp", "tcp", "unix", "udp", "unix-datagram"]
    assert not (tmp_path / "stream.sock").exists()


@pytest.mark.parametrize("host", ["", "*", "[::]"])
def test_both_ip_versions_are_served_on_one_port(host: str) -> None:
    with Server(Echo, f"tcp://{host}:0") as server:
        port = server.addresses[0].port
        assert ask(("127.0.0.1", port)) == b"hello\n"
        assert ask(("::1", port)) == b"hello\n"


def test_both_ip_versions_send_datagrams_to_one_port() -> None:
    with Server(Shout, "udp://:0") as server:
        port = server.addresses[0].port
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as peer:
                peer.settimeout(20)
                peer.sendto(b"hello", (host, port))
                assert peer.recv(10) == b"HELLO"


def test_a_name_is_resolved() -> None:
    with Server(Echo, "tcp://localhost:0") as server:
        assert ask(bound(server)) == b"hello\n"


def test_the_bound_counts_over_all_listeners(seen: list[events.Event]) -> None:
    with Server(until_told, ANY_PORT, ANY_PORT, max_threads=2) as server:
        first, second = call(bound(server, 0)), call(bound(server, 1))
        assert first.recv(10)
        assert second.recv(10)
        with call(bound(server, 0)) as waiting:
            wait_until(lambda: any(isinstance(event, events.EngineFull) for event in seen))
            assert server.engine.running() == 2
            first.sendall(b"!")
            everything(first)
            assert waiting.recv(10)
            for peer in (second, waiting):
                peer.sendall(b"!")
                everything(peer)
        first.close()
        second.close()


@pytest.mark.parametrize("engine", CONCURRENT)
def test_leaving_waits_for_a_busy_handler(engine: str) -> None:
    with Server(until_told, ANY_PORT, engine=engine, drain_timeout=20) as server:
        peer = call(bound(server))
        assert peer.recv(10)
        timer = threading.Timer(0.2, peer.sendall, (b"!",))
        timer.start()
    timer.join()
    assert everything(peer) == b" done"
    peer.close()


@pytest.mark.parametrize("engine", CONCURRENT)
def test_no_client_can_connect_while_it_drains(engine: str) -> None:
    server = Server(until_told, ANY_PORT, engine=engine, drain_timeout=20)
    server.start()
    address = bound(server)
    peer = call(address)
    assert peer.recv(10)
    leaving = threading.Thread(target=server.__exit__)
    leaving.start()

    wait_until(lambda: not is_listening(address[1]))
    assert leaving.is_alive()
    peer.sendall(b"!")
    leaving.join(20)
    assert everything(peer) == b" done"
    peer.close()


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_handler_that_goes_on_after_the_deadline_is_cut_off(engine: str) -> None:
    with Server(until_told, ANY_PORT, engine=engine, drain_timeout=0.1) as server:
        peer = call(bound(server))
        assert peer.recv(10)
    assert everything(peer) == b""
    peer.close()


def test_hurry_ends_the_drain() -> None:
    with Server(until_told, ANY_PORT, drain_timeout=3600) as server:
        peer = call(bound(server))
        assert peer.recv(10)
        threading.Timer(0.1, server.hurry).start()
    assert everything(peer) == b""
    peer.close()


def test_stop_before_run_makes_run_return_at_once() -> None:
    server = Server(Echo, ANY_PORT)
    server.stop()
    assert server.run() == []


def test_stop_from_a_handler_ends_run() -> None:
    def handler(request: socket.socket, client_address: Any, listener: Any) -> None:
        server.stop()
        request.sendall(b"stopped")

    server = Server(handler, ANY_PORT)
    server.listen()
    answers: list[bytes] = []
    address = bound(server)
    client = threading.Thread(target=lambda: answers.append(hear(address)))
    client.start()
    assert server.run() == []
    client.join(20)
    assert answers == [b"stopped"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_that_raises_does_not_stop_the_others(
    engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def handler(request: socket.socket, client_address: Any, listener: Any) -> None:
        if request.recv(100) == b"bad":
            raise ZeroDivisionError
        request.sendall(b"good")

    with Server(handler, ANY_PORT, engine=engine) as server:
        assert ask(bound(server), b"bad") == b""
        assert ask(bound(server), b"fine") == b"good"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_addresses_that_cannot_be_had_leave_none_held(tmp_path: Path) -> None:
    before = open_descriptors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "a.sock"
        server = Server(Echo, f"unix://{path}", f"tcp://127.0.0.1:{port}")
        with pytest.raises(
            OSError, match=rf"cannot listen on 127\.0\.0\.1:{port} \(held by process"
        ):
            server.listen()
    assert not path.exists()
    assert not left_open(before)
    assert server.addresses == []


def test_a_long_datagram_arrives_whole() -> None:
    class Measure(DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"%d" % len(self.packet))

    with (
        Server(Measure, "udp://127.0.0.1:0") as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(20)
        peer.sendto(b"x" * 60_000, bound(server))
        assert peer.recv(10) == b"60000"


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((Echo,), {}, "a server needs an address to listen on"),
        (
            (Echo, ANY_PORT),
            {"max_thread": 3},
            "'max_thread' is no option of Server; these are: engine",
        ),
        ((Echo, ANY_PORT), {"max_threads": 0}, "max_threads must be a whole number of at least 1"),
        (
            (Echo, ANY_PORT),
            {"engine": "steam"},
            "engine must be sequential, threads, processes or fibers, not 'steam'",
        ),
        (
            (Echo, ANY_PORT),
            {"engine": None},
            "engine must be sequential, threads, processes or fibers, not None",
        ),
        ((Echo, ANY_PORT), {"drain_timeout": -1}, "drain_timeout must be a number of seconds"),
        ((Echo, "127.0.0.1"), {}, "'127.0.0.1' is not an address"),
        (("Echo", ANY_PORT), {}, "'Echo' is no handler"),
        ((lambda: None, ANY_PORT), {}, "<lambda> is no handler: it must be a class derived from"),
        (
            (Shout, ANY_PORT),
            {},
            "Shout is a DatagramRequestHandler, which cannot serve tcp://127.0.0.1:0",
        ),
        (
            (Echo, "udp://127.0.0.1:0"),
            {},
            "Echo is a StreamRequestHandler, which cannot serve udp://",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    arguments: tuple[Any, ...], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        Server(*arguments, **options)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_host_that_does_not_exist_is_one_sentence() -> None:
    server = Server(Echo, "tcp://no-such-host.invalid:8008")
    with pytest.raises(Mistake, match=r"host 'no-such-host\.invalid' has no address here"):
        server.listen()


def test_a_base_handler_serves_both_kinds() -> None:
    class Anything(BaseRequestHandler):
        def handle(self) -> None:
            either(self.request, self.client_address, self.server)

    with Server(Anything, ANY_PORT, "udp://127.0.0.1:0") as server:
        assert ask(bound(server), b"hello") == b"HELLO"


def test_a_sequential_handler_that_does_not_end_does_not_keep_the_server() -> None:
    class Stuck(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"stuck")
            self.rfile.read()

    with Server(Stuck, ANY_PORT, engine="sequential", drain_timeout=0.1) as server:
        peer = call(bound(server))
        assert peer.recv(10) == b"stuck"
    assert everything(peer) == b""
    peer.close()


def test_stopping_wakes_a_server_at_rest() -> None:
    with Server(Echo, ANY_PORT) as server:
        assert ask(bound(server)) == b"hello\n"
        time.sleep(0.05)
        started = time.monotonic()
    assert time.monotonic() - started < 5
