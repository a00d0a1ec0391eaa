"""Draining: letting conversations come to their own end, for so long and no longer."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from manyhands.connections.conversation import Conversation
from manyhands.engines import Engine
from manyhands.listening.bind import describe
from manyhands.model import events
from manyhands.model.connection_states import Reason, State
from manyhands.model.timeouts import SILENT_FOR
from manyhands.serving.core import EngineRoom
from manyhands.serving.stack_location import whereabouts

LOOK_AGAIN = 0.05
"""Seconds: how soon a drain notices that somebody is in a hurry, or that a conversation has become idle."""

SAID_AFTER = 0.5
"""Seconds after which a drain that goes on is told of: a person at a terminal has begun to wonder."""

UNWINDING = 1.0
"""Seconds that handlers get to unwind after their connections were cut off."""

UNWINDING_IN_A_HURRY = 0.1
"""The same when somebody has asked twice for the end: enough for a `finally`, and soon for a person."""


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
    doing : str
        What it was doing: the function and the line of the program at which its handler stood, as
        ``Handler.handle, examples/echo.py:12``; in a process of its own, ``Handler, in process 4711``.
    """

    number: int
    peer: str
    age: float
    doing: str = ""

    def __str__(self) -> str:
        doing = f": {self.doing}" if self.doing else ""
        return f"#{self.number} {self.peer}, {self.age:.1f} s old{doing}"


def drain(
    room: EngineRoom,
    timeout: float,
    hurry: Callable[[], bool],
    join: Callable[[float], bool],
    began: float | None = None,
) -> list[CutOff]:
    """Wait until no conversation goes on in the engines of `room`; cut off those that go on too long.

    Handlers are told (`goodbye`), and connections that are idle, or become so, are half-closed.

    Parameters
    ----------
    room
        Nothing new must come to its engines any more.
    timeout
        Seconds that the conversations get.
    hurry
        Asked again and again; True ends the waiting.
    join
        Waits until no conversation goes on and none can begin, at most so many seconds; tells whether
        that came to be.
    began
        When the time began, by the monotonic clock; None: now.

    Returns
    -------
    list of CutOff
        Whom the drain cut off, in the order of their numbers.
    """
    began = time.monotonic() if began is None else began
    was_told, ending = False, _Ending()
    ending.look(room, 0.0)
    while not join(LOOK_AGAIN):
        passed = time.monotonic() - began
        running = sum(engine.running() for engine in room.engines)
        if not was_told and passed >= SAID_AFTER and running:
            was_told = True
            events.hub.emit(events.Draining(running, timeout))
        if hurry() or passed >= timeout:
            left = cut_off(room)
            if not join(UNWINDING_IN_A_HURRY if hurry() else UNWINDING):
                leave_behind(room)
            return left
        ending.look(room, passed)
    return []


def cut_off(room: EngineRoom) -> list[CutOff]:
    """End all conversations under way, without waiting for it; return which they were, by their numbers."""
    left = [cut for engine in room.engines for cut in _cut_off(engine)]
    return sorted(left, key=lambda cut: cut.number)


def leave_behind(room: EngineRoom) -> None:
    """Count those no longer that have been cut off and go on: nobody is to wait for them again."""
    for engine in room.engines:
        for task in engine.tasks:
            if isinstance(task, Conversation):
                task.abandon()


def _cut_off(engine: Engine) -> list[CutOff]:
    doing = whereabouts(engine)
    left = []
    for task in engine.tasks:
        # One that was left behind before is no news, where its engine still carries it.
        if isinstance(task, Conversation) and task.state is not State.CLOSED:
            task.decide_end(Reason.CUT_OFF)
            age = time.monotonic() - task.opened_at
            peer = describe(task.client_address)
            left.append(CutOff(task.number, peer, age, doing.get(task) or task.handler))
    engine.cut_off()
    return left


class _Ending:
    """Who has been told of the drain, and whose input has been ended."""

    def __init__(self) -> None:
        self._told: set[int] = set()
        self._ended: set[int] = set()

    def look(self, room: EngineRoom, passed: float) -> None:
        """Tell who has not been told, and half-close who is idle, `passed` seconds into the drain."""
        for engine in room.engines:
            conversations = [task for task in engine.tasks if isinstance(task, Conversation)]
            # First, for who reads an end of file may be gone at once.
            for conversation in conversations:
                self._tell(conversation, engine)
            for conversation in conversations:
                if conversation.number not in self._ended and _is_idle(conversation, passed):
                    self._ended.add(conversation.number)
                    conversation.end_input()

    def _tell(self, conversation: Conversation, engine: Engine) -> None:
        farewell = getattr(conversation, "farewell", None)
        if farewell is None or conversation.number in self._told:
            return
        self._told.add(conversation.number)
        if farewell.falls_due():
            try:
                engine.beside(farewell.say)
            except RuntimeError:
                farewell.withdraw()  # no thread can be had


def _is_idle(conversation: Conversation, passed: float) -> bool:
    is_idle = conversation.is_idle()
    # Where the kernel keeps no books, nobody is known to have been silent for longer.
    return passed >= SILENT_FOR if is_idle is None else is_idle


def ring(room: EngineRoom) -> None:
    """Have handlers that ask see that their server drains, from now on."""
    room.books.is_draining = True
    if room.bell is not None:
        with contextlib.suppress(OSError):
            room.bell.set()
