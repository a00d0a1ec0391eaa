"""Draining: letting conversations come to their own end, for so long and no longer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .binding.bind import describe
from .engines import Engine
from .rules import events
from .servers.conversation import Conversation

LOOK_AGAIN = 0.05
"""Seconds: how soon a drain notices that somebody is in a hurry."""

SAID_AFTER = 0.5
"""Seconds after which a drain that goes on is told of: a person at a terminal has begun to wonder."""

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


def drain(
    engine: Engine, timeout: float, hurry: Callable[[], bool], join: Callable[[float], bool]
) -> list[CutOff]:
    """Wait until no conversation goes on in `engine`; cut off those that go on after `timeout` seconds.

    Parameters
    ----------
    engine
        Nothing new must come to it any more.
    timeout
        Seconds that the conversations get.
    hurry
        Asked again and again; True ends the waiting.
    join
        Waits until no conversation goes on and none can begin, at most so many seconds; tells whether
        that came to be.

    Returns
    -------
    list of CutOff
        Whom the drain cut off, in the order of their numbers.
    """
    began, was_told = time.monotonic(), False
    while not join(LOOK_AGAIN):
        passed = time.monotonic() - began
        if not was_told and passed >= SAID_AFTER and engine.running():
            was_told = True
            events.hub.emit(events.Draining(engine.running(), timeout))
        if hurry() or passed >= timeout:
            left = [_described(task) for task in engine.tasks if isinstance(task, Conversation)]
            engine.cut_off()
            join(UNWINDING)
            return sorted(left, key=lambda cut: cut.number)
    return []


def _described(conversation: Conversation) -> CutOff:
    age = time.monotonic() - conversation.opened_at
    return CutOff(conversation.number, describe(conversation.client_address), age)
