"""What is told of refusals, with a clock of our own."""

import os
import pickle
import threading

import pytest

from manyhands.admission.refusal_log import INTERVAL, RefusalLog, Tally
from manyhands.model.connection_states import Reason
from manyhands.model.events import RefusalSummary
from tests.support.waiting import PATIENCE

FULL, DENIED = Reason.REFUSED_FULL, Reason.REFUSED_DENIED


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


SINCE_1970 = 1_772_366_400.0
"""What the wall clock says when the other one begins."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> RefusalLog:
    return RefusalLog(clock, wall_clock=lambda: SINCE_1970 + clock.now)


def told(tally: Tally | None) -> RefusalSummary:
    assert tally is not None
    return RefusalSummary(*tally)


def test_the_first_refusal_is_told_of_at_once(log: RefusalLog) -> None:
    summary = told(log.note(FULL, ("192.0.2.1", 5)))
    assert summary.counts == {FULL: 1}
    assert summary.peers == (("192.0.2.1", 5),)
    assert (summary.since, summary.seconds) == (SINCE_1970 + 1000, 0.0)
    assert log.due() is None


def test_those_after_it_are_told_of_together_an_interval_later(
    log: RefusalLog, clock: Clock
) -> None:
    log.note(FULL, ("192.0.2.1", 5))
    clock.now += 1
    for number in range(5000):
        assert log.note(FULL, (f"10.0.0.{number % 256}", 5)) is None
    clock.now += INTERVAL - 1.1
    assert log.note(DENIED, ("192.0.2.1", 5)) is None
    assert log.due() is None
    clock.now += 0.1
    summary = told(log.due())
    assert summary.counts == {FULL: 5000, DENIED: 1}
    assert list(summary.counts) == [FULL, DENIED]
    assert summary.total == 5001
    assert summary.since == pytest.approx(SINCE_1970 + 1001)
    assert summary.seconds == pytest.approx(INTERVAL - 1)
    assert log.due() is None


def test_a_refusal_that_comes_when_it_is_due_brings_the_summary(
    log: RefusalLog, clock: Clock
) -> None:
    log.note(FULL, ("192.0.2.1", 5))
    log.note(FULL, ("192.0.2.1", 5))
    clock.now += INTERVAL
    summary = told(log.note(DENIED, ("192.0.2.1", 5)))
    assert summary.counts == {FULL: 1, DENIED: 1}


def test_however_many_there_are_one_summary_comes_in_each_interval_and_none_is_missing(
    log: RefusalLog, clock: Clock
) -> None:
    totals = []
    for _ in range(1000):
        clock.now += 0.1
        totals += [told(tally).total for tally in (log.note(FULL, None), log.due()) if tally]
    totals += [told(log.rest()).total]
    assert sum(totals) == 1000
    assert len(totals) <= 2 + 100 / INTERVAL


def test_without_refusals_there_is_nothing_to_tell(log: RefusalLog, clock: Clock) -> None:
    clock.now += 1e6
    assert log.due() is None
    assert log.rest() is None


def test_the_first_three_hosts_are_named(log: RefusalLog) -> None:
    log.note(FULL, None)
    for host in ("a", "a", "b", "a", "c", "d"):
        log.note(FULL, (host, 5))
    assert [peer[0] for peer in told(log.rest()).peers] == ["a", "b", "c"]  # type: ignore[index]


def test_a_summary_is_a_sentence(log: RefusalLog, clock: Clock) -> None:
    assert str(told(log.note(FULL, ("192.0.2.1", 5)))) == (
        "refused 1 connection from 192.0.2.1:5: the server had max_connections (or max_datagrams) already"
    )
    for host in ("192.0.2.1", "2001:db8::1", "192.0.2.3"):
        log.note(FULL, (host, 5))
    log.note(DENIED, ("192.0.2.9", 5))
    clock.now += 2.5
    assert str(told(log.rest())) == (
        "refused 4 connections within 2.5 s from 192.0.2.1:5, [2001:db8::1]:5, 192.0.2.3:5, ...: "
        "the server had max_connections (or max_datagrams) already (3); "
        "its address is not one that the server serves (allow, deny) (1)"
    )


@pytest.mark.parametrize(
    ("client_address", "shown"),
    [
        ("", " from a Unix socket"),
        (b"", " from a Unix socket"),
        ("/tmp/a\x1b", r" from /tmp/a\x1b"),
        (None, ""),
    ],
)
def test_a_refused_address_is_shown_safely(
    log: RefusalLog, client_address: object, shown: str
) -> None:
    assert str(told(log.note(FULL, client_address))) == (
        f"refused 1 connection{shown}: the server had max_connections (or max_datagrams) already"
    )


def test_a_forked_copy_has_nothing_to_tell_and_does_not_wait(log: RefusalLog) -> None:
    log.note(FULL, None)
    log.note(FULL, None)
    log._lock.acquire()
    child = os.fork()
    if not child:
        os._exit(log.rest() is not None)
    log._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_refusal_in_the_middle_of_another_one_waits_for_nothing() -> None:
    """A finalizer or a signal handler, which may come anywhere, may warn: the clock stands for it here."""
    told: list[object] = []

    def clock() -> float:
        if not told:
            told.append(None)
            told.append(log.note(DENIED, None))
        return 1000.0

    log = RefusalLog[Reason](clock)
    thread = threading.Thread(target=lambda: told.append(log.note(FULL, None)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    counts = [dict(tally[0]) for tally in (*told[1:], log.rest()) if isinstance(tally, tuple)]
    assert sum(sum(each.values()) for each in counts) == 2


def test_a_tally_can_go_to_another_process(log: RefusalLog[Reason]) -> None:
    tally = log.note(FULL, ("192.0.2.1", 50000))
    assert tally is not None
    assert pickle.loads(pickle.dumps(RefusalSummary(*tally))) == RefusalSummary(*tally)
