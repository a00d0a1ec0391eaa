"""The life of a `manyhands.Server`: started, stopped, run, closed, in every order that people find."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import Server
from tests.support import (
    ENGINES,
    Echo,
    ask,
    bound,
    call,
    everything,
    is_listening,
    left_open,
    open_descriptors,
    run_python,
    wait_for_descriptors,
    wait_until,
)

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def until_told(request: socket.socket, client_address: Any, server: Any) -> None:
    request.sendall(b"begun")
    request.recv(1)


def in_a_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Start `work` in a thread; return it and where its result will be."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_as_soon_as_the_server_is_announced_ends_it_gracefully(
    engine: str, number: signal.Signals
) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    announced: list[Any] = []

    def announce() -> None:
        announced.extend(server.addresses)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    assert server.run(announce) == []
    assert len(announced) == 1
    assert signal.getsignal(number) is before


def test_an_announcement_that_fails_leaves_nothing_open() -> None:
    before = open_descriptors()
    server = Server(Echo, ANY_PORT)
    with pytest.raises(ZeroDivisionError):
        server.run(lambda: 1 / 0)
    assert server.addresses == []
    assert not left_open(before)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_is_there_from_the_beginning(engine: str) -> None:
    bounds = {"threads": "max_threads", "processes": "max_children", "fibers": "max_fibers"}
    bound = {bounds[engine]: 3} if engine in bounds else {}
    server = Server(Echo, ANY_PORT, engine=engine, **bound)
    chosen = server.engine
    assert chosen.name == engine
    assert chosen.limit == (3 if bound else None)
    with server:
        assert server.engine is chosen
    assert server.engine is chosen


@pytest.mark.parametrize("engine", ENGINES)
def test_run_in_another_thread_serves_until_stop_and_leaves_signals_alone(engine: str) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = Server(Echo, ANY_PORT, engine=engine)
    server.listen()
    address = bound(server)
    thread, results = in_a_thread(server.run)
    assert ask(address) == b"hello\n"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    server.stop()
    thread.join(20)
    assert results == [[]]


@pytest.mark.parametrize("engine", ENGINES)
def test_run_within_a_with_serves_on_until_it_is_stopped(engine: str) -> None:
    handles_signals = threading.Event()

    def stop() -> None:
        assert ask(address) == b"hello\n"
        # It has been serving since before `run`: a signal that comes earlier ends the program.
        assert handles_signals.wait(20)
        os.kill(os.getpid(), signal.SIGTERM)

    with Server(Echo, ANY_PORT, engine=engine) as server:
        address = bound(server)
        thread, _ = in_a_thread(stop)
        assert server.run(handles_signals.set) == []
        thread.join(20)
        assert not is_listening(address[1])
    assert server.addresses == []


def test_run_within_a_with_that_was_stopped_already_returns_at_once() -> None:
    with Server(Echo, ANY_PORT) as server:
        server.stop()
        wait_until(lambda: not any(t.name == "manyhands-accept" for t in threading.enumerate()))
        assert server.run() == []


def test_run_reports_the_cut_off_connections_of_a_server_that_was_started() -> None:
    server = Server(until_told, ANY_PORT, drain_timeout=0)
    server.start()
    with call(bound(server)) as peer:
        assert peer.recv(10)
        server.stop()
        (cut_off,) = server.run()
        assert cut_off.peer == f"127.0.0.1:{peer.getsockname()[1]}"


@pytest.mark.parametrize("engine", ENGINES)
def test_stop_before_start_has_it_stop_at_once_and_the_next_start_serve(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    server.stop()
    server.start()
    assert server.is_stopping
    assert server.close() == []
    with server:
        assert ask(bound(server)) == b"hello\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_was_stopped_starts_anew_when_it_has_drained(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    server.start()
    first = bound(server)
    server.stop()
    server.start()
    assert not is_listening(first[1])
    assert ask(bound(server)) == b"hello\n"
    assert server.close() == []


def test_starting_twice_is_one_sentence_and_the_server_goes_on() -> None:
    with Server(Echo, ANY_PORT) as server:
        with pytest.raises(RuntimeError, match=r"^the server is serving already: stop it before"):
            server.start()
        with pytest.raises(RuntimeError, match=r"^the server is serving already"), server:
            pass
        assert ask(bound(server)) == b"hello\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_what_cannot_be_done_while_it_runs_is_one_sentence(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    server.listen()
    address = bound(server)
    thread, results = in_a_thread(server.run)
    assert ask(address) == b"hello\n"
    with pytest.raises(RuntimeError, match=r"^the server is running already"):
        server.run()
    with pytest.raises(RuntimeError, match=r"^the server is serving already"):
        server.start()
    with pytest.raises(RuntimeError, match=r"^the server is being served: call stop\(\)"):
        server.close()
    assert ask(address) == b"hello\n"
    server.stop()
    thread.join(20)
    assert results == [[]]


def test_a_handler_that_closes_its_server_is_told_to_stop_it() -> None:
    def handler(request: socket.socket, client_address: Any, listener: Any) -> None:
        with pytest.raises(RuntimeError, match=r"^the server is being served: call stop\(\)"):
            server.close()
        request.sendall(b"told")

    with Server(handler, ANY_PORT) as server, call(bound(server)) as peer:
        assert everything(peer) == b"told"


def test_closing_does_no_harm_at_any_time() -> None:
    before = open_descriptors()
    server = Server(Echo, ANY_PORT)
    assert server.close() == []
    server.listen()
    assert server.close() == []
    assert server.addresses == []
    with server:
        assert ask(bound(server)) == b"hello\n"
        assert server.close() == []
    assert server.close() == []
    assert not left_open(before)


def test_an_exception_in_the_body_leaves_nothing_open_and_comes_out() -> None:
    def body() -> None:
        with server:
            assert ask(bound(server)) == b"hello\n"
            raise ZeroDivisionError

    before = open_descriptors()
    server = Server(Echo, ANY_PORT)
    with pytest.raises(ZeroDivisionError):
        body()
    assert server.addresses == []
    wait_for_descriptors(before)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupt_in_the_drain_cuts_off_what_is_left(engine: str) -> None:
    # Of a program that does not `run`, and so handles no signals: the second Ctrl-C.
    server = Server(until_told, ANY_PORT, engine=engine, drain_timeout=3600)
    server.start()
    with call(bound(server)) as peer:
        assert peer.recv(10)
        interrupting = threading.Thread(target=interrupt_the_drain, args=(bound(server)[1],))
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            server.close()
        assert everything(peer) == b""
        interrupting.join(20)
    # Other tests ask the kernel whether this process has children.
    assert server.engine.join(20)


def interrupt_the_drain(port: int) -> None:
    wait_until(lambda: not is_listening(port))
    signal.raise_signal(signal.SIGINT)


def test_a_thread_that_cannot_be_had_leaves_nothing_listening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = open_descriptors()
    server = Server(Echo, ANY_PORT)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            server.start()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            server.run()
    assert server.addresses == []
    assert not left_open(before)
    with server:
        assert ask(bound(server)) == b"hello\n"


def test_a_signal_handler_that_python_did_not_install_is_no_obstacle() -> None:
    # `signal.signal` then returns None, which it does not take back.
    run_python(
        """
        import signal
        from manyhands import Server, StreamRequestHandler
        real = signal.signal
        def with_a_foreign_handler(number, handler):
            before = real(number, handler)
            return None if before is signal.SIG_DFL else before
        signal.signal = with_a_foreign_handler
        server = Server(StreamRequestHandler, "tcp://127.0.0.1:0")
        server.stop()
        assert server.run() == []
        """
    )


@pytest.mark.parametrize(
    "options", [*({"engine": engine} for engine in ENGINES), {"engine": "threads", "workers": 1}]
)
def test_a_signal_that_another_thread_receives_stops_the_server_too(
    options: dict[str, Any],
) -> None:
    # The system may give it to any thread; Python handles it in the main one, which must not sleep on.
    program = f"""
        import signal, threading
        from manyhands import Server
        from manyhands.server import served_sockets
        served_sockets.POLL_INTERVAL = 3600

        def receive_a_signal():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        server = Server(lambda *_: None, "tcp://127.0.0.1:0", **{options})
        server.run(threading.Timer(0.2, receive_a_signal).start)
        print("stopped")
    """
    assert run_python(program).startswith("stopped\n")


def test_a_server_listens_without_the_module_that_finds_names_like_another_one() -> None:
    program = """
        import sys
        from manyhands import Mistake, Server
        sys.modules["difflib"] = None  # as in a process that has changed its root since
        with Server(print, "tcp://127.0.0.1:0", "udp://127.0.0.1:0") as server:
            print(len(server.addresses))
        try:
            Server(print, "unix:///x.sock?mod=660")
        except Mistake as mistake:
            print(mistake)
    """
    served, mistake = run_python(program).splitlines()
    assert served == "2"
    assert mistake.endswith("mode, owner or group may follow the '?', and not 'mod'")


def test_a_server_that_listens_has_not_loaded_it() -> None:
    program = """
        import sys
        from manyhands import Server
        with Server(print, "tcp://127.0.0.1:0", "udp://127.0.0.1:0"):
            print("difflib" in sys.modules)
    """
    assert run_python(program) == "False\n"
