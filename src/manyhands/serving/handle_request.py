"""`handle_request`: waiting for one client, without an accept loop.

While it waits it does what an accept loop does at each turn: reap workers, follow options, keep timeouts.
"""

import contextlib
import math
import queue
import select
import selectors
import time
from functools import partial
from typing import Any

from manyhands.engines import Engine, SequentialEngine
from manyhands.runtime.unpatched import are_waits_patched
from manyhands.serving.accept_loop import new_selector
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.followed_options import OPTIONS_INTERVAL
from manyhands.serving.reaper import ReaperTurns
from manyhands.serving.request_hooks import Listener, handle_request_noblock

REAP_INTERVAL = 0.02
"""Seconds between two looks for ended workers while the engine is full: no descriptor wakes the caller
here."""


def handle_request(server: Listener) -> Any:
    """Serve one request of a server; wait for it until the first of its own and its socket's timeout.

    Returns
    -------
    object
        The result of `handle_timeout` when no client came in time; else that of `_handle_request_noblock`, a
        hook that returns nothing unless the program overrides it.
    """
    timeout, own = server.socket.gettimeout(), server.timeout
    if timeout is None or (own is not None and own < timeout):
        timeout = own
    deadline = None if timeout is None else time.monotonic() + timeout
    core = core_of(server)
    if not core.has_begun:
        core.begin(server)
    core.options.may_have_changed(server)
    if not _has_got_room(server, core, deadline):
        return server.handle_timeout()
    engine = core.engines.of(server)
    if not _has_got_client(server, core, engine, deadline):
        return server.handle_timeout()
    result = _serve_one(server, core, engine)
    # A program that serves one request often looks at its effect next, and a new thread may not have begun
    # yet.
    latest = core.engines.latest
    if latest is not None:
        latest.let_begin()
    # A program that calls this in a loop must not spin while accepting is impossible (EMFILE, no worker).
    rest = core.seconds_to_rest()
    if rest:
        time.sleep(_seconds_left(deadline, rest) or 0.0)
    return result


def _serve_one(server: Listener, core: ServerCore, engine: Engine) -> Any:
    """Serve the request that is there."""
    now = time.monotonic()
    core.look_around(server, engine, now)
    loops = core.loops
    # Under a limit each datagram has a place, which those of a turn have not.
    may_be_plain = loops.turn is None and not core.admission.is_guarded
    if may_be_plain and isinstance(engine, SequentialEngine):
        turn = engine.begin_turns()
        if turn is not None:
            loops.turn, turn.began_at = turn, now
            try:
                return handle_request_noblock(server)
            finally:
                loops.turn = None
                engine.end_turns(turn)
    return core.serve_for_caller(server, handle_request_noblock)


def _has_got_room(server: Listener, core: ServerCore, deadline: float | None) -> bool:
    """Wait until the limits let a connection in; return False when the deadline came first."""
    core.options.follow(server, time.monotonic(), core.engines)
    if not core.admission.is_guarded or core.room_for(server)():
        return True  # as of most servers, which have no limits: so the rest is for the others alone
    reaper_turns = ReaperTurns(core.reaper)
    # `wake` may be called by a signal handler or a finalizer in this very thread, in the middle of a wait. An
    # event's lock could be held then; `SimpleQueue.put` is reentrant.
    wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
    wake = partial(wakes.put, None)
    try:
        while True:
            core.options.follow(server, time.monotonic(), core.engines)
            if core.room_for(server)(wake):
                return True
            left = _seconds_left(deadline, REAP_INTERVAL)
            if not left:
                return False
            # The place may be held by a worker that has ended, or by a connection that has expired.
            engine = core.engines.of(server)
            engine.reap()
            if engine.name == "processes":
                left = reaper_turns.turn(left, OPTIONS_INTERVAL)
            with contextlib.suppress(queue.Empty):
                wakes.get(timeout=left)
    finally:
        core.admission.forget(wake)


def _has_got_client(
    server: Listener, core: ServerCore, engine: Engine, deadline: float | None
) -> bool:
    """Wait until a client connects; return False when the deadline came first."""
    if engine.name != "processes" and not are_waits_patched():
        # As nearly always, and a selector costs more than the rest of the call.
        poll = select.poll()
        try:
            poll.register(server, select.POLLIN)
        except (AttributeError, TypeError, ValueError):
            pass  # no descriptor: a selector's error is what programs know
        else:
            while not poll.poll(None if deadline is None else _milliseconds_left(deadline)):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
            return True
    reaper_turns = ReaperTurns(core.reaper)
    with new_selector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while not selector.select(_seconds_to_sleep(server, core, reaper_turns, deadline)):
            if deadline is not None and time.monotonic() >= deadline:
                return False
    return True


def _seconds_to_sleep(
    server: Listener, core: ServerCore, reaper_turns: ReaperTurns, deadline: float | None
) -> float | None:
    """Return how long to wait for a client in one piece; None: without end.

    Where handlers are forked there is no reaper thread: the caller keeps the timeouts of their connections.
    """
    engine = core.engines.of(server)
    if engine.name != "processes":
        return _seconds_left(deadline)
    engine.reap()
    if not core.registry:
        return _seconds_left(deadline)
    core.options.follow(server, time.monotonic(), core.engines)
    return reaper_turns.turn(_seconds_left(deadline, OPTIONS_INTERVAL), OPTIONS_INTERVAL)


def _milliseconds_left(deadline: float) -> int:
    return math.ceil(1000 * max(0.0, deadline - time.monotonic()))


def _seconds_left(deadline: float | None, most: float | None = None) -> float | None:
    """Return the seconds until a deadline, but `most` at the most; None: without end."""
    if deadline is None:
        return most
    left = max(0.0, deadline - time.monotonic())
    return left if most is None else min(left, most)
