"""Rates, with a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.admission.rate_limits import Pace, TokenBucket


def taken(bucket: TokenBucket, tries: int, now: float) -> int:
    return sum(bucket.take(now) for _ in range(tries))


def test_a_bucket_is_full_at_first_and_holds_the_burst() -> None:
    assert taken(TokenBucket(Pace(1.0, burst=5)), 20, now=0.0) == 5


def test_it_fills_with_time_and_not_above_the_burst() -> None:
    bucket = TokenBucket(Pace(2.0, burst=5))
    taken(bucket, 20, now=100.0)
    assert taken(bucket, 20, now=101.0) == 2
    assert taken(bucket, 20, now=101.4) == 0
    assert taken(bucket, 20, now=101.5) == 1
    assert taken(bucket, 20, now=1e6) == 5


def test_a_client_that_comes_at_just_the_rate_is_never_refused() -> None:
    bucket = TokenBucket(Pace(10.0, burst=1))
    assert all(bucket.take(1e6 + number / 10) for number in range(1000))


def test_a_token_that_was_refused_is_not_missing_later() -> None:
    bucket = TokenBucket(Pace(1.0, burst=1))
    bucket.take(0.0)
    assert taken(bucket, 1000, now=0.5) == 0
    assert bucket.take(1.0)


@pytest.mark.parametrize(("rate", "burst"), [(100.0, 100), (2.5, 2), (0.1, 1)])
def test_the_burst_is_what_comes_in_a_second_and_at_least_one(rate: float, burst: int) -> None:
    assert taken(TokenBucket(Pace(rate)), 1000, now=0.0) == burst


@pytest.mark.parametrize(
    ("rate", "burst"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.5)]
)
def test_a_bucket_that_never_has_a_token_cannot_be_made(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="no token could be taken"):
        Pace(rate, burst)


def test_several_tokens_are_taken_as_far_as_there_are_and_the_next_one_comes_in_its_time() -> None:
    bucket = TokenBucket(Pace(rate=10, burst=3))
    assert bucket.wait(now=0.0) == 0
    assert bucket.take_several(2, now=0.0) == 2
    assert bucket.take_several(2, now=0.0) == 1
    assert bucket.wait(now=0.0) == pytest.approx(0.1, abs=0.001)
    assert bucket.take_several(9, now=bucket.wait(now=0.0)) == 1


def test_another_pace_leaves_missing_what_was_missing() -> None:
    bucket = TokenBucket(Pace(1.0, burst=10))
    taken(bucket, 8, now=0.0)
    bucket.change(Pace(10.0, burst=10), now=0.0)
    assert taken(bucket, 20, now=0.0) == 2
    bucket.change(Pace(1.0, burst=4), now=0.0)
    assert taken(bucket, 20, now=0.0) == 0
    assert taken(bucket, 20, now=1.0) == 1
    assert taken(bucket, 20, now=100.0) == 4


def test_a_new_bucket_is_still_full_at_another_pace() -> None:
    bucket = TokenBucket(Pace(1.0, burst=10))
    bucket.change(Pace(1.0, burst=3), now=0.0)
    assert taken(bucket, 20, now=0.0) == 3


@given(
    st.floats(0.01, 1000),
    st.integers(1, 50),
    st.floats(0, 1e7),
    st.lists(st.floats(0, 10), max_size=100),
)
def test_in_no_time_more_is_taken_than_the_burst_and_what_came(
    rate: float, burst: int, start: float, steps: list[float]
) -> None:
    bucket, now, times = TokenBucket(Pace(rate, burst)), start, []
    for step in steps:
        now += step
        times += [now] * taken(bucket, 3, now)
    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= burst + rate * (end - begin) + 0.01
