"""The table of a connection's life."""

import pytest

from manyhands.model.connection_states import TRANSITIONS, State, Step, picture


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
