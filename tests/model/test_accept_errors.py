"""What a failed `accept` means, and how long to rest: no sockets, no clock."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.model.accept_errors import (
    FIRST_REST,
    LONGEST_REST,
    REFUSE_AFTER,
    AcceptTrouble,
    Backoff,
    classify,
)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC]
)
def test_a_shortage_is_exhaustion(number: int) -> None:
    assert classify(OSError(number, "")) is AcceptTrouble.EXHAUSTED


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP])
def test_an_error_of_the_listener_is_a_broken_listener(number: int) -> None:
    assert classify(OSError(number, "")) is AcceptTrouble.BROKEN


# accept(2) lists those that a new connection's own failure gives.
@pytest.mark.parametrize(
    "number",
    [
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EPROTO,
        errno.EPERM,
        errno.EAGAIN,
        errno.EHOSTUNREACH,
    ],
)
def test_an_error_of_a_connection_concerns_one_client(number: int) -> None:
    assert classify(OSError(number, "")) is AcceptTrouble.THIS_CLIENT


def test_an_error_without_a_number_concerns_one_client() -> None:
    assert classify(OSError("no number")) is AcceptTrouble.THIS_CLIENT


def test_a_new_backoff_has_nothing_to_rest_from() -> None:
    backoff = Backoff()
    assert backoff.resting(0.0) == 0.0
    assert not backoff.patience_is_over(1e9)
    assert backoff.succeed(5.0) is None


def test_only_the_first_failure_of_a_row_is_the_first() -> None:
    backoff = Backoff()
    assert [backoff.fail(1.0), backoff.fail(2.0)] == [True, False]
    backoff.succeed(3.0)
    assert backoff.fail(4.0)


def test_the_rest_doubles_up_to_the_longest() -> None:
    backoff, rests, now = Backoff(), [], 100.0
    for _ in range(10):
        backoff.fail(now)
        rests.append(round(backoff.resting(now), 6))
        now += rests[-1]
    assert rests[:7] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64]
    assert rests[7:] == [LONGEST_REST] * 3


def test_a_success_ends_the_rest_and_says_how_long_it_lasted() -> None:
    backoff = Backoff()
    backoff.fail(10.0)
    backoff.fail(11.0)
    assert backoff.succeed(12.5) == 2.5
    assert backoff.resting(12.5) == 0.0


def test_after_a_success_the_rest_is_short_again() -> None:
    backoff = Backoff()
    for now in range(10):
        backoff.fail(float(now))
    backoff.succeed(10.0)
    backoff.fail(11.0)
    assert backoff.resting(11.0) == pytest.approx(FIRST_REST)


def test_patience_is_over_after_a_row_that_lasted() -> None:
    backoff = Backoff()
    backoff.fail(10.0)
    assert not backoff.patience_is_over(10.0 + REFUSE_AFTER - 0.01)
    assert backoff.patience_is_over(10.0 + REFUSE_AFTER)
    backoff.succeed(20.0)
    assert not backoff.patience_is_over(30.0)


def test_the_latest_reason_is_kept() -> None:
    backoff = Backoff()
    backoff.fail(1.0, "Too many open files")
    backoff.fail(2.0, "Cannot allocate memory")
    assert backoff.reason == "Cannot allocate memory"


def test_a_row_that_another_thread_ends_between_two_looks_is_no_error() -> None:
    class Raced(Backoff):
        def __init__(self, *looks: float | None) -> None:
            super().__init__()
            self.looks = list(looks)

        @property  # type: ignore[override]  # what the other thread does
        def since(self) -> float | None:
            return self.looks.pop(0) if self.looks else None

        @since.setter
        def since(self, value: float | None) -> None:
            """Let the other thread have its way."""

    assert Raced(1.0).succeed(3.0) == 2.0
    assert Raced(1.0).patience_is_over(100.0)


@given(st.lists(st.floats(0, 3), max_size=50))
def test_a_rest_is_never_negative_nor_longer_than_the_longest(steps: list[float]) -> None:
    backoff, now = Backoff(), 0.0
    for step in steps:
        now += step
        assert 0.0 <= backoff.resting(now) <= LONGEST_REST + 1e-9
        backoff.fail(now)
        assert 0.0 < backoff.resting(now) <= LONGEST_REST + 1e-9


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_however_often_one_asks_accept_is_tried_about_once_a_second_in_the_end(
    steps: list[float],
) -> None:
    backoff, now, tries = Backoff(), 0.0, 0
    for step in steps:
        now += step
        if not backoff.resting(now):
            backoff.fail(now)
            tries += 1
    assert tries <= 9 + now / LONGEST_REST
