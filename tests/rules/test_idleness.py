"""When a drain takes a connection for idle."""

import pytest

from manyhands.model.timeouts import SILENT_FOR, is_idle


@pytest.mark.parametrize(
    ("received_ago", "sent_ago", "has_answered", "expected"),
    [
        (3.0, 1.0, True, True),
        (1.0, 1.0, True, True),
        (1.0, 3.0, True, False),
        (1.0, 0.0, False, False),
        (SILENT_FOR, 0.0, False, True),
        (SILENT_FOR, 60.0, True, True),
    ],
    ids=[
        "answered",
        "answered in the same moment",
        "data came since the answer",
        "nothing was ever answered",
        "silent for long, and nothing was ever answered",
        "silent for long, and not answered",
    ],
)
def test_idle_is_who_was_answered_or_is_silent_for_long(
    received_ago: float, sent_ago: float, has_answered: bool, expected: bool
) -> None:
    assert (
        is_idle(received_ago=received_ago, sent_ago=sent_ago, has_answered=has_answered) is expected
    )
