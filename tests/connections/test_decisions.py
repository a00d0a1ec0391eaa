"""Of several that end one connection at the same time one hears that it did, and its reason counts."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest

from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Rooms
from manyhands.model.connection_states import Reason, State
from manyhands.serving.reaper import Reaper

ROUNDS = 100


class Core:
    """As much of a server's core as the end of a connection needs."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.rooms = Rooms()


class Engine:
    """Serves nothing."""

    name = "threads"
    knows_its_callers = wraps_sockets = False

    def end(self, task: object) -> None:
        pass


class Hooks:
    """The one hook of a server that is called here."""

    @staticmethod
    def shutdown_request(request: object) -> None:
        pass


def connection_of(core: Any, *, is_registered: bool = True) -> Any:
    engine: Any = Engine()
    connection: Any = Connection(Hooks, None, None, lambda *_: True, engine, core)
    if is_registered:
        connection.is_registered = True
        core.registry.open(connection)
    return connection


@contextmanager
def switching_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def race(connections: list[Any], *deeds: Any) -> list[list[Any]]:
    """Do each deed to every connection, in a thread for each deed, at nearly the same time."""
    results: list[list[Any]] = [[None] * len(connections) for _ in deeds]
    at = [0] * len(deeds)

    def run(me: int) -> None:
        for number, connection in enumerate(connections):
            at[me] = number
            while min(at) < number:
                pass
            results[me][number] = deeds[me](connection)
        at[me] = len(connections)

    threads = [threading.Thread(target=run, args=(me,)) for me in range(len(deeds))]
    with switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


def test_one_of_two_closers_hears_that_it_ended_a_connection() -> None:
    core = Core()
    connections = [connection_of(core) for _ in range(ROUNDS)]
    first, second = race(connections, Connection.close, Connection.close)
    assert [a + b for a, b in zip(first, second, strict=True)] == [1] * ROUNDS


def test_a_closer_and_the_worker_agree_on_who_ended_it() -> None:
    core = Core()
    connections = [connection_of(core) for _ in range(ROUNDS)]
    kicked, _ = race(
        connections, Connection.close, lambda each: each.was_not_served(Reason.NO_WORKER)
    )
    assert core.registry.closed.get(Reason.KICKED, 0) == sum(kicked)
    for was_kicked, each in zip(kicked, connections, strict=True):
        assert (each.reason is Reason.KICKED) == was_kicked
        assert each.state is State.CLOSED


class Interrupted(dict[int, Any]):
    """Has something else happen between two steps of a decision: what threads do seldom, done each time."""

    def __init__(self) -> None:
        self.before: Any = None
        self.after: Any = None

    def setdefault(self, number: int, decision: Any) -> Any:  # type: ignore[override]
        before, self.before = self.before, None
        if before is not None:
            before()
        decided = super().setdefault(number, decision)
        after, self.after = self.after, None
        if after is not None:
            after()
        return decided


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> Interrupted:
    replaced = Interrupted()
    monkeypatch.setattr("manyhands.connections.ends._decisions", replaced)
    return replaced


def test_a_decision_between_the_look_and_the_step_of_another_one_counts(
    decisions: Interrupted,
) -> None:
    connection = connection_of(Core())
    told: list[bool] = []
    decisions.before = lambda: told.append(connection.close(Reason.IDLE))
    assert not connection.close()
    assert (told, connection.reason) == ([True], Reason.IDLE)


def test_a_worker_that_ends_before_the_step_is_the_one(decisions: Interrupted) -> None:
    core = Core()
    connection = connection_of(core)
    decisions.before = connection.process_request_thread
    assert not connection.close()
    assert (connection.reason, connection.state) == (Reason.HANDLER_RETURNED, State.CLOSED)
    assert core.registry.closed == {Reason.HANDLER_RETURNED: 1}
    assert not decisions


def test_a_worker_that_ends_after_the_step_counts_what_was_decided(decisions: Interrupted) -> None:
    core = Core()
    connection = connection_of(core)
    decisions.after = connection.process_request_thread
    assert connection.close()
    assert (connection.reason, connection.state) == (Reason.KICKED, State.CLOSED)
    assert core.registry.closed == {Reason.KICKED: 1}
    assert not decisions


@pytest.mark.parametrize("is_registered", [True, False], ids=["connection", "datagram"])
def test_nothing_is_kept_of_a_decision_when_the_connection_has_ended(
    decisions: Interrupted, is_registered: bool
) -> None:
    connection = connection_of(Core(), is_registered=is_registered)
    assert connection.close()
    connection.process_request_thread()
    assert not decisions


def test_two_threads_that_ask_for_the_deadlines_first_get_the_same() -> None:
    made: list[object] = []

    class Timed(Core):
        @property
        def options(self) -> Self:
            return self

        def timeouts_on(self, server: object, engine: str) -> object:
            if not made:
                made.append(None)
                # What another thread does while this one makes them.
                made.append(connection.deadlines)
            return object()

    connection = connection_of(Timed())
    assert connection.deadlines is made[1] is connection.deadlines


def test_a_call_of_the_reaper_counts_under_its_lock() -> None:
    """A thread of the reaper that is about to end looks there whether one has come meanwhile."""
    reaper = Reaper(Registry())
    counted: list[int] = []

    class Lock:
        def __enter__(self) -> None:
            counted.append(reaper.calls)

        def __exit__(self, *_: object) -> None:
            counted.append(reaper.calls)

    reaper._lock = Lock()  # type: ignore[assignment]
    reaper.call("threads")
    assert counted == [0, 1]
