"""The table of a connection's life, and the reasons for which it ends."""

import re

import pytest

from manyhands.model.connection_states import REFUSALS, TRANSITIONS, Reason, State, Step, picture


def reachable(start: State) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        new = set(TRANSITIONS[todo.pop()].values()) - found
        found |= new
        todo += new
    return found


def test_every_state_is_reached_from_the_first() -> None:
    assert reachable(State.ACCEPTED) == set(State)


@pytest.mark.parametrize("state", State)
def test_every_connection_comes_to_be_closed(state: State) -> None:
    assert State.CLOSED in reachable(state)


@pytest.mark.parametrize("state", State)
def test_no_state_is_entered_twice(state: State) -> None:
    for following in TRANSITIONS[state].values():
        assert state not in reachable(following)


@pytest.mark.parametrize("step", Step)
def test_nothing_happens_to_a_closed_connection(step: Step) -> None:
    assert TRANSITIONS[State.CLOSED].get(step) is None


def test_an_end_that_is_decided_is_decided_once() -> None:
    closing = TRANSITIONS[State.OPEN][Step.END_IS_DECIDED]
    assert closing is State.CLOSING
    assert TRANSITIONS[closing].get(Step.END_IS_DECIDED) is None


def test_the_picture_has_every_step_of_the_table() -> None:
    drawn = picture().splitlines()
    steps = sum(map(len, TRANSITIONS.values()))
    assert len(drawn) == steps + 3
    assert "    open --> closing: its end is decided" in drawn


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_a_word_for_logs_and_a_sentence_for_people(reason: Reason) -> None:
    assert re.fullmatch("[a-z_]+", reason.value)
    assert reason.sentence
    assert not reason.sentence.endswith(".")


def test_the_refusals_are_those_that_no_handler_saw() -> None:
    named = {reason for reason in Reason if reason.value.startswith("refused")}
    assert named | {Reason.NO_WORKER} == REFUSALS
    assert all(reason.is_refusal for reason in named)
    assert not Reason.IDLE.is_refusal
