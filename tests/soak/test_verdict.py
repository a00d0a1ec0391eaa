"""A soak's verdict: what does not hold is said."""

from typing import Any

import pytest
from soak.verdict import Sample, complaints

SIZE = Sample(memory=50_000_000, threads=4, descriptors=12)

BOOKS: dict[str, Any] = {
    "accepted": 30,
    "open": 0,
    "closed": 30,
    "reasons": {"peer_closed": 20, "idle": 6, "kicked": 4},
    "cut_off": [],
    "troubles": {"kicks": 4, "reloads": 2},
}

DONE = {"talk": 20, "fall_silent": 6, "want_to_be_kicked": 4}

EXPECTED = {"fall_silent": "idle", "want_to_be_kicked": "kicked"}


def judge(
    late: Sample = SIZE,
    done: dict[str, int] = DONE,
    wrong: list[str] | None = None,
    **books: Any,
) -> list[str]:
    return list(complaints(BOOKS | books, done, wrong or [], EXPECTED, (SIZE, SIZE, late)))


def test_a_soak_in_which_all_holds_has_no_complaint() -> None:
    assert judge() == []


@pytest.mark.parametrize(
    ("books", "complaint"),
    [
        ({"open": 1}, "the books do not balance: 30 accepted, 1 open, 30 closed"),
        ({"closed": 29}, "the books do not balance: 30 accepted, 0 open, 29 closed"),
        ({"troubles": {"kicks": 5}}, "5 kicks, but 4 x kicked in the books"),
        ({"cut_off": ["#7"]}, "cut off at the end, though everybody had gone: #7"),
    ],
)
def test_books_that_do_not_agree_are_a_complaint(books: dict[str, Any], complaint: str) -> None:
    assert judge(**books) == [complaint]


def test_an_end_for_another_reason_than_it_must_have_is_a_complaint() -> None:
    assert judge(done=DONE | {"fall_silent": 7}) == ["7 x fall_silent, but 6 x idle in the books"]


def test_a_conversation_that_went_wrong_is_a_complaint() -> None:
    assert judge(wrong=["talk: hung up on"]) == ["talk: hung up on"]


@pytest.mark.parametrize(
    ("late", "complaint"),
    [
        (
            Sample(memory=60_000_000, threads=4, descriptors=12),
            "it grew from 47.7 MiB in its first minute to 57.2 MiB at its end",
        ),
        (
            Sample(memory=50_000_000, threads=5, descriptors=12),
            "it had 4 threads before the crowd came, and 5 afterwards",
        ),
        (
            Sample(memory=50_000_000, threads=4, descriptors=13),
            "it had 12 descriptors before the crowd came, and 13 afterwards",
        ),
    ],
)
def test_growth_is_a_complaint(late: Sample, complaint: str) -> None:
    assert judge(late=late) == [complaint]


def test_a_little_more_memory_is_none() -> None:
    assert judge(late=Sample(memory=54_000_000, threads=4, descriptors=12)) == []
