"""One run of a `manyhands.Server` after another: who is left behind by one has nothing to say in the next."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manyhands import Server, events
from manyhands.rules.reasons import Reason
from manyhands.servers.drain import UNWINDING, UNWINDING_IN_A_HURRY, drain
from manyhands.servers.engine_room import EngineRoom
from tests.support import Echo, bound, call, is_listening, read_line, wait_until

ANY_PORT = "tcp://127.0.0.1:0"
IN_THIS_PROCESS = ("sequential", "threads", "fibers")

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Stubborn:
    """Answers a line; of one that says "stay" it stays, whatever is done to its connection."""

    def __init__(self, engine: str) -> None:
        self._is_on_fibers = engine == "fibers"
        self.may_go = threading.Event()
        self.has_gone = threading.Event()
        self.last_words: Callable[[Any], object] = lambda server: None

    def __call__(self, request: socket.socket, client_address: Any, server: Any) -> None:
        line = request.recv(100)
        request.sendall(line)
        if line != b"stay\n":
            return
        while not self.may_go.is_set():
            try:
                self._wait()
            except BaseException:  # noqa: BLE001 - on fibers even its waits are ended
                continue
        self.last_words(server)
        self.has_gone.set()

    def _wait(self) -> None:
        if self._is_on_fibers:
            import gevent  # noqa: PLC0415 - without fibers it need not be there

            gevent.sleep(0.01)
        else:
            self.may_go.wait(0.01)


@pytest.fixture
def stubborn(engine: str) -> Iterator[Stubborn]:
    """A handler for the engine, which goes at the latest when the test is over."""
    handler = Stubborn(engine)
    yield handler
    handler.may_go.set()


def say(server: Server, line: bytes) -> socket.socket:
    """Call a server and say a line; return the connection when it was answered."""
    peer = call(bound(server))
    peer.sendall(line)
    assert read_line(peer) == line
    return peer


class Greeting(Echo):
    """Speaks first: who has said nothing yet is not idle."""

    def setup(self) -> None:
        super().setup()
        self.wfile.write(b"hello\n")


def greeted(server: Server) -> socket.socket:
    """Call a server that speaks first; return the connection when it has spoken."""
    peer = call(bound(server))
    assert read_line(peer) == b"hello\n"
    return peer


def close_in_a_thread(server: Server, closed: list[Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: closed.append(server.close()))
    thread.start()
    return thread


@pytest.mark.parametrize("engine", IN_THIS_PROCESS)
def test_who_was_left_behind_is_neither_waited_for_nor_cut_off_again(
    engine: str, stubborn: Stubborn
) -> None:
    bounds = {"threads": "max_threads", "fibers": "max_fibers"}
    bound = {bounds[engine]: 1} if engine in bounds else {}
    server = Server(stubborn, ANY_PORT, engine=engine, drain_timeout=3600, **bound)
    server.start()
    with say(server, b"stay\n"):
        assert len(server.drain(0)) == 1
    assert server.connections.closed == {Reason.CUT_OFF: 1}
    wait_until(lambda: server.engine.running() == 0)
    # Nor does it take the only place.
    server.start()
    say(server, b"hello\n").close()
    assert server.close() == []
    stubborn.may_go.set()
    assert stubborn.has_gone.wait(20)


@pytest.mark.parametrize("engine", IN_THIS_PROCESS)
def test_who_was_left_behind_does_not_stop_the_next_run_and_still_sees_its_own_drain(
    engine: str, stubborn: Stubborn
) -> None:
    found: list[object] = []

    def last_words(listener: Any) -> None:
        found.append(listener.draining)
        found.append(listener._BaseServer__shutdown_request)
        listener.shutdown()
        listener._BaseServer__shutdown_request = True
        for end in (server.close, server.drain, listener.drain):
            with pytest.raises(RuntimeError, match=r"^the server is being served: call stop\(\)"):
                end()

    stubborn.last_words = last_words
    server = Server(stubborn, ANY_PORT, engine=engine)
    server.start()
    with say(server, b"stay\n"):
        server.drain(0)
    with server:
        stubborn.may_go.set()
        assert stubborn.has_gone.wait(20)
        assert found == [True, True]
        assert not server.is_stopping
        say(server, b"hello\n").close()


@pytest.mark.parametrize("engine", ["fibers"])
def test_fibers_that_were_left_behind_in_a_hurry_are_ended_all_the_same(
    engine: str, stubborn: Stubborn
) -> None:
    def wait_for_ever(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"begun\n")
        import gevent  # noqa: PLC0415 - without fibers it need not be there

        gevent.sleep(3600)

    before = set(threading.enumerate())
    server = Server(wait_for_ever, ANY_PORT, engine=engine)
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"begun\n"
        server.hurry()
        assert len(server.close()) == 1
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_who_closes_beside_another_waits_for_it_and_is_told_the_same(engine: str) -> None:
    server = Server(Greeting, ANY_PORT, engine=engine, drain_timeout=3600)
    server.start()
    first: list[Any] = []
    second: list[Any] = []
    port = bound(server)[1]
    with greeted(server):
        threads = [close_in_a_thread(server, first)]
        wait_until(lambda: not is_listening(port))
        threads.append(close_in_a_thread(server, second))
        server.drain_timeout = 0  # no concern of a drain that is under way
        assert len(server.connections) == 1
        server.hurry()
        for thread in threads:
            thread.join(20)
    assert first == second
    assert len(first[0]) == 1
    assert server.close() == []


def test_a_drain_that_is_refused_changes_nothing(engine: str) -> None:
    server = Server(Greeting, ANY_PORT, engine=engine, drain_timeout=3600)
    answers: list[bytes] = []

    def announce() -> None:
        with pytest.raises(RuntimeError, match=r"^this thread runs the server"):
            server.drain(0)
        talking.start()

    def talk() -> None:
        port = bound(server)[1]
        with greeted(server) as peer:
            server.stop()
            wait_until(lambda: not is_listening(port))
            peer.sendall(b"and goodbye\n")
            answers.append(read_line(peer))

    talking = threading.Thread(target=talk)
    assert server.run(announce) == []
    talking.join(20)
    assert answers == [b"and goodbye\n"]


def test_what_holds_up_the_accept_loop_does_not_hold_up_the_end(seen: list[events.Event]) -> None:
    is_held_up, may_go = threading.Event(), threading.Event()

    def hold_up(event: events.Event) -> None:
        if isinstance(event, events.EngineFull):
            is_held_up.set()
            may_go.wait(20)

    def until_the_end(request: socket.socket, client_address: Any, listener: Any) -> None:
        request.sendall(b"begun\n")
        request.recv(1)

    unsubscribe = events.hub.subscribe(hold_up)
    server = Server(until_the_end, ANY_PORT, engine="threads", max_threads=1)
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"begun\n"
        assert is_held_up.wait(20)
        assert len(server.drain(0)) == 1
    may_go.set()
    unsubscribe()


def test_a_second_request_for_the_end_gives_handlers_less_time() -> None:
    waits: list[float] = []

    def join(timeout: float) -> bool:
        waits.append(timeout)
        return False

    assert drain(EngineRoom(), 0, lambda: False, join) == []
    assert waits.pop() == UNWINDING
    assert drain(EngineRoom(), 3600, lambda: True, join) == []
    assert waits.pop() == UNWINDING_IN_A_HURRY


def test_an_end_that_a_signal_handler_asks_for_in_the_middle_of_the_end_is_no_deadlock() -> None:
    server = Server(Greeting, ANY_PORT, drain_timeout=3600)
    server.start()
    answers: list[Any] = []

    def close_again(number: int, frame: object) -> None:
        answers.append(server.close())
        server.hurry()

    before = signal.signal(signal.SIGUSR1, close_again)
    port = bound(server)[1]
    try:
        with greeted(server):
            sending = threading.Thread(target=signal_when_it_drains, args=(port,))
            sending.start()
            assert len(server.close()) == 1
            sending.join(20)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert answers == [[]]


def signal_when_it_drains(port: int) -> None:
    wait_until(lambda: not is_listening(port))
    signal.raise_signal(signal.SIGUSR1)
