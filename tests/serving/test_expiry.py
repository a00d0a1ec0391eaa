"""The expiry of connections, by a clock that the test moves, with traffic that the test sets."""

import math
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry
from manyhands.connections.timeouts import ConnectionTimeouts, private_store, shared_store
from manyhands.connections.traffic import Traffic
from manyhands.engines import ENGINES
from manyhands.model.connection_states import Reason, State, Step
from manyhands.model.timeouts import NONE, Deadlines
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.slices import whole
from manyhands.serving.reaper import CLOSE_NOTIFY_GRACE, GRACE, Expiry
from manyhands.testing import FakeClock

QUIET = Traffic(1, 0, 0, 0, 0.0, 0.0, waits_for_peer=False)


def said(request: Any, client_address: Any) -> bool:
    """Serve nothing."""
    return True


class Told(Connection):
    """A connection whose traffic is what the test says, and whose worker ends if it is willing."""

    __slots__ = ("insisted", "is_willing", "looks", "registry", "said", "was_abandoned")

    def __init__(self, clock: FakeClock, registry: Registry, *, is_willing: bool = True) -> None:
        super().__init__(None, None, None, said, ENGINES["threads"](), Mock(registry=registry))
        self.opened_at = clock()
        self.said: Traffic | None = QUIET
        self.is_willing = is_willing
        self.was_abandoned = False
        self.looks = self.insisted = 0
        self.registry = registry
        registry.open(self)
        self.take(Step.HANDLER_BEGINS)

    def traffic_now(self) -> Traffic | None:
        self.looks += 1
        return self.said

    is_out_of_reach = False

    def _ask_worker_to_end(self) -> None:
        if self.is_willing:
            self.registry.close(self)

    def insist(self) -> None:
        self.insisted += 1

    def abandon(self) -> None:
        self.was_abandoned = True
        self.registry.close(self)


class Expiring:
    def __init__(self, deadlines: Deadlines) -> None:
        self.clock = FakeClock(1000.0)
        self.registry = Registry()
        self.deadlines = deadlines
        self._expiry = Expiry(self.registry, self.clock)
        self.in_slices: Any = whole

    def connection(self, **how: Any) -> Told:
        return Told(self.clock, self.registry, **how)

    def look(self) -> float | None:
        return self._expiry.look(lambda _: self.deadlines, self.in_slices)


def test_without_deadlines_no_connection_is_looked_at_and_there_is_no_next_time() -> None:
    expiring = Expiring(NONE)
    connection = expiring.connection()
    assert expiring.look() is None
    assert connection.looks == 0


def test_without_connections_there_is_no_next_time() -> None:
    assert Expiring(Deadlines(idle_timeout=1)).look() is None


def test_an_idle_connection_is_ended_for_that_reason() -> None:
    expiring = Expiring(Deadlines(idle_timeout=30))
    connection = expiring.connection()
    assert expiring.look() == 1.0
    expiring.clock.advance(31)
    connection.said = QUIET._replace(silent=31.0)
    expiring.look()
    assert expiring.registry.closed == {Reason.IDLE: 1}


def test_no_connection_is_looked_at_before_the_deadline_can_have_passed() -> None:
    expiring = Expiring(Deadlines(idle_timeout=10))
    connection = expiring.connection()
    for _ in range(10):
        expiring.look()
        expiring.clock.advance(1)
    assert connection.looks == 1
    expiring.look()
    assert connection.looks == 2


def test_other_deadlines_have_a_connection_looked_at_at_once() -> None:
    expiring = Expiring(Deadlines(idle_timeout=10))
    connection = expiring.connection()
    expiring.look()
    expiring.clock.advance(2)
    connection.said = QUIET._replace(silent=2.0)
    expiring.deadlines = Deadlines(idle_timeout=1)
    expiring.look()
    assert connection.reason is Reason.IDLE


def test_a_stall_is_measured_from_look_to_look() -> None:
    expiring = Expiring(Deadlines(write_timeout=4))
    connection = expiring.connection()
    connection.said = QUIET._replace(waits_for_peer=True, acknowledged=5)
    for _ in range(4):
        expiring.look()
        expiring.clock.advance(1)
    connection.said = connection.said._replace(acknowledged=6)
    for _ in range(5):
        expiring.look()
        assert connection.reason is None
        expiring.clock.advance(1)
    expiring.look()
    assert connection.reason is Reason.WRITE_STALLED


def test_a_worker_that_does_not_end_is_abandoned_after_its_grace() -> None:
    expiring = Expiring(Deadlines(max_age=10))
    connection = expiring.connection(is_willing=False)
    expiring.clock.advance(12)
    assert expiring.look() == pytest.approx(CLOSE_NOTIFY_GRACE)
    assert (connection.state, connection.reason) == (State.CLOSING, Reason.TOO_OLD)
    assert not connection.insisted
    expiring.clock.advance(CLOSE_NOTIFY_GRACE)
    assert expiring.look() == pytest.approx(GRACE - CLOSE_NOTIFY_GRACE)
    expiring.clock.advance((GRACE - CLOSE_NOTIFY_GRACE) / 2)
    expiring.look()
    assert connection.insisted == 1
    assert not connection.was_abandoned
    expiring.clock.advance((GRACE - CLOSE_NOTIFY_GRACE) / 2)
    assert expiring.look() is None
    assert connection.was_abandoned
    assert expiring.registry.balance == (1, 0, 1)


def test_a_worker_that_ends_in_time_is_not_abandoned() -> None:
    expiring = Expiring(Deadlines(max_age=10))
    connection = expiring.connection()
    expiring.clock.advance(12)
    expiring.look()
    expiring.clock.advance(GRACE)
    expiring.look()
    assert not connection.was_abandoned


@pytest.mark.parametrize("step", [Step.PROXY_HEADER_IS_DUE, Step.HANDSHAKE_IS_DUE])
def test_an_opening_has_a_deadline_of_its_own(step: Step) -> None:
    expiring = Expiring(Deadlines(idle_timeout=1, max_age=1))
    connection = expiring.connection()
    connection.state = State.ACCEPTED
    connection.take(step)
    connection.said = QUIET._replace(silent=5.0)
    expiring.clock.advance(5)
    # Looked at again all the same, for no event says when it is open.
    assert expiring.look() == 0.25
    assert connection.reason is None
    connection.take(Step.HANDLER_BEGINS)
    expiring.look()
    assert connection.reason is Reason.IDLE


def test_whose_end_was_decided_before_keeps_that_reason() -> None:
    expiring = Expiring(Deadlines(idle_timeout=1))
    connection = expiring.connection(is_willing=False)
    connection.close(Reason.KICKED)
    connection.said = QUIET._replace(silent=5.0)
    expiring.look()
    assert connection.reason is Reason.KICKED


def test_a_long_look_lets_others_have_their_turn() -> None:
    expiring = Expiring(Deadlines(idle_timeout=1))
    all_of_them = [expiring.connection() for _ in range(30)]
    slices: list[list[Any]] = []

    def in_slices(connections: list[Any]) -> Iterator[list[Any]]:
        for start in range(0, 30, 10):
            slices.append([each for each in all_of_them if each.looks])
            yield connections[start : start + 10]

    expiring.in_slices = in_slices
    expiring.look()
    # Of those in the next slice the kernel is asked only when that is taken.
    assert [len(each) for each in slices] == [0, 10, 20]


def test_what_has_ended_is_forgotten() -> None:
    expiring = Expiring(Deadlines(idle_timeout=10))
    connection = expiring.connection()
    expiring.look()
    assert expiring._expiry._looks
    expiring.registry.close(connection)
    expiring.look()
    assert not expiring._expiry._looks


@pytest.mark.parametrize("store", [private_store, shared_store])
class TestConnectionTimeouts:
    """What a handler sets, and what the server has."""

    def test_they_are_the_server_s_until_the_handler_sets_its_own(self, store: Any) -> None:
        usual = Deadlines(idle_timeout=30, max_age=600)
        own = ConnectionTimeouts(lambda: usual, lambda: None, store())
        assert not own.are_any
        assert (own.idle_timeout, own.write_timeout, own.max_age) == (30, None, 600)
        own.idle_timeout = None
        own.write_timeout = 5
        own.max_age = 0.5
        assert own.are_any
        assert (own.idle_timeout, own.write_timeout, own.max_age) == (None, 5, 0.5)

    def test_each_change_is_told(self, store: Any) -> None:
        told: list[None] = []
        own = ConnectionTimeouts(lambda: NONE, lambda: told.append(None), store())
        own.idle_timeout = 5
        own.idle_timeout = None
        assert len(told) == 2

    def test_they_are_the_same_object_while_nothing_changes(self, store: Any) -> None:
        usual = Deadlines(idle_timeout=30)
        own = ConnectionTimeouts(lambda: usual, lambda: None, store())
        own.max_age = 5
        first = own.with_usual(usual)
        assert own.with_usual(usual) is first
        own.max_age = 6
        assert own.with_usual(usual).max_age == 6
        assert own.with_usual(Deadlines(idle_timeout=1)).idle_timeout == 1

    def test_none_at_all_is_none_itself(self, store: Any) -> None:
        usual = Deadlines(idle_timeout=30)
        own = ConnectionTimeouts(lambda: usual, lambda: None, store())
        own.idle_timeout = None
        assert own.with_usual(usual) is NONE

    @pytest.mark.parametrize("seconds", [0, -1, "30", math.nan, math.inf, True])
    def test_what_is_no_time_is_refused(self, store: Any, seconds: Any) -> None:
        own = ConnectionTimeouts(lambda: NONE, lambda: None, store())
        with pytest.raises(Mistake, match=r"^idle_timeout must be a number of seconds"):
            own.idle_timeout = seconds
        assert own.idle_timeout is None
