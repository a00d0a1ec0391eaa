"""A soak's verdict: what does not hold is said."""

from dataclasses import replace
from typing import Any

import pytest
from soak.verdict import TIMED_FROM, Sample, Soaked, complaints

SIZE = Sample(memory=50_000_000, threads=4, descriptors=12)

BOOKS: dict[str, Any] = {
    "accepted": 30,
    "open": 0,
    "closed": 30,
    "reasons": {"peer_closed": 20, "idle": 6, "kicked": 4},
    "troubles": {"kicks": 4, "reloads": 2},
}

STAYING = "#7 127.0.0.1:4711, 1.0 s old: Echo.handle"

LAST_BOOKS: dict[str, Any] = {"accepted": 40, "open": 0, "closed": 40, "cut_off": [STAYING]}

STEP = TIMED_FROM / 20
"""Seconds between two samples."""


def rest(late: Sample) -> tuple[Sample, Sample]:
    return replace(late, calls=30), replace(late, calls=30, seconds=late.seconds + 2)


def series(memory: int = 0, processor: float = 0.0) -> list[Sample]:
    """Return the samples of a server that takes a second of processor time, or so much more, for 100 calls.

    `memory` and `processor` are what it grows by, and takes besides, from the middle on, in each step.
    """
    return [
        replace(
            SIZE,
            memory=SIZE.memory + memory * max(0, number - 10),
            seconds=STEP * number,
            processor=number + processor * max(0, number - 10),
            calls=100 * number,
        )
        for number in range(1, 21)
    ]


SOAKED = Soaked(
    done={"talk": 20, "fall_silent": 6, "want_to_be_kicked": 4},
    expected={"fall_silent": "idle", "want_to_be_kicked": "kicked"},
    before=SIZE,
    series=series(),
    rest=rest(SIZE),
    books=BOOKS,
    last_books=LAST_BOOKS,
    guests=["127.0.0.1:4711"],
    drain_timeout=1.0,
    seconds_to_end=2.5,
)


def judge(**seen: Any) -> list[str]:
    return list(complaints(replace(SOAKED, **seen)))


def reasons(**counts: int) -> dict[str, Any]:
    return BOOKS | {"reasons": BOOKS["reasons"] | counts}


def test_a_soak_in_which_all_holds_has_no_complaint() -> None:
    assert judge() == []


@pytest.mark.parametrize(
    ("books", "complaint"),
    [
        ({"open": 1}, "the books do not balance: 30 accepted, 1 open, 30 closed"),
        ({"closed": 29}, "the books do not balance: 30 accepted, 0 open, 29 closed"),
        ({"accepted": 31, "closed": 31}, "30 calls, but 31 accepted"),
        ({"troubles": {"kicks": 5}}, "5 kicks, but 4 x kicked in the books"),
    ],
)
def test_books_that_do_not_agree_are_a_complaint(books: dict[str, Any], complaint: str) -> None:
    assert judge(books=BOOKS | books) == [complaint]


def test_an_end_for_another_reason_than_it_must_have_is_a_complaint() -> None:
    assert judge(done=SOAKED.done | {"fall_silent": 7})[0] == (  # type: ignore[operator]
        "7 x fall_silent, but 6 x idle in the books"
    )


def test_a_reason_that_nothing_gave_is_a_complaint() -> None:
    assert judge(books=reasons(handler_failed=1)) == [
        "1 x handler_failed in the books, for which there was no cause"
    ]


def test_clients_may_be_refused_when_there_is_no_thread() -> None:
    # Of six that were to be ended for their silence one was not served; and two that talked, who saw it.
    seen = {"refused": 2, "books": reasons(idle=5, no_worker=3)}
    assert judge(**seen) == []
    assert judge(**seen | {"refused": 1}) == [
        "1 clients saw themselves refused, 1 more must have been, but 3 x no_worker in the books"
    ]
    # A client that resets its connection may not see it.
    assert judge(**seen | {"refused": 1, "done_meanwhile": {"vanish": 1}}) == []


def test_a_conversation_that_went_wrong_is_a_complaint() -> None:
    assert judge(wrong=["talk: hung up on"]) == ["talk: hung up on"]


@pytest.mark.parametrize("what", ["threads", "descriptors"])
def test_what_is_left_of_a_client_is_a_complaint(what: str) -> None:
    more = getattr(SIZE, what) + 1
    assert judge(rest=rest(replace(SIZE, **{what: more}))) == [
        f"it had {more - 1} {what} before the crowd came, and {more} afterwards"
    ]


def test_memory_that_grows_is_a_complaint() -> None:
    assert judge(series=series(memory=1_000_000)) == [
        "it grew from 47.7 MiB in its first third to 54.8 MiB in its last"
    ]


def test_a_little_more_memory_is_none() -> None:
    assert judge(series=series(memory=400_000)) == []


def test_connections_that_become_dearer_are_a_complaint() -> None:
    found = judge(series=series(processor=0.7))
    assert found == [
        "a connection took 10.00 ms of processor time in the first third, and 17.00 ms in the last"
    ]


def test_a_server_that_spins_for_a_while_is_a_complaint() -> None:
    spinning = [
        replace(sample, processor=sample.processor + STEP * (number >= 12))
        for number, sample in enumerate(series())
    ]
    assert judge(series=spinning) == [
        "it took 7.0 s of processor time for 100 connections in the 6 s from 72 s on"
    ]


def test_a_server_that_spins_at_rest_is_a_complaint() -> None:
    asleep, awake = rest(SIZE)
    assert judge(rest=(asleep, replace(awake, processor=0.5))) == [
        "it took 25% of a processor when the crowd had gone"
    ]


def test_a_short_soak_is_judged_by_its_books_alone() -> None:
    short = series(memory=1_000_000, processor=9.0)[:-1]
    assert judge(series=short, seconds_to_end=30) == []


def test_a_client_that_was_to_be_gone_and_is_cut_off_is_a_complaint() -> None:
    cut = "#8 127.0.0.1:471, 1.0 s old"
    assert judge(last_books=LAST_BOOKS | {"cut_off": [STAYING, cut]}) == [
        "cut off at the end, though its client was to be gone: #8 127.0.0.1:471, 1.0 s old"
    ]


def test_an_end_that_takes_longer_than_it_may_is_a_complaint() -> None:
    assert judge(seconds_to_end=3.1) == [
        "it ended 3.1 s after SIGTERM, with a drain_timeout of 1 s"
    ]


def test_a_drain_that_did_not_wait_is_a_complaint() -> None:
    assert judge(last_books=LAST_BOOKS | {"cut_off": []}) == [
        "its drain did not wait for the client that stays"
    ]


def test_books_that_do_not_balance_at_the_end_are_a_complaint() -> None:
    assert judge(last_books=LAST_BOOKS | {"closed": 39}) == [
        "the books do not balance: 40 accepted, 0 open, 39 closed"
    ]
