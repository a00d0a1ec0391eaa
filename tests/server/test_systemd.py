"""What a server that runs says to systemd, message by message."""

import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from manyhands import Server
from manyhands.server import systemd as ours
from manyhands.server.systemd import EXTENSION, Service
from manyhands.testing import FakeClock
from tests.support import (
    ENGINES,
    Authority,
    Echo,
    ServiceManager,
    ask,
    ask_secretly,
    bound,
    call,
    everything,
)

ANY_PORT = "tcp://127.0.0.1:0"
EXTEND = {"EXTEND_TIMEOUT_USEC": f"{EXTENSION * 1e6:.0f}"}

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    """A service manager that has started this process."""
    with ServiceManager(f"{tmp_path}/notify") as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.where)
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        yield listening


class FakeServer:
    """Stands for a server that does what it is told."""

    addresses = (ANY_PORT, "unix:///run/x\n.sock")
    engine = SimpleNamespace(running=lambda: 3)

    def __init__(self, could_be_used: bool = True) -> None:
        self.could_be_used = could_be_used

    def reload_then(self, done: Callable[[str | None], object]) -> None:
        done(None if self.could_be_used else "the certificates cannot be used")


def service(
    manager: ServiceManager, timeout: float | None = None, could_be_used: bool = True
) -> tuple[Service, FakeClock]:
    clock = FakeClock()
    server: Any = FakeServer(could_be_used)
    return Service(ours.ServiceManager(manager.where), server, timeout, clock), clock


def test_a_message_is_one_assignment_a_line(manager: ServiceManager) -> None:
    told, _ = service(manager)
    told.ready()
    assert manager.hear() == {
        "READY": "1",
        "STATUS": "serving on tcp://127.0.0.1:0, unix:///run/x .sock",
    }


def test_a_manager_may_have_an_abstract_name(tmp_path: Path) -> None:
    with ServiceManager(f"@{tmp_path}") as manager:
        service(manager)[0].ready()
        assert manager.hear()["READY"] == "1"


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("vsock:2:1234", "NOTIFY_SOCKET is 'vsock:2:1234', neither a path nor an @name"),
        ("/nowhere/notify", "No such file or directory"),
    ],
)
def test_a_manager_that_cannot_be_told_is_warned_of_once_and_costs_nothing_else(
    where: str, reason: str
) -> None:
    server: Any = FakeServer()
    told = Service(ours.ServiceManager(where), server, 0.5, FakeClock())
    expected = f"the service manager cannot be told that the server is ready: {reason}"
    with warnings.catch_warnings(record=True) as warned:
        told.ready()
        told.look()
        told.draining()
        told.stopping()
    assert [str(warning.message) for warning in warned] == [expected]


def test_a_word_that_it_is_alive_goes_out_at_half_of_the_time(manager: ServiceManager) -> None:
    told, clock = service(manager, timeout=10)
    told.look()
    assert manager.hear() == {"WATCHDOG": "1"}
    clock.advance(4.9)
    told.look()
    assert manager.has_heard_all()
    clock.advance(0.1)
    told.look()
    assert manager.hear() == {"WATCHDOG": "1"}
    told.look()
    assert manager.has_heard_all()


def test_a_manager_that_has_not_asked_is_not_told_that_it_is_alive(manager: ServiceManager) -> None:
    told, clock = service(manager)
    clock.advance(3600)
    told.look()
    assert manager.has_heard_all()


@pytest.mark.parametrize(
    ("could_be_used", "status"),
    [(True, "reloaded"), (False, "not reloaded: the certificates cannot be used")],
)
def test_a_reload_is_told_of_before_and_after(
    manager: ServiceManager, could_be_used: bool, status: str
) -> None:
    told, _ = service(manager, could_be_used=could_be_used)
    asked_at = time.monotonic_ns() // 1000
    told.reload_soon()
    assert manager.has_heard_all()
    told.look()
    reloading = manager.hear()
    assert list(reloading) == ["RELOADING", "MONOTONIC_USEC"]
    assert asked_at <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.hear() == {"READY": "1", "STATUS": status}
    told.look()
    assert manager.has_heard_all()


def test_a_drain_asks_for_more_time_once_a_second(manager: ServiceManager) -> None:
    told, clock = service(manager, timeout=10)
    told.look()
    assert manager.hear() == {"WATCHDOG": "1"}
    told.stopping()
    assert manager.hear() == {"STOPPING": "1", "STATUS": "draining", **EXTEND}
    clock.advance(0.9)
    told.draining()
    assert manager.has_heard_all()
    clock.advance(0.1)
    told.draining()
    assert manager.hear() == {"STATUS": "draining: 3 left", **EXTEND}
    clock.advance(4)
    told.draining()
    assert manager.hear() == {"WATCHDOG": "1"}
    assert manager.hear() == {"STATUS": "draining: 3 left", **EXTEND}


def until_told(request: socket.socket, client_address: Any, server: Any) -> None:
    request.sendall(b"begun")
    request.recv(1)


def while_running(server: Server, act: Callable[[], object]) -> list[Any]:
    """Run a server in this thread, the main one; do something in another one, and stop it."""

    def act_and_stop() -> None:
        try:
            act()
        finally:
            server.stop()

    server.listen()
    actor = threading.Thread(target=act_and_stop)
    cut_off = server.run(actor.start)
    actor.join()
    return cut_off


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_says_that_it_is_ready_and_that_it_stops(
    manager: ServiceManager, engine: str
) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)

    def be_the_client() -> None:
        heard.append(manager.hear())
        assert ask(bound(server)) == b"hello\n"

    heard: list[dict[str, str]] = []
    while_running(server, be_the_client)
    assert heard[0]["READY"] == "1"
    assert heard[0]["STATUS"].startswith("serving on tcp://127.0.0.1:")
    assert manager.hear() == {"STOPPING": "1", "STATUS": "draining", **EXTEND}


def test_it_is_ready_only_after_it_has_been_announced(manager: ServiceManager) -> None:
    server = Server(Echo, ANY_PORT)

    def announce() -> None:
        assert manager.has_heard_all()
        os.kill(os.getpid(), signal.SIGTERM)

    server.run(announce)
    assert "READY" in manager.hear()
    assert "STOPPING" in manager.hear()


def test_a_server_that_is_not_announced_is_not_ready(manager: ServiceManager) -> None:
    with pytest.raises(ZeroDivisionError):
        Server(Echo, ANY_PORT).run(lambda: 1 / 0)
    assert manager.has_heard_all()


def test_only_run_tells(manager: ServiceManager) -> None:
    with Server(Echo, ANY_PORT) as server:
        assert ask(bound(server)) == b"hello\n"
    assert manager.has_heard_all()


def test_a_server_that_was_started_before_tells_while_it_runs(manager: ServiceManager) -> None:
    with Server(Echo, ANY_PORT) as server:
        while_running(server, manager.hear)
        assert "STOPPING" in manager.hear()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_accept_loop_says_that_it_is_alive_and_so_does_the_drain(
    manager: ServiceManager, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    server = Server(until_told, ANY_PORT, engine=engine)

    def look_on() -> None:
        manager.hear_until("READY")
        for _ in range(3):
            assert manager.hear() == {"WATCHDOG": "1"}
        peer = call(bound(server))
        assert peer.recv(5) == b"begun"
        server.stop()
        manager.hear_until("STOPPING")
        for _ in range(3):
            assert manager.hear() == {"WATCHDOG": "1"}
        peer.sendall(b"!")
        assert everything(peer) == b""
        peer.close()

    assert while_running(server, look_on) == []


def test_the_loop_turns_often_enough_for_an_impatient_manager(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    began = time.monotonic()

    def look_on() -> None:
        for _ in range(10):
            manager.hear_until("WATCHDOG")

    while_running(Server(Echo, ANY_PORT), look_on)
    # About half a second; at the usual interval of the loop's turns it would be five.
    assert time.monotonic() - began < 4


def test_a_loop_that_hangs_is_not_said_to_be_alive(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    server = Server(until_told, ANY_PORT, engine="sequential")

    def look_on() -> None:
        manager.hear_until("WATCHDOG")
        with call(bound(server)) as peer:  # which the loop serves itself
            assert peer.recv(5) == b"begun"
            assert manager.falls_silent_for(0.3)
            peer.sendall(b"!")
            assert everything(peer) == b""
        assert manager.hear() == {"WATCHDOG": "1"}

    while_running(server, look_on)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_to_reload_is_answered_where_there_is_nothing_to_read(
    manager: ServiceManager, engine: str
) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    before = signal.getsignal(signal.SIGHUP)

    def look_on() -> None:
        manager.hear_until("READY")
        assert ask(bound(server)) == b"hello\n"
        os.kill(os.getpid(), signal.SIGHUP)
        reloading, ready = manager.hear(), manager.hear()
        assert list(reloading) == ["RELOADING", "MONOTONIC_USEC"]
        assert ready == {"READY": "1", "STATUS": "reloaded"}
        assert ask(bound(server)) == b"hello\n"

    while_running(server, look_on)
    assert signal.getsignal(signal.SIGHUP) is before


def test_certificates_are_read_between_the_two_words_of_a_reload(
    manager: ServiceManager, tmp_path: Path, authority: Authority
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    server = Server(Echo, "tls://127.0.0.1:0", certfile=certfile, keyfile=keyfile)
    contexts: list[Any] = []

    def look_on() -> None:
        manager.hear_until("READY")
        assert ask_secretly(bound(server), authority) == b"hello\n"
        contexts.append(server.tls_context)
        os.kill(os.getpid(), signal.SIGHUP)
        assert manager.hear_until("READY")[-1]["STATUS"] == "reloaded"
        contexts.append(server.tls_context)
        Path(certfile).write_text("no certificate")
        os.kill(os.getpid(), signal.SIGHUP)
        assert manager.hear_until("READY")[-1]["STATUS"].startswith("not reloaded: ")

    while_running(server, look_on)
    assert contexts[0] is not contexts[1]


def test_without_a_manager_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    told: list[object] = []
    monkeypatch.setattr(ours.ServiceManager, "tell", lambda _, *what: told.append(what))
    server = Server(Echo, ANY_PORT)
    server.run(server.stop)
    assert told == []


def test_a_full_socket_of_the_manager_holds_up_no_accept_loop(
    tmp_path: Path,
) -> None:
    with ServiceManager(f"{tmp_path}/notify") as manager:
        told, clock = service(manager, timeout=10)
        for _ in range(2000):  # more than net.unix.max_dgram_qlen
            told.look()
            clock.advance(5)
        assert manager.hear() == {"WATCHDOG": "1"}
