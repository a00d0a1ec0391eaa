"""`handle_request`: waiting for one client, where no accept loop of ours attends to the server.

What an accept loop does at each turn is done here while it waits: nothing else would have timeouts kept, or
notice a change of limits.
"""

import contextlib
import queue
import selectors
import time
from functools import partial
from typing import Any

from manyhands.serving.accept_loop import ServerSelector
from manyhands.serving.core import OPTIONS_INTERVAL, ServerCore, core_of
from manyhands.serving.reaper import ReaperTurns
from manyhands.serving.request_hooks import handle_request_noblock

WORKER_INTERVAL = 0.02
"""Seconds between two looks at the workers, where only the caller notices their ends."""


def handle_request(server: Any) -> Any:
    """Serve one connection of a server; wait for it no longer than its `timeout` or its socket's timeout.

    Returns
    -------
    object
        What `handle_timeout` returned, when no client called in time.
    """
    timeouts = [t for t in (server.socket.gettimeout(), server.timeout) if t is not None]
    deadline = time.monotonic() + min(timeouts) if timeouts else None
    core = core_of(server)
    if not (_has_got_room(server, core, deadline) and _has_got_client(server, core, deadline)):
        return server.handle_timeout()
    handle_request_noblock(server)
    # A program that serves one request looks next at what came of it, as often as not.
    engine = core.latest
    if engine is not None:
        engine.let_begin()
    # A program that calls this in a loop must not spin while accepting is impossible.
    rest = core.seconds_to_rest(time.monotonic())
    time.sleep(_seconds_left(deadline, rest) or 0.0)
    return None


def _has_got_room(server: Any, core: ServerCore, deadline: float | None) -> bool:
    """Wait until a connection may come in; return False when the deadline came first."""
    reaper_turns = ReaperTurns(core.reaper)
    # The wake may come from a signal handler or a finalizer, in the very thread that waits: only this queue's
    # `put` may be called there, for it takes no lock twice.
    wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
    wake = partial(wakes.put, None)
    try:
        while True:
            core.follow_options(server, time.monotonic())
            if core.admission.has_room(wake):
                return True
            left = _seconds_left(deadline, WORKER_INTERVAL)
            if not left:
                return False
            # The place may be taken by a connection whose time is over.
            engine = core.engine_of(server)
            engine.reap()
            if engine.name == "processes":
                left = reaper_turns.turn(left, OPTIONS_INTERVAL)
            with contextlib.suppress(queue.Empty):
                wakes.get(timeout=left)
    finally:
        core.admission.forget(wake)


def _has_got_client(server: Any, core: ServerCore, deadline: float | None) -> bool:
    """Wait until a client calls; return False when the deadline came first."""
    reaper_turns = ReaperTurns(core.reaper)
    with ServerSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while not selector.select(_nap(server, core, reaper_turns, deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                return False
    return True


def _nap(
    server: Any, core: ServerCore, reaper_turns: ReaperTurns, deadline: float | None
) -> float | None:
    """Return how long to wait for a client: where handlers are forked, the caller has timeouts to keep."""
    engine = core.engine_of(server)
    if engine.name != "processes":
        return _seconds_left(deadline)
    engine.reap()
    if not core.registry:
        return _seconds_left(deadline)
    core.follow_options(server, time.monotonic())
    return reaper_turns.turn(_seconds_left(deadline, OPTIONS_INTERVAL), OPTIONS_INTERVAL)


def _seconds_left(deadline: float | None, most: float | None = None) -> float | None:
    """Return the seconds until a deadline, `most` at the most; None: without end."""
    if deadline is None:
        return most
    left = max(0.0, deadline - time.monotonic())
    return left if most is None else min(left, most)
