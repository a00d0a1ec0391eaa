"""The reasons for which connections end."""

import re

import pytest

from manyhands.model.connection_states import REFUSALS, Reason


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
