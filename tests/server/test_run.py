"""One run of a `manyhands.Server` after another: a handler left behind by one cannot affect the next."""

import errno
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manyhands import Server, events
from manyhands.model.connection_states import Reason
from manyhands.server import run
from manyhands.serving.core import ServerCore
from manyhands.serving.drain import UNWINDING, UNWINDING_IN_A_HURRY, CutOff, drain
from tests.support import Echo, bound, call, everything, is_listening, read_line, wait_until

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


def left_behind(server: Server) -> list[CutOff]:
    """Start a server of a stubborn handler and drain it; return the cut off connection. Its handler stays."""
    server.start()
    with say(server, b"stay\n"):
        return server.drain(0)


class Greeting(Echo):
    """Speaks first: a client that has sent nothing yet is not idle."""

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


@pytest.mark.usefixtures("_given_up_soon")
@pytest.mark.parametrize("engine", IN_THIS_PROCESS)
def test_a_handler_left_behind_is_neither_waited_for_nor_cut_off_again(
    engine: str, stubborn: Stubborn
) -> None:
    bounds = {"threads": "max_threads", "fibers": "max_fibers"}
    bound = {bounds[engine]: 1} if engine in bounds else {}
    server = Server(stubborn, ANY_PORT, engine=engine, drain_timeout=3600, **bound)
    assert len(left_behind(server)) == 1
    assert server.connections.closed == {Reason.CUT_OFF: 1}
    wait_until(lambda: server.engine.running() == 0)
    # Nor does it take the only place.
    server.start()
    say(server, b"hello\n").close()
    assert server.close() == []
    stubborn.may_go.set()
    assert stubborn.has_gone.wait(20)


@pytest.mark.usefixtures("_given_up_soon")
@pytest.mark.parametrize("engine", IN_THIS_PROCESS)
def test_a_handler_left_behind_does_not_stop_the_next_run_and_still_sees_its_own_drain(
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
    left_behind(server)
    with server:
        stubborn.may_go.set()
        assert stubborn.has_gone.wait(20)
        assert found == [True, True]
        assert not server.is_stopping
        say(server, b"hello\n").close()


def test_fibers_that_were_left_behind_in_a_hurry_are_ended_all_the_same() -> None:
    def wait_for_ever(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"begun\n")
        import gevent  # noqa: PLC0415 - without fibers it need not be there

        gevent.sleep(3600)

    before = set(threading.enumerate())
    server = Server(wait_for_ever, ANY_PORT, engine="fibers")
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"begun\n"
        server.hurry()
        assert len(server.close()) == 1
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_second_close_waits_for_the_first_and_returns_the_same(engine: str) -> None:
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


def test_what_holds_up_the_accept_loop_does_not_hold_up_the_end() -> None:
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


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_no_client_is_served_by_a_loop_that_was_held_up_until_after_the_end(engine: str) -> None:
    is_held_up, may_go = threading.Event(), threading.Event()

    server = Server(Greeting, ANY_PORT, engine=engine)
    server.start()
    start = server.engine.start

    def held_up(task: Any) -> None:
        """Have the loop sleep with a connection that is in the registry and has no worker yet."""
        is_held_up.set()
        may_go.wait(20)
        start(task)

    server.engine.start = held_up  # type: ignore[method-assign]  # a moment that cannot be had otherwise
    with call(bound(server)) as peer:
        assert is_held_up.wait(20)
        server.drain(0)
        may_go.set()
        assert peer.recv(10) == b""
    del server.engine.start
    wait_until(lambda: not any(t.name == "manyhands-accept" for t in threading.enumerate()))
    server.close()
    wait_until(lambda: server.engine.join(0) and not server.connections)


def test_run_beside_a_drain_returns_with_it(engine: str) -> None:
    server = Server(Greeting, ANY_PORT, engine=engine, drain_timeout=3600)
    server.start()
    port = bound(server)[1]
    drained: list[Any] = []
    with greeted(server):
        closing = close_in_a_thread(server, drained)
        wait_until(lambda: not is_listening(port))
        threading.Timer(0.1, server.hurry).start()
        assert len(server.run()) == 1
        closing.join(20)
    assert len(drained[0]) == 1


def test_start_beside_a_run_that_was_stopped_is_refused_and_the_run_ends(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    refusals: list[str] = []

    def start() -> None:
        server.stop()
        try:
            server.start()
        except RuntimeError as error:
            refusals.append(str(error))

    starting = threading.Thread(target=start)
    run = server._sockets.current_run
    real = run.finish
    # The run has been stopped, and has not begun to end.
    run.finish = lambda: (starting.join(20), real())[1]  # type: ignore[method-assign]
    assert server.run(starting.start) == []
    assert refusals == ["the server is serving already: stop it before it is started again"]


@pytest.mark.parametrize("deed", ["start", "run", "close", "drain"])
def test_a_handler_does_none_of_what_it_would_wait_for_itself_in(engine: str, deed: str) -> None:
    def handler(request: socket.socket, client_address: Any, listener: Any) -> None:
        server.stop()
        try:
            getattr(server, deed)()
        except RuntimeError as error:
            request.sendall(str(error).encode())

    server = Server(handler, ANY_PORT, engine=engine)
    with server, call(bound(server)) as peer:
        assert everything(peer).startswith(b"the server is being served: call stop()")


def test_an_interrupt_while_the_listeners_close_leaves_a_server_that_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(kind: Any = None) -> None:
        close(kind)
        if kind is None:
            raise KeyboardInterrupt

    server = Server(Echo, ANY_PORT)
    server.start()
    close = server._sockets.group.close
    with monkeypatch.context() as patch:
        patch.setattr(server._sockets.group, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.close()
    assert not server.connections.is_draining
    assert server.close() == []
    with server:
        say(server, b"hello\n").close()


def test_a_run_that_fails_before_it_serves_leaves_nothing_listening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    server = Server(Echo, ANY_PORT)
    with monkeypatch.context() as patch:
        patch.setattr(run, "WakeUp", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            server.run()
    assert server.addresses == []
    with server:
        say(server, b"hello\n").close()


def test_every_thread_that_ends_the_server_gets_what_ended_the_accept_loop() -> None:
    server = Server(Greeting, ANY_PORT, drain_timeout=3600)
    server.start()
    told: list[str] = []

    def end() -> None:
        try:
            server.close()
        except ZeroDivisionError as failure:
            told.append(str(failure))

    with greeted(server):
        server._sockets.current_run.failure = ZeroDivisionError("by the loop")
        threads = [threading.Thread(target=end) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(server._sockets.current_run.is_being_ended)
        server.hurry()
        for thread in threads:
            thread.join(20)
    assert told[:1] == ["by the loop"]
    assert set(told) == {"by the loop"}


def test_a_server_that_was_suspended_is_not_when_it_is_started_anew(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    server.start()
    server.suspend()
    server.close()
    with server:
        say(server, b"hello\n").close()


@pytest.mark.usefixtures("_given_up_soon")
@pytest.mark.parametrize("engine", ["threads"])
def test_a_handler_left_behind_cannot_change_the_next_run(engine: str, stubborn: Stubborn) -> None:
    refusals: list[str] = []

    def last_words(listener: Any) -> None:
        for name in ("idle_timeout", "max_connections", "drain_timeout"):
            with pytest.raises(RuntimeError) as refused:
                setattr(listener, name, 1)
            refusals.append(str(refused.value))

    stubborn.last_words = last_words
    server = Server(stubborn, ANY_PORT, engine=engine)
    left_behind(server)
    with server:
        stubborn.may_go.set()
        assert stubborn.has_gone.wait(20)
    assert refusals[0] == "idle_timeout cannot be set: that run of the server has ended"
    assert (len(refusals), server.max_connections) == (3, 10_000)


def test_a_fiber_that_computes_is_left_behind_at_once() -> None:
    may_go = threading.Event()

    def compute(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"begun\n")
        while not may_go.is_set():
            time.sleep(0.001)  # and no other fiber runs

    server = Server(compute, ANY_PORT, engine="fibers", drain_timeout=3600)
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"begun\n"
        server.hurry()
        assert len(server.close()) == 1
        assert server.engine.running() == 0
        # The next run cannot begin yet, but it can end, and cuts no connection off again.
        server.start()
        assert server.drain(0) == []
        may_go.set()


def test_a_second_request_for_the_end_gives_handlers_less_time() -> None:
    waits: list[float] = []

    def join(timeout: float) -> bool:
        waits.append(timeout)
        return False

    assert drain(ServerCore(), lambda: 0, lambda: False, join) == []
    assert waits.pop() == UNWINDING
    assert drain(ServerCore(), lambda: 3600, lambda: True, join) == []
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
