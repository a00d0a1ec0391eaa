"""What Prometheus reads: figures that add up with the registry, on every engine."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from manyhands import DatagramRequestHandler, Server, StreamRequestHandler, metrics, socketserver
from manyhands.model.connection_states import Reason
from manyhands.model.usage_errors import Mistake
from manyhands.serving.core import core_of
from manyhands.testing import ask, call, deaf, socket_address, wait_until
from tests.http.asking import request
from tests.support import Authority, Echo, everything, run_python, server_class, serving
from tests.support.waiting import PATIENCE

from .scraping import scrape

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

ANY_PORT = "tcp://127.0.0.1:0"
HERE = "127.0.0.1:0"


class Obedient(StreamRequestHandler):
    """Says each line back; fails when it is told to."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)
            if line == b"fail\n":
                raise ValueError("as told")


def total(figures: dict[str, float], family: str) -> float:
    return sum(value for name, value in figures.items() if name.split("{")[0] == family)


def add_up(figures: dict[str, float]) -> bool:
    accepted = figures["manyhands_connections_accepted_total"]
    families = ("connections", "connections_closed_total", "connections_refused_total")
    return accepted == sum(total(figures, f"manyhands_{family}") for family in families)


def by_reason(figures: dict[str, float], reason: str, family: str = "closed") -> float:
    return figures[f'manyhands_connections_{family}_total{{reason="{reason}"}}']


def test_the_figures_add_up_with_the_registry(
    engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(Obedient, ANY_PORT, engine=engine) as server, metrics.serve(server, HERE) as at:
        address = socket_address(server.addresses[0])
        for word in (b"hello\n", b"hello\n", b"fail\n"):
            assert ask(address, word) == word
        wait_until(lambda: server.connections.balance == (3, 0, 3))
        server.connections.refuse(Reason.REFUSED_FULL, 2)
        figures = scrape(at)
        assert add_up(figures)
        assert figures["manyhands_connections_accepted_total"] == 5
        assert by_reason(figures, "peer_closed") == 2
        assert by_reason(figures, "handler_failed") == 1
        assert by_reason(figures, "refused_full", "refused") == 2
        assert figures["manyhands_received_bytes_total"] == 17
        assert figures["manyhands_sent_bytes_total"] == 17
        assert figures["manyhands_handler_seconds_count"] == 3
        assert figures['manyhands_handler_seconds_bucket{le="+Inf"}'] == 3
        assert 0 < figures["manyhands_handler_seconds_sum"] < PATIENCE
    assert "ValueError" in capfd.readouterr().err


def test_an_open_connection_shows_in_the_figures(engine: str) -> None:
    with (
        Server(Obedient, ANY_PORT, engine=engine, drain_timeout=PATIENCE) as server,
        metrics.serve(server, HERE) as at,
        call(socket_address(server.addresses[0])) as peer,
    ):
        peer.sendall(b"hello\n")
        assert peer.recv(100) == b"hello\n"
        figures = scrape(at)
        assert add_up(figures)
        assert total(figures, "manyhands_connections") == 1
        assert figures['manyhands_connections{state="open"}'] == 1
        assert figures["manyhands_received_bytes_total"] == 6
        assert figures["manyhands_sent_bytes_total"] == 6
        assert figures[f'manyhands_engine_running{{engine="{engine}"}}'] == 1
        assert figures["manyhands_handler_seconds_count"] == 0
        peer.shutdown(socket.SHUT_WR)
        everything(peer)


def test_a_failed_handshake_is_closed_and_no_handler_s_time(
    engine: str, authority: Authority, tmp_path: Path
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    with (
        Server(
            Echo, "tls://127.0.0.1:0", engine=engine, certfile=certfile, keyfile=keyfile
        ) as server,
        metrics.serve(server, HERE) as at,
    ):
        with call(socket_address(server.addresses[0])) as peer:
            peer.sendall(b"this is no handshake of TLS, certainly\r\n\r\n")
            everything(peer)
        wait_until(lambda: server.connections.balance == (1, 0, 1))
        figures = scrape(at)
        assert add_up(figures)
        assert by_reason(figures, "handshake_failed") == 1
        assert figures["manyhands_handler_seconds_count"] == 0
        if engine != "processes":  # the event is the child's
            assert figures['manyhands_events_total{event="HandshakeFailed"}'] == 1


@pytest.mark.parametrize("limited", ["threads", "processes", "fibers"])
def test_the_load_is_shown_with_its_bound_and_the_clients_that_wait(limited: str) -> None:
    bound = {"threads": "max_threads", "processes": "max_children", "fibers": "max_fibers"}
    options: dict[str, Any] = {"engine": limited, bound[limited]: 1}
    with Server(Obedient, ANY_PORT, **options) as server, metrics.serve(server, HERE) as at:
        address = socket_address(server.addresses[0])
        with call(address) as served, call(address) as waiting, call(address) as another:
            served.sendall(b"hello\n")
            assert served.recv(100)
            figures = scrape(at)
            assert figures[f'manyhands_engine_running{{engine="{limited}"}}'] == 1
            assert figures[f'manyhands_engine_limit{{engine="{limited}"}}'] == 1
            listener = f'{{listener="127.0.0.1:{address[1]}"}}'
            assert figures[f"manyhands_backlog{listener}"] == 2
            assert figures[f"manyhands_backlog_limit{listener}"] == 1024
            assert add_up(figures)
            for peer in (served, waiting, another):
                peer.shutdown(socket.SHUT_WR)  # a forked handler has copies of all of them


def test_a_drop_in_server_is_measured_too(engine: str) -> None:
    kind = server_class(engine)
    with (
        serving(kind(("127.0.0.1", 0), Obedient), 0.02) as server,
        metrics.serve(server, HERE) as at,
    ):
        assert ask(server.server_address) == b"hello\n"
        wait_until(lambda: server.connections.balance == (1, 0, 1))
        figures = scrape(at)
        assert add_up(figures)
        assert by_reason(figures, "peer_closed") == 1
        assert figures["manyhands_received_bytes_total"] == 6
        port = server.server_address[1]
        assert figures[f'manyhands_backlog{{listener="127.0.0.1:{port}"}}'] == 0


class Blocking(StreamRequestHandler):
    """Holds up its thread, with all fibers in it, until it is let go on."""

    is_blocking = threading.Event()
    may_go_on = threading.Event()

    def handle(self) -> None:
        self.is_blocking.set()
        self.may_go_on.wait(PATIENCE)


def test_a_hub_that_is_held_up_is_late_and_the_scrape_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.metrics.collector.HUB_PATIENCE", 0.25)
    with Server(Blocking, ANY_PORT, engine="fibers") as server, metrics.serve(server, HERE) as at:
        wait_until(lambda: scrape(at).get("manyhands_hub_delay_seconds", 1.0) < 0.2)
        with call(socket_address(server.addresses[0])):
            try:
                assert Blocking.is_blocking.wait(PATIENCE)
                assert scrape(at)["manyhands_hub_delay_seconds"] == 0.25
            finally:
                Blocking.may_go_on.set()


def test_unix_sockets_and_datagrams_are_no_trouble(tmp_path: Path, engine: str) -> None:
    class Shout(DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.packet.upper())

    with (
        Server(Shout, "udp://127.0.0.1:0", engine=engine) as server,
        metrics.serve(server, HERE) as at,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(PATIENCE)
        peer.sendto(b"hello", socket_address(server.addresses[0]))
        assert peer.recv(100) == b"HELLO"
        assert scrape(at)["manyhands_connections_accepted_total"] == 0
    path = f"unix://{tmp_path}/echo.sock"
    with Server(Echo, path, engine=engine) as server, metrics.serve(server, HERE) as at:
        assert ask(socket_address(server.addresses[0])) == b"hello\n"
        wait_until(lambda: server.connections.balance == (1, 0, 1))
        figures = scrape(at)
        assert add_up(figures)
        assert figures["manyhands_received_bytes_total"] == len(b"hello\n")


def test_bytes_never_go_back_when_a_connection_ends_between_two_looks() -> None:
    with Server(Echo, ANY_PORT) as server, metrics.serve(server, HERE) as at:
        with call(socket_address(server.addresses[0])) as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(100)
            assert scrape(at)["manyhands_received_bytes_total"] == 6
            totals = server.connections.totals
            server.connections.totals = None  # as if its end had not been counted yet
            peer.shutdown(socket.SHUT_WR)
            everything(peer)
            wait_until(lambda: server.connections.balance == (1, 0, 1))
            server.connections.totals = totals
        assert scrape(at)["manyhands_received_bytes_total"] == 6


def test_a_registry_of_the_program_s_own_collects_a_server() -> None:
    registry = CollectorRegistry()
    with Server(Echo, ANY_PORT) as server:
        end = metrics.collect(server, registry)
        assert b"manyhands_connections_accepted_total 0.0" in generate_latest(registry)
        end()
    assert generate_latest(registry) == b""


def test_a_server_may_be_measured_before_it_serves_and_after() -> None:
    server = Server(Echo, ANY_PORT)
    with metrics.serve(server, HERE) as at:
        assert scrape(at)["manyhands_connections_accepted_total"] == 0
        with server:
            assert ask(socket_address(server.addresses[0])) == b"hello\n"
        assert scrape(at)["manyhands_connections_accepted_total"] == 1


def test_the_figures_are_scraped_over_ipv6() -> None:
    with Server(Echo, ANY_PORT) as server, metrics.serve(server, "[::1]:0") as at:
        assert at.addresses[0].host == "::1"
        assert add_up(scrape(at))


def test_a_client_of_another_path_is_told_where_the_metrics_are() -> None:
    with metrics.serve(Server(Echo, ANY_PORT), HERE) as at:
        answer = request(socket_address(at.addresses[0]), "GET / HTTP/1.1")
        assert b" 404 Not Found" in answer
        assert answer.endswith(b"\r\n\r\nthe metrics are at /metrics\n")


def test_openmetrics_is_sent_to_a_scraper_that_asks_for_it() -> None:
    with metrics.serve(Server(Echo, ANY_PORT), HERE) as at:
        accept = "Accept: application/openmetrics-text; version=1.0.0"
        answer = request(socket_address(at.addresses[0]), "GET /metrics HTTP/1.1", accept)
        assert b"application/openmetrics-text" in answer
        assert answer.endswith(b"# EOF\n")


@pytest.mark.parametrize("version", ["secret", "1.secret", "9" * 9000, ""])
def test_a_version_that_is_none_is_answered_and_shows_nowhere(
    version: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(Echo, ANY_PORT) as server, metrics.serve(server, HERE) as exporter:
        accept = f"Accept: application/openmetrics-text; version={version}"
        answer = request(socket_address(exporter.addresses[0]), "GET /metrics HTTP/1.1", accept)
    assert b" 200 OK" in answer.splitlines()[0]
    assert capfd.readouterr().err == ""


def test_a_collector_that_raises_does_not_end_the_scrapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr("sys.excepthook", lambda kind, error, traceback: reported.append(error))
    with Server(Echo, ANY_PORT) as server, metrics.serve(server, HERE) as at:
        with monkeypatch.context() as patched:
            patched.setattr(server.connections.__class__, "census", None)
            assert request(socket_address(at.addresses[0]), "GET /metrics HTTP/1.1") == b""
        assert [type(error) for error in reported] == [TypeError]
        assert add_up(scrape(at))


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port} \(held by"):
            metrics.serve(Server(Echo, ANY_PORT), f"127.0.0.1:{port}")


def test_an_address_that_is_none_of_tcp_is_one_sentence() -> None:
    with pytest.raises(Mistake, match=r"on a tcp:// address, not on unix:///run/x\.sock"):
        metrics.serve(Server(Echo, ANY_PORT), "unix:///run/x.sock")


def test_nothing_is_counted_for_a_server_without_metrics() -> None:
    with Server(Echo, ANY_PORT) as server:
        assert server.connections.totals is None
    with serving(socketserver.TCPServer(("127.0.0.1", 0), Echo)) as plain:
        assert core_of(plain).registry.totals is None
        assert not core_of(plain).registry.are_detailed


OUT_OF_DESCRIPTORS = """
    import os, resource, socket, sys, warnings
    from manyhands import Server, metrics

    warnings.simplefilter("ignore")

    def hold(request, client_address, server):
        request.sendall(b"!")
        request.recv(1)

    def scrape():
        with socket.socket(fileno=sockets.pop()) as peer:
            peer.settimeout(20)
            peer.connect(page)
            peer.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
            return peer.makefile("rb").read()

    # Made while there are descriptors: the clients are in the same process.
    sockets = [socket.socket().detach() for _ in range(40)]
    with Server(hold, "tcp://127.0.0.1:0", engine=sys.argv[1]) as server:
        with metrics.serve(server, "127.0.0.1:0") as exporter:
            page = ("127.0.0.1", exporter.addresses[0].port)
            client = socket.socket(fileno=sockets.pop())
            client.connect(("127.0.0.1", server.addresses[0].port))
            client.recv(1)  # the server has all that it needs by now
            silent = [socket.socket(fileno=sockets.pop()) for _ in range(30)]
            open_now = len(os.listdir("/proc/self/fd")) + 5
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_now, open_now))
            held = []
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                pass
            for number in range(5):
                for peer in silent[6 * number : 6 * number + 6]:
                    peer.connect(page)
                figures = scrape()
                print(figures[9:15].decode(), b"process_open_fds" in figures)
                try:
                    while True:
                        held.append(os.dup(0))
                except OSError:
                    pass
            for descriptor in held:
                os.close(descriptor)
        client.shutdown(socket.SHUT_WR)
"""


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_the_page_is_there_when_no_descriptor_is_however_many_clients_are_silent(
    engine: str,
) -> None:
    assert run_python(OUT_OF_DESCRIPTORS, engine) == "200 OK True\n" * 5


def test_rooms_and_what_clients_have_missed_are_figures() -> None:
    class Member(StreamRequestHandler):
        def handle(self) -> None:
            self.join("red")
            self.rfile.read()

    with (
        Server(Member, ANY_PORT, outbox=4096, when_behind="drop_new") as server,
        metrics.serve(server, HERE) as at,
        deaf(socket_address(server.addresses[0])),
    ):
        wait_until(lambda: server.tell("red", bytes(4096)) == 1)
        while server.tell("red", bytes(4096)) == 1:
            pass
        figures = scrape(at)
        assert figures["manyhands_rooms"] == 1
        assert figures["manyhands_pieces_missed_total"] == 1
