"""A server that no accept loop of ours attends to: `handle_request`, and loops of a program's own.

Such a loop polls the listener itself, and calls `_handle_request_noblock`. What an accept loop does at each
turn is done then, with every request: nobody else would have deadlines kept, or notice a change of limits.
"""

import contextlib
import queue
import selectors
import time
from functools import partial
from typing import Any

from manyhands.serving.accept_loop import _ServerSelector
from manyhands.serving.reaper import ATTEND_AGAIN, Attendance

LOOK_AGAIN = 0.02
"""Seconds between two looks at the workers, where nobody but the caller takes their ends."""


def attend(server: Any) -> None:
    """Do once for a server what an accept loop would do at each turn."""
    room, engine = server._engine_room, server._engine_of_next_request()
    engine.reap()
    room.door.look(server)
    if room.door.has_chores:
        room.door.do_chores()
    room.sweeper.attend([server], engine.name)


def wait_for_request(server: Any, deadline: float | None) -> bool:
    """Wait until a client calls, and may come in; return False when the deadline came first."""
    return _wait_for_room(server, deadline) and _wait_for_client(server, deadline)


def _wait_for_room(server: Any, deadline: float | None) -> bool:
    door, attendance = server._engine_room.door, None
    # The wake may come from a signal handler or a finalizer, in the very thread that waits: only this queue's
    # `put` may be called there, for it takes no lock twice.
    wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
    wake = partial(wakes.put, None)
    try:
        while True:
            door.look(server)
            if door.has_room(wake):
                return True
            left = seconds_left(deadline, LOOK_AGAIN)
            if not left:
                return False
            # Who has the place may be one whose time is over.
            attendance = attendance or Attendance([server])
            engine = server._engine_of_next_request()
            engine.reap()
            with contextlib.suppress(queue.Empty):
                wakes.get(timeout=attendance.turn(left, engine.name))
    finally:
        door.forget(wake)


def _wait_for_client(server: Any, deadline: float | None) -> bool:
    attendance = Attendance([server])
    with _ServerSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while not selector.select(_nap(server, attendance, deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                return False
    return True


def _nap(server: Any, attendance: Attendance, deadline: float | None) -> float | None:
    """Return how long to wait for a client: where handlers are forked, the caller has deadlines to keep."""
    engine = server._engine_of_next_request()
    if engine.name != "processes":
        return seconds_left(deadline)
    engine.reap()
    if not server._engine_room.books:
        return seconds_left(deadline)
    return attendance.turn(seconds_left(deadline, ATTEND_AGAIN), engine.name)


def seconds_left(deadline: float | None, most: float | None = None) -> float | None:
    """Return the seconds until a deadline, `most` at the most; None: without end."""
    if deadline is None:
        return most
    left = max(0.0, deadline - time.monotonic())
    return left if most is None else min(left, most)
