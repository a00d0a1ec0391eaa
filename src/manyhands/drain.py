"""Draining: letting conversations come to their own end, for so long and no longer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .binding.bind import describe
from .engines import Engine
from .servers.conversation import Conversation

LOOK_AGAIN = 0.05
"""Seconds: how soon a drain notices that somebody is in a hurry."""

UNWINDING = 1.0
"""Seconds that handlers get to unwind after their connections were cut off."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """A conversation that a drain did not wait for.

    Attributes
    ----------
    number : int
        The conversation's number.
    peer : str
        The client's address.
    age : float
        Seconds since the connection was accepted.
    """

    number: int
    peer: str
    age: float

    def __str__(self) -> str:
        return f"#{self.number} {self.peer}, {self.age:.1f} s old"


def drain(engine: Engine, timeout: float, hurry: Callable[[], bool]) -> list[CutOff]:
    """Wait until no conversation goes on in `engine`; cut off those that go on after `timeout` seconds.

    Parameters
    ----------
    engine
        Nothing new must come to it any more.
    timeout
        Seconds that the conversations get.
    hurry
        Asked again and again; True ends the waiting.

    Returns
    -------
    list of CutOff
        Whom the drain cut off, in the order of their numbers.
    """
    deadline = time.monotonic() + timeout
    while not engine.join(LOOK_AGAIN):
        if hurry() or time.monotonic() >= deadline:
            left = [_described(task) for task in engine.tasks if isinstance(task, Conversation)]
            engine.cut_off()
            engine.join(UNWINDING)
            return sorted(left, key=lambda cut: cut.number)
    return []


def _described(conversation: Conversation) -> CutOff:
    age = time.monotonic() - conversation.opened_at
    return CutOff(conversation.number, describe(conversation.client_address), age)
